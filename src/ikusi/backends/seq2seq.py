"""Translation models - Marian, NLLB, MADLAD - by CTranslate2 or transformers.

Place: settings -> [seq2seq] -> run. Contract: one sentence in, one out: the text of the last turn.
How the languages are named to the model comes from the packs' `ids`. What a model cannot do is an
answer with a problem: `too-long` for what does not fit into it, `no-sampling` for a temperature,
`not-unicode` for what is no text.

    {kind: seq2seq, model: HiTZ/mt-hitz-en-eu}

    ct2-transformers-converter --model HiTZ/mt-hitz-en-eu --output_dir mt-en-eu \
        --quantization int8 --copy_files source.spm target.spm vocab.json tokenizer_config.json
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from ikusi.backends.base import Answer, BackendError, Capabilities, Finish, Request
from ikusi.backends.settings import Seq2SeqSettings
from ikusi.core.artifact import hash_folder
from ikusi.core.errors import ConfigError, first_line, suggest
from ikusi.languages.pack import load_pack

_GATHER_SECONDS = 0.002  # in which the sentences of one moment come together
_MAX_SOURCE_TOKENS = 1024  # of models without positions of their own, such as MADLAD
_UNUSED = ["*.h5", "*.msgpack", "*.ot", "*.onnx", "onnx/*", "*.npz"]
_TAG = re.compile(r"<[^<>\s]+>")
_INSTALL = "Install it: pip install 'ikusi[translate]'"


class Encoded(NamedTuple):
    """A sentence as the model takes it."""

    tokens: list[int]
    prefix: int | None
    """Token that the translation must begin with: the target language of NLLB."""


class Decoded(NamedTuple):
    """A translation."""

    text: str
    finish: Finish
    tokens: int


class Engine(Protocol):
    """What computes translations; used from one thread."""

    def translate(self, batch: Sequence[Encoded], max_tokens: int) -> list[Decoded]:
        """Translate sentences of one pair of languages."""
        ...


@dataclass(frozen=True, slots=True)
class _Item:
    request: Request
    future: asyncio.Future[Answer]


class Seq2Seq:
    """Translates sentences, those of a moment together; see `open`."""

    capabilities = Capabilities()

    def __init__(
        self,
        settings: Seq2SeqSettings,
        revision: str,
        tokenizer: Tokenizer,
        engine: Engine,
    ) -> None:
        """Translate with `engine`, whose model is at `revision`."""
        self.name = settings.model
        self.revision = (
            f"seq2seq {settings.model} @ {revision} {type(engine).__name__} "
            f"{settings.compute_type} beams {settings.beam_size} tokens {settings.max_tokens}"
            f"{tokenizer.variant}"
        )
        self._settings = settings
        self._tokenizer = tokenizer
        self._engine = engine
        self._pending: list[_Item] = []
        self._runner: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seq2seq")

    @classmethod
    async def open(cls, settings: Seq2SeqSettings) -> Self:
        """Fetch and load the model.

        Raises:
            BackendError: it cannot be found or loaded, or a library is missing.
        """
        return await asyncio.to_thread(cls._open, settings)

    @classmethod
    def _open(cls, settings: Seq2SeqSettings) -> Self:
        folder, revision = _find(settings)
        tokenizer = Tokenizer(settings, folder)
        kind = _CTranslate2 if (folder / "model.bin").is_file() else _Transformers
        try:
            return cls(settings, revision, tokenizer, kind(settings, folder, tokenizer.hf))
        except (OSError, ValueError, RuntimeError, ImportError) as error:
            raise BackendError(
                f"{settings.model}: the model cannot be loaded ({first_line(error)})."
            ) from None

    async def complete(self, request: Request) -> Answer:
        """Translate the text of the last turn.

        Raises:
            BackendError: the model does not know a language, or fails.
        """
        text = request.turns[-1].text
        if not text.strip():
            return Answer(request.id, text)
        if request.temperature > 0:
            return Answer(request.id, "", "other", problem="no-sampling")
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            detail = f"no valid Unicode: {text[error.start]!r}"
            return Answer(request.id, "", "other", problem="not-unicode", detail=detail)
        item = _Item(request, asyncio.get_running_loop().create_future())
        self._pending.append(item)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        return await item.future

    async def close(self) -> None:
        """Stop, and let go of the model."""
        if self._runner is not None:
            self._runner.cancel()
        for item in self._pending:
            item.future.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        del self._engine

    async def _run(self) -> None:
        """Translate what is pending, until nothing is."""
        while self._pending:
            await asyncio.sleep(_GATHER_SECONDS)
            items, self._pending = self._pending, []
            try:
                await self._translate([item for item in items if not item.future.done()])
            except Exception as error:
                if not isinstance(error, BackendError):
                    error = BackendError(
                        f"{self.name}: translating failed ({first_line(error)}). If memory was "
                        "too small, lower `batch_size`."
                    )
                for item in items:
                    if not item.future.done():
                        item.future.set_exception(error)
            finally:
                for item in items:  # of one that was closed
                    item.future.cancel()

    async def _translate(self, items: list[_Item]) -> None:
        loop = asyncio.get_running_loop()
        requests = [item.request for item in items]
        encoded = await loop.run_in_executor(self._thread, self._encode, requests)
        groups: dict[tuple[Any, ...], list[tuple[_Item, Encoded]]] = defaultdict(list)
        for item, sentence in zip(items, encoded, strict=True):
            request = item.request
            limit = self._tokenizer.max_source_tokens
            if len(sentence.tokens) > limit:
                detail = f"{len(sentence.tokens)} tokens; the model takes {limit}"
                _give(item, Answer(request.id, "", "other", problem="too-long", detail=detail))
                continue
            most = request.max_tokens or self._settings.max_tokens
            groups[request.source_language, request.target_language, most].append((item, sentence))
        for (_, _, most), group in groups.items():
            group.sort(key=lambda pair: len(pair[1].tokens))
            for start in range(0, len(group), self._settings.batch_size):
                batch = group[start : start + self._settings.batch_size]
                sentences = [sentence for _, sentence in batch]
                found = await loop.run_in_executor(
                    self._thread, self._engine.translate, sentences, most
                )
                for (item, sentence), decoded in zip(batch, found, strict=True):
                    answer = Answer(
                        item.request.id,
                        decoded.text,
                        decoded.finish,
                        prompt_tokens=len(sentence.tokens),
                        completion_tokens=decoded.tokens,
                    )
                    _give(item, answer)

    def _encode(self, requests: Sequence[Request]) -> list[Encoded]:
        return [
            self._tokenizer.encode(
                request.turns[-1].text, request.source_language, request.target_language
            )
            for request in requests
        ]


def _give(item: _Item, answer: Answer) -> None:
    if not item.future.done():  # whoever asked may have been cancelled
        item.future.set_result(answer)


class Tokenizer:
    """A family's tokenizer, and its way to name the languages."""

    def __init__(self, settings: Seq2SeqSettings, folder: Path) -> None:
        """Load the tokenizer.

        Raises:
            BackendError: there is none, or its family is unknown.
        """
        try:
            from transformers import AutoTokenizer

            self.hf: Any = AutoTokenizer.from_pretrained(settings.tokenizer or str(folder))
        except ImportError as error:
            raise BackendError(f"{settings.model}: {first_line(error)}. {_INSTALL}") from None
        except Exception as error:  # whatever its files lead the library to
            raise BackendError(
                f"{settings.model}: the tokenizer cannot be loaded ({first_line(error)}). "
                "Name one as `tokenizer`."
            ) from None
        self._name = settings.model
        self._vocabulary: dict[str, int] = self.hf.get_vocab()
        self.family = settings.family if settings.family != "auto" else self._guess_family()
        # Marian's tokenizer normalises punctuation where it finds this library, and else does not.
        moses = self.family == "marian" and importlib.util.find_spec("sacremoses") is not None
        self.variant = " sacremoses" if moses else ""
        self.max_source_tokens = min(self.hf.model_max_length, _MAX_SOURCE_TOKENS)

    def encode(self, text: str, source: str | None, target: str | None) -> Encoded:
        """Return the tokens of a sentence, with those that name the languages.

        Raises:
            BackendError: the model, or a pack, has no name for a language.
        """
        # What somebody typed is only text, also where it looks like a special token.
        options = {"split_special_tokens": True, "verbose": False}
        if self.family == "nllb":
            self.hf.src_lang = self._known(self._id(source, "nllb"))
            tokens = self.hf(text, **options).input_ids
            return Encoded(tokens, self._vocabulary[self._known(self._id(target, "nllb"))])
        tag = None
        if self.family == "madlad":
            # A Unigram model takes its own tokens for pieces, whatever the tokenizer is told.
            text = _TAG.sub(self._defuse, text)
        elif text.startswith(">>"):  # only there Marian's tokenizer takes it for a language
            text = f" {text}"
        tokens = self.hf(text, **options).input_ids
        if self.family == "madlad":
            tag = f"<2{self._id(target, 'madlad')}>"
        elif any(name.startswith(">>") for name in self._vocabulary):  # of several languages
            tag = f">>{self._id(target, 'marian')}<<"
        return Encoded(
            tokens if tag is None else [self._vocabulary[self._known(tag)], *tokens], None
        )

    def _defuse(self, match: re.Match[str]) -> str:
        return f"< {match[0][1:]}" if match[0] in self._vocabulary else match[0]

    def _id(self, language: str | None, family: str) -> str:
        if language is None:
            raise BackendError(f"{self._name}: is not told from and to which language.")
        try:
            known: str = getattr(load_pack(language).ids, family)
        except ConfigError as error:
            raise BackendError(f"{self._name}: {error}") from None
        if not known:
            raise BackendError(
                f"{self._name}: the pack {language!r} does not say what {family} calls the "
                f"language. Add `ids.{family}` to it."
            )
        return known

    def _known(self, tag: str) -> str:
        if tag in self._vocabulary:
            return tag
        like = [name for name in self._vocabulary if name[:2] == tag[:2] and name[-1] == tag[-1]]
        raise BackendError(f"{self._name}: the model has no language {tag!r}. {suggest(tag, like)}")

    def _guess_family(self) -> str:
        classes = " ".join(kind.__name__ for kind in type(self.hf).__mro__)
        for family, sign in (("marian", "Marian"), ("nllb", "Nllb")):
            if sign in classes:
                return family
        if "<2en>" in self._vocabulary:
            return "madlad"
        raise BackendError(
            f"{self._name}: which kind of model it is cannot be seen from its tokenizer. "
            "Set `family` to marian, nllb or madlad."
        )


