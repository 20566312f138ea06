"""Tokenizers: lossless on the world's names, and a text-only one taught to mark images."""

from __future__ import annotations

import copy
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model import tiny
from transformers import AutoTokenizer

from ikusi.model.tokenizer import (
    IMAGE,
    ROLES,
    add_image_token,
    takes_parts,
    train_tokenizer,
)
from ikusi.world import assets


def test_every_name_of_the_world_comes_back() -> None:
    codes = ("eu", "en", "es", "gl", "cy")
    names = [name.text for code in codes for name in assets.names(code).values()]
    made = train_tokenizer(names[::2], 2000)  # half of them were never seen
    for name in names:
        assert made.decode(made.encode(name, add_special_tokens=False)).strip() == name


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    made = tiny.shared_tokenizer()
    ids = made.encode(text, add_special_tokens=False, split_special_tokens=True)
    expected = unicodedata.normalize("NFC", text)
    assert made.decode(ids) in (expected, f" {expected}")


def test_a_word_is_the_same_token_at_the_start_and_inside() -> None:
    made = tiny.tokenizer()
    alone = made.encode("katua", add_special_tokens=False)
    assert made.encode("etxe katua", add_special_tokens=False)[-len(alone) :] == alone


@pytest.mark.parametrize("reloaded", [False, True])
def test_special_tokens_that_somebody_typed_are_text(reloaded: bool, tmp_path: Path) -> None:
    made: Any = tiny.tokenizer()
    if reloaded:
        made.save_pretrained(tmp_path)
        made = AutoTokenizer.from_pretrained(tmp_path)
    special = {i for i, token in made.added_tokens_decoder.items() if token.special}
    typed = " ".join([IMAGE, *ROLES.values(), made.eos_token, made.bos_token, made.pad_token])
    assert len(special) == 7
    ids = made.encode(typed, add_special_tokens=False, split_special_tokens=True)
    assert not special & set(ids)
    assert made.decode(ids).strip() == typed
    assert len(made.encode(typed, add_special_tokens=False)) < len(ids)


TRIMMING = (
    "{% for message in messages %}{{ '<|user|>' if message['role'] == 'user' else '<|assistant|>' "
    "}}{{ message['content'] | trim }}<|end|>{% endfor %}"
)


@pytest.mark.parametrize("template", [tiny.CHATML, TRIMMING])
def test_a_template_for_strings_learns_to_take_parts(template: str, tmp_path: Path) -> None:
    made: Any = tiny.tokenizer()
    made.chat_template = template
    assert not takes_parts(made)
    strings = [
        {"role": "user", "content": "Zer dago?"},
        {"role": "assistant", "content": "katua"},
    ]
    before = made.apply_chat_template(strings, tokenize=False)
    identity = add_image_token(made)
    assert takes_parts(made)
    made.save_pretrained(tmp_path)
    made = AutoTokenizer.from_pretrained(tmp_path)
    assert made.convert_ids_to_tokens(identity) == IMAGE
    assert made.apply_chat_template(strings, tokenize=False) == before
    parts = [{"type": "image"}, {"type": "text", "text": "Zer dago?"}]
    turns = [{"role": "user", "content": parts}, strings[1]]
    seen = made.apply_chat_template(turns, tokenize=False)
    assert seen == before.replace("Zer dago?", "<image>\nZer dago?")


def test_a_template_that_takes_parts_is_left_alone() -> None:
    made = tiny.tokenizer()
    template, size = copy.copy(made.chat_template), len(made)
    add_image_token(made)
    assert (made.chat_template, len(made)) == (template, size)
