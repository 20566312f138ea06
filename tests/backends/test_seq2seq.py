"""Translation models: each sentence gets its own translation, by either library."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.backends.fakes import ask
from tests.backends.tiny_seq2seq import SENTENCES, convert, make_madlad, make_marian, make_nllb

from ikusi.backends.base import Answer, BackendError
from ikusi.backends.seq2seq import Encoded, Seq2Seq, Tokenizer
from ikusi.backends.settings import Seq2SeqSettings
from ikusi.core.types import assistant

pytest.importorskip("ctranslate2")
pytest.importorskip("sentencepiece")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Recommended. pip install")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Name -> folder of a model; `...-ct2` are the same ones for CTranslate2."""
    from transformers.utils import logging

    hide: Any = logging.disable_progress_bar
    hide()
    root = tmp_path_factory.mktemp("models")
    made = {
        "marian": make_marian(root / "marian"),
        "many": make_marian(root / "many", ("eu", "es")),
        "nllb": make_nllb(root / "nllb", ("eng_Latn", "eus_Latn")),
        "madlad": make_madlad(root / "madlad", ("en", "eu")),
    }
    for name in ("marian", "nllb"):
        made[f"{name}-ct2"] = convert(made[name], root / f"{name}-ct2")
    yield made


def translate(
    folder: Path, sentences: Sequence[str], target: str = "eu", **fields: Any
) -> list[Answer]:
    """Translate sentences, all at once."""

    async def all_of_them() -> list[Answer]:
        made = Seq2SeqSettings(**{"model": str(folder), "max_tokens": 12, **fields})
        backend = await Seq2Seq.open(made)
        requests = [
            ask(text, str(n), source_language="en", target_language=target)
            for n, text in enumerate(sentences)
        ]
        try:
            return await asyncio.gather(*map(backend.complete, requests))
        finally:
            await backend.close()

    return asyncio.run(all_of_them())


def plainly(folder: Path, text: str, beams: int) -> str:
    """Return what transformers' own classes say."""
    from transformers import MarianMTModel, MarianTokenizer

    tokenizer = MarianTokenizer.from_pretrained(folder)
    model = MarianMTModel.from_pretrained(folder)
    inputs = tokenizer(text, return_tensors="pt")
    found = model.generate(**inputs, num_beams=beams, max_length=None, max_new_tokens=12)
    return str(tokenizer.batch_decode(found, skip_special_tokens=True)[0])


@pytest.mark.parametrize("beams", [1, 4])
def test_marian_by_transformers(models: dict[str, Path], beams: int) -> None:
    expected = [plainly(models["marian"], text, beams) for text in SENTENCES]
    for batch_size in (1, 4):  # sorted by length, so that the order is another one
        found = translate(models["marian"], SENTENCES, beam_size=beams, batch_size=batch_size)
        assert [answer.id for answer in found] == [str(n) for n in range(len(SENTENCES))]
        assert [answer.text for answer in found] == expected
    assert len(set(expected)) > 3
    assert {answer.finish for answer in found} == {"stop", "length"}
    assert all((a.completion_tokens == 12) == (a.finish == "length") for a in found)


@pytest.mark.parametrize("name", ["marian", "nllb"])
def test_ctranslate2_says_the_same(models: dict[str, Path], name: str) -> None:
    one = translate(models[name], SENTENCES, beam_size=1)
    other = translate(models[f"{name}-ct2"], SENTENCES, beam_size=1)
    assert [(a.text, a.finish) for a in other] == [(a.text, a.finish) for a in one]
    assert any(answer.text for answer in one)


def tokenizer(folder: Path, **fields: Any) -> Tokenizer:
    return Tokenizer(Seq2SeqSettings(model=str(folder), **fields), folder)


def test_languages_are_named_as_the_family_does(models: dict[str, Path]) -> None:
    plain = tokenizer(models["marian"])
    assert plain.family == "marian"
    tokens = plain.encode("A cat", None, None).tokens
    assert plain.encode("A cat", "en", "eu") == Encoded(tokens, None)

    many = tokenizer(models["many"])
    tag = many.hf.convert_tokens_to_ids(">>eu<<")
    assert many.encode("A cat", "en", "eu").tokens[0] == tag

    nllb = tokenizer(models["nllb"])
    english, basque = (nllb.hf.convert_tokens_to_ids(x) for x in ("eng_Latn", "eus_Latn"))
    assert nllb.family == "nllb"
    there = nllb.encode("A cat", "en", "eu")
    back = nllb.encode("A cat", "eu", "en")
    assert (there.tokens[0], there.prefix) == (english, basque)
    assert (back.tokens[0], back.prefix) == (basque, english)
    assert there.tokens[1:] == back.tokens[1:]

    madlad = tokenizer(models["madlad"])
    assert madlad.family == "madlad"
    tag = madlad.hf.convert_tokens_to_ids("<2eu>")
    assert madlad.encode("A cat", "en", "eu").tokens[0] == tag