class _Transformers:
    def __init__(self, settings: Seq2SeqSettings, folder: Path, tokenizer: Any) -> None:
        import torch
        from transformers import AutoModelForSeq2SeqLM

        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        # Half precision, as many are stored, is slow on a processor.
        dtype = "auto" if device == "cuda" else torch.float32
        model = AutoModelForSeq2SeqLM.from_pretrained(str(folder), dtype=dtype)
        self._model = model.to(device).eval()
        self._device = device
        self._tokenizer = tokenizer
        self._beam_size = settings.beam_size

    def translate(self, batch: Sequence[Encoded], max_tokens: int) -> list[Decoded]:
        """Translate by beam search."""
        import torch

        width = max(len(sentence.tokens) for sentence in batch)
        pad = self._tokenizer.pad_token_id
        padded = [s.tokens + [pad] * (width - len(s.tokens)) for s in batch]
        mask = [[1] * len(s.tokens) + [0] * (width - len(s.tokens)) for s in batch]
        options = {} if batch[0].prefix is None else {"forced_bos_token_id": batch[0].prefix}
        with torch.inference_mode():
            found = self._model.generate(
                input_ids=torch.tensor(padded, device=self._device),
                attention_mask=torch.tensor(mask, device=self._device),
                num_beams=self._beam_size,
                do_sample=False,
                max_length=None,
                max_new_tokens=max_tokens,
                **options,
            )
        return [self._decode(row) for row in found[:, 1:].tolist()]  # without the decoder's start

    def _decode(self, row: list[int]) -> Decoded:
        end = self._tokenizer.eos_token_id
        finish: Finish = "stop" if end in row else "length"
        tokens = row[: row.index(end)] if end in row else row
        text = self._tokenizer.decode(tokens, skip_special_tokens=True)
        return Decoded(text.strip(), finish, len(tokens))


