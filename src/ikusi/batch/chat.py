"""From a conversation to token ids and the mask of what is supervised.

Place: records -> [chat] -> loader. Contract: a conversation is tokenised once. The tokenizer's own
chat template is rendered with a mark in the place of every text, so its skeleton and the texts are
tokenised apart: what a user typed can never become a special token, and the assistant's spans are
known without a search. Supervised is the assistant's text and the end of turn after it.

    renderer = ChatRenderer(tokenizer, image_token_id, tokens_per_image=9)
    sample = renderer.render(record)      # sample.input_ids, sample.is_target
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from ikusi.core.errors import ConfigError
from ikusi.core.types import Image, Record, Text, Turn

_MARK = "\ue000{}\ue001"  # private-use characters: no template has them, and none is a token
_MARK_PATTERN = re.compile("\ue000(\\d+)\ue001")


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
        skeleton = self._skeleton(shape, for_answer)
        texts = [
            (turn.role, part.text)
            for turn in turns
            for part in turn.parts
            if isinstance(part, Text)
        ]
        ids: list[int] = []
        targets: list[bool] = []
        previous_role = ""
        for index, piece in enumerate(skeleton.pieces):
            ids.extend(piece)
            targets.extend([False] * len(piece))
            if previous_role == "assistant" and piece:
                targets[-len(piece)] = True  # the end of turn that follows the answer
            if index < len(texts):
                previous_role, text = texts[index]
                encoded = self.encode_text(text)
                ids.extend(encoded)
                targets.extend([previous_role == "assistant"] * len(encoded))
        images = tuple(
            record.images[part.index].sha256 or ""
            for turn in turns
            for part in turn.parts
            if isinstance(part, Image)
        )
        return Sample(
            id=record.id,
            input_ids=np.asarray(ids, dtype=np.int32),
            is_target=np.asarray(targets, dtype=np.bool_),
            images=images,
        )

    def _render_skeleton(
        self, shape: tuple[tuple[str, tuple[str, ...]], ...], for_answer: bool
    ) -> _Skeleton:
        messages: list[dict[str, Any]] = []
        number = 0
        for role, kinds in shape:
            content: list[dict[str, str]] = []
            for kind in kinds:
                if kind == "image":
                    content.append({"type": "image"})
                else:
                    content.append({"type": "text", "text": _MARK.format(number)})
                    number += 1
            messages.append({"role": role, "content": content})
        text = self.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=for_answer
        )
        parts = _MARK_PATTERN.split(str(text))
        marks = [int(mark) for mark in parts[1::2]]
        if marks != list(range(number)):
            raise ConfigError(
                f"the chat template of {self.tokenizer.name_or_path!r} drops or reorders turns "
                f"(texts {marks} of {number}). Check the order of roles in the data."
            )
        pieces = tuple(self._encode_skeleton(piece) for piece in parts[0::2])
        return _Skeleton(pieces)

    def _encode_skeleton(self, text: str) -> tuple[int, ...]:
        ids: list[int] = []
        for token in self.tokenizer.encode(text, add_special_tokens=False):
            repeat = self.tokens_per_image if token == self.image_token_id else 1
            ids.extend([token] * repeat)
        return tuple(ids)