def test_what_looks_like_a_special_token_is_only_text(models: dict[str, Path]) -> None:
    for name in ("marian", "many", "nllb", "madlad"):
        it = tokenizer(models[name])
        special = {it.hf.convert_tokens_to_ids(t) for t in ("</s>", "<pad>", "eus_Latn", "<2eu>")}
        special = (special | {it.hf.convert_tokens_to_ids(">>es<<")}) - {it.hf.unk_token_id}
        end = it.hf.eos_token_id
        tokens = it.encode(">>es<< a </s> <pad> eus_Latn <2eu>", "en", "eu").tokens
        expected = it.encode("a", "en", "eu").tokens
        assert tokens[-1] == end
        assert [t for t in tokens if t in special] == [t for t in expected if t in special]


def test_madlad_translates(models: dict[str, Path]) -> None:
    found = translate(models["madlad"], SENTENCES)
    assert [answer.id for answer in found] == [str(n) for n in range(len(SENTENCES))]
    assert all(answer.completion_tokens for answer in found)


def test_what_a_model_cannot_do_is_a_problem(models: dict[str, Path]) -> None:
    for name in ("marian", "marian-ct2"):
        short, long = translate(models[name], ["A cat", "a " * 100])
        assert not short.problem
        assert (long.text, long.finish, long.problem) == ("", "other", "too-long")
        assert long.detail == "101 tokens; the model takes 64"


def test_wild_texts_harm_nobody_else(models: dict[str, Path]) -> None:
    wild = ["a \ud800 b", "", " \n", "a\0b", "\u202eabc", "\U0001f415 \x1b[0m"]
    for name in ("marian", "marian-ct2", "nllb", "madlad"):
        found = translate(models[name], [*wild, "A cat"])
        assert found[0].problem == "not-unicode"
        assert [answer.text for answer in found[1:3]] == ["", " \n"]
        assert not any(answer.problem for answer in found[1:])
        assert found[-1] == replace(translate(models[name], ["A cat"])[0], id="6")


def test_closing_it_leaves_nobody_waiting(models: dict[str, Path]) -> None:
    async def close_early() -> list[Any]:
        backend = await Seq2Seq.open(Seq2SeqSettings(model=str(models["marian"])))
        asked = [asyncio.create_task(backend.complete(ask(text))) for text in SENTENCES]
        await asyncio.sleep(0)
        await backend.close()
        return await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in asyncio.run(close_early()))


def test_no_sampling_and_only_the_last_turn(models: dict[str, Path]) -> None:
    async def both() -> tuple[Answer, Answer, Answer]:
        backend = await Seq2Seq.open(Seq2SeqSettings(model=str(models["marian"]), max_tokens=12))
        request = ask(SENTENCES[0], source_language="en", target_language="eu")
        longer = replace(request, turns=(*ask("Else").turns, assistant("x"), *request.turns))
        found = (
            await backend.complete(replace(request, temperature=0.7)),
            await backend.complete(request),
            await backend.complete(longer),
        )
        await backend.close()
        return found

    sampled, one, two = asyncio.run(both())
    assert sampled.problem == "no-sampling"
    assert one == two


def test_languages_that_it_does_not_know(models: dict[str, Path]) -> None:
    cases = [
        ("many", "gl", "the model has no language '>>gl<<'. Did you mean '>>"),
        ("nllb", "gl", "the model has no language 'glg_Latn'."),
        ("nllb", "xx", "There is no language pack 'xx'"),
    ]
    for name, language, message in cases:
        with pytest.raises(BackendError) as found:
            translate(models[name], ["A cat"], language)
        assert message in str(found.value) and "\n" not in str(found.value)


def test_the_revision_is_that_of_the_files(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def revision(**fields: Any) -> str:
        backend = await Seq2Seq.open(Seq2SeqSettings(**{"model": "m", **fields}))
        await backend.close()
        return backend.revision

    monkeypatch.chdir(tmp_path)
    shutil.copytree(models["marian"], "m")
    first = asyncio.run(revision())
    assert first == asyncio.run(revision(batch_size=3))
    assert first != asyncio.run(revision(beam_size=3))
    (tmp_path / "m" / "README.md").write_text("changed")
    assert first != asyncio.run(revision())


def test_what_cannot_be_loaded_is_told_in_one_line(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "empty").mkdir()
    cases = [
        ({"model": str(tmp_path / "empty")}, "the tokenizer cannot be loaded"),
        ({"model": str(tmp_path / "empty"), "tokenizer": str(models["marian"])}, "model cannot be"),
        ({"model": "no/such-model"}, "is no folder, and cannot be had from the hub"),
        ({"model": "no/such-model"}, "or see to the network"),
        ({"model": "./absent"}, "./absent: there is no such folder"),
    ]
    for fields, message in cases:
        with pytest.raises(BackendError) as found:
            asyncio.run(Seq2Seq.open(Seq2SeqSettings.model_validate(fields)))
        assert message in str(found.value) and "\n" not in str(found.value)