class _CTranslate2:
    def __init__(self, settings: Seq2SeqSettings, folder: Path, tokenizer: Any) -> None:
        try:
            import ctranslate2
        except ImportError:
            raise BackendError(f"{settings.model}: needs ctranslate2. {_INSTALL}") from None
        self._translator = ctranslate2.Translator(
            str(folder), device=settings.device, compute_type=settings.compute_type
        )
        self._tokenizer = tokenizer
        self._special = set(tokenizer.all_special_tokens)
        self._beam_size = settings.beam_size

    def translate(self, batch: Sequence[Encoded], max_tokens: int) -> list[Decoded]:
        to_tokens = self._tokenizer.convert_ids_to_tokens
        prefix = None
        if batch[0].prefix is not None:
            prefix = [to_tokens([sentence.prefix]) for sentence in batch]
        found = self._translator.translate_batch(
            [to_tokens(sentence.tokens) for sentence in batch],
            prefix,
            beam_size=self._beam_size,
            max_input_length=0,  # what is too long was sorted out: nothing is cut in silence
            max_decoding_length=max_tokens,
            return_end_token=True,
        )
        return [self._decode(result.hypotheses[0], prefix is not None) for result in found]

    def _decode(self, tokens: list[str], prefixed: bool) -> Decoded:
        ended = bool(tokens) and tokens[-1] == self._tokenizer.eos_token
        said = tokens[1 if prefixed else 0 : -1 if ended else None]
        text = self._tokenizer.convert_tokens_to_string([t for t in said if t not in self._special])
        return Decoded(text.strip(), "stop" if ended else "length", len(said))


def _find(settings: Seq2SeqSettings) -> tuple[Path, str]:
    """Return the model's folder, fetched if it is on the hub, and the revision of what is in it."""
    folder = Path(settings.model)
    if folder.is_dir():
        return folder, hash_folder(folder)[:16]
    if settings.model.startswith((".", "/", "~")):
        raise BackendError(f"{settings.model}: there is no such folder. Correct `model`.")
    from huggingface_hub import snapshot_download

    try:
        found = snapshot_download(
            settings.model, revision=settings.revision, ignore_patterns=_UNUSED
        )
    except Exception as error:  # of the network, of the hub, or of the name
        raise BackendError(
            f"{settings.model}: is no folder, and cannot be had from the hub "
            f"({first_line(error)}). Correct `model`, or see to the network."
        ) from None
    return Path(found), Path(found).name
