"""From a conversation to token ids and the mask of what is supervised.

Place: records -> [chat] -> loader. Contract: a conversation is tokenised once. The tokenizer's own
chat template is rendered with a mark in the place of every text, so its skeleton and the texts are
tokenised apart: what a user typed can never become a special token, and the assistant's spans are
known without a search. Supervised is the assistant's text and what ends the turn after it.

    renderer = ChatRenderer(tokenizer, image_token_id, tokens_per_image=9)
    sample = renderer.render(record)      # sample.input_ids, sample.is_target
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ikusi.core.errors import ConfigError, DataError
from ikusi.core.types import Image, Record, Text, Turn
from ikusi.model.tokenizer import takes_parts

_MARK = "\ue000{}\ue001"  # private-use characters: no template has them, and none is a token
_MARK_PATTERN = re.compile("\ue000(\\d+)\ue001")
_Shape = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """A conversation as tokens.

    `input_ids` int32[T]; `is_target` bool[T], true where the token is supervised; `images` the
    sha256 of each picture in reading order.
    """

    id: str
    input_ids: NDArray[np.int32]
    is_target: NDArray[np.bool_]
    images: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.input_ids)


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """What a template writes around the texts: `pieces[i]` stands before text `i`."""

    pieces: tuple[tuple[int, ...], ...]


class ChatRenderer:
    """Renders records with a tokenizer's chat template.

    Args:
        tokenizer: a fast tokenizer with a chat template.
        image_token_id: id of the token that the template writes for an image.
        tokens_per_image: how many of them the model sees for one image.

    Raises:
        ConfigError: the tokenizer has no chat template.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, image_token_id: int | None, tokens_per_image: int
    ) -> None:
        if not tokenizer.chat_template:
            raise ConfigError(
                f"{tokenizer.name_or_path or 'the tokenizer'}: has no chat template. "
                "Use an instructed model, or set a template in its tokenizer_config.json."
            )
        self.tokenizer = tokenizer
        self.image_token_id = image_token_id
        self.tokens_per_image = tokens_per_image
        added = tokenizer.added_tokens_decoder.items()
        self._special = frozenset(token for token, content in added if content.special)
        self._takes_parts = takes_parts(tokenizer)
        self._skeleton = functools.lru_cache(maxsize=None)(self._render_skeleton)

    def render(self, record: Record) -> Sample:
        """Return the whole conversation with its supervised tokens marked."""
        return self._join(record, record.turns, for_answer=False)

    def render_prompt(self, record: Record) -> Sample:
        """Return the conversation up to where the assistant's last answer would begin."""
        turns = record.turns
        if turns and turns[-1].role == "assistant":
            turns = turns[:-1]
        return self._join(record, turns, for_answer=True)

    @property
    def end_token_id(self) -> int:
        """The last token that is supervised in a turn: it ends an answer."""
        asked_and_answered: _Shape = (("user", ("text",)), ("assistant", ("text",)))
        after = self._skeleton(asked_and_answered, False).pieces[-1]
        if not after:
            return cast(int, self.tokenizer.eos_token_id)
        return after[self._length_of_end(after) - 1]

    def encode_text(self, text: str) -> list[int]:
        """Return the ids of plain text; special tokens in it are only text."""
        ids: list[int] = self.tokenizer.encode(
            text.strip(), add_special_tokens=False, split_special_tokens=True
        )
        return ids

    def _join(self, record: Record, turns: Sequence[Turn], *, for_answer: bool) -> Sample:
        shape = tuple(
            (turn.role, tuple("image" if isinstance(p, Image) else "text" for p in turn.parts))
            for turn in turns
        )
        pieces = self._skeleton(shape, for_answer).pieces
        texts = [
            (number, part.text)
            for number, turn in enumerate(turns)
            for part in turn.parts
            if isinstance(part, Text)
        ]
        ids, targets = list(pieces[0]), [False] * len(pieces[0])
        for index, (number, text) in enumerate(texts):
            answered = turns[number].role == "assistant"
            encoded, after = self.encode_text(text), pieces[index + 1]
            is_last = index + 1 == len(texts) or texts[index + 1][0] != number
            end = self._length_of_end(after) if answered and is_last else 0
            ids += [*encoded, *after]
            targets += [answered] * len(encoded) + [True] * end + [False] * (len(after) - end)
        if targets:
            targets[0] = False  # there is nothing to predict it from
        return Sample(
            id=record.id,
            input_ids=np.asarray(ids, dtype=np.int32),
            is_target=np.asarray(targets, dtype=np.bool_),
            images=self._images(record, turns),
        )

    def _images(self, record: Record, turns: Sequence[Turn]) -> tuple[str, ...]:
        indices = [p.index for turn in turns for p in turn.parts if isinstance(p, Image)]
        if indices and self.image_token_id is None:
            raise ConfigError(
                f"record {record.id!r} has a picture, and this model reads text alone. "
                "Leave such records out, or use a model that sees."
            )
        found = [record.images[i].sha256 if i < len(record.images) else None for i in indices]
        if None in found:
            raise DataError(
                f"record {record.id!r}: picture {found.index(None) + 1} of {len(found)} in its "
                "text has no sha256. Import its images first."
            )
        return tuple(sha256 for sha256 in found if sha256)

    def _length_of_end(self, piece: Sequence[int]) -> int:
        """Return how many tokens of the `piece` after an answer end the turn."""
        specials = (place for place, token in enumerate(piece) if token in self._special)
        return min(next(specials, 0) + 1, len(piece))

    def _render_skeleton(self, shape: _Shape, for_answer: bool) -> _Skeleton:
        messages: list[dict[str, Any]] = []
        texts = images = 0
        for role, kinds in shape:
            content: list[dict[str, str]] = []
            for kind in kinds:
                if kind == "image":
                    content.append({"type": "image"})
                    images += 1
                else:
                    content.append({"type": "text", "text": _MARK.format(texts)})
                    texts += 1
            if self._takes_parts or images:
                messages.append({"role": role, "content": content})
            else:
                messages.append({"role": role, "content": "".join(p["text"] for p in content)})
        name = self.tokenizer.name_or_path or "the tokenizer"
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=for_answer
            )
        except (TemplateError, TypeError) as error:
            roles = ", ".join(role for role, _ in shape)
            reason = str(error).splitlines()[0].rstrip(".")
            raise ConfigError(
                f"{name}: its chat template refuses the turns {roles}: {reason}. "
                "Check the order of roles in the data."
            ) from None
        parts = _MARK_PATTERN.split(str(text))
        marks = [int(mark) for mark in parts[1::2]]
        if marks != list(range(texts)):
            raise ConfigError(
                f"{name}: its chat template drops or reorders turns "
                f"(texts {marks} of {texts}). Check the order of roles in the data."
            )
        pieces = [self.tokenizer.encode(p, add_special_tokens=False) for p in parts[0::2]]
        written = sum(token == self.image_token_id for piece in pieces for token in piece)
        if images != written and self.image_token_id is not None:
            raise ConfigError(
                f"{name}: its chat template writes {written} images where the turns have {images}. "
                "Use a template that takes images."
            )
        return _Skeleton(tuple(self._with_image_tokens(piece) for piece in pieces))

    def _with_image_tokens(self, piece: Sequence[int]) -> tuple[int, ...]:
        ids: list[int] = []
        for token in piece:
            ids.extend([token] * (self.tokens_per_image if token == self.image_token_id else 1))
        return tuple(ids)
