"""Texts as numbers: the same as a plain computation, whatever stands beside them."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikusi.core.errors import ConfigError
from ikusi.data.filters import texts as module
from ikusi.data.filters.texts import (
    SHINGLE_CHARACTERS,
    Texts,
    bands,
    normalise,
    short,
    similarity,
    tokens,
)

ANY = st.text(st.characters(codec=None), max_size=30)
WORDS = st.lists(
    st.sampled_from(["ur", "etxe", "mendi", "Ibai", "zubia", "zahar日本", "ñ", "3"]), max_size=40
)


@settings(max_examples=60)
@given(st.lists(ANY, max_size=6))
def test_words_of_a_batch_are_those_of_each_text(batch: list[str]) -> None:
    together = Texts(batch)
    assert together.counts.tolist() == [len(tokens(normalise(text))) for text in batch]
    for number, text in enumerate(batch):
        alone = Texts([text])
        start, end = together.ends[number : number + 2]
        assert together.words[start:end].tolist() == alone.words.tolist()
        runs, of = together.runs(3)
        own = alone.runs(3)[0].tolist()
        assert runs[of == number].tolist() == own
        share = 1 - len(set(own)) / len(own) if own else 0
        assert together.repeats(3)[number] == pytest.approx(share)


@settings(max_examples=60)
@given(WORDS, WORDS)
def test_equal_words_have_equal_hashes_and_others_others(one: list[str], other: list[str]) -> None:
    batch = Texts([" ".join(one), " ".join(other)])
    words = [tokens(normalise(" ".join(each))) for each in (one, other)]
    flat = [word for each in words for word in each]
    by_word = dict(zip(flat, batch.words.tolist(), strict=True))
    assert [by_word[word] for word in flat] == batch.words.tolist()
    assert len(set(by_word.values())) == len(by_word)
    runs, of = batch.runs(2)
    pairs = [tuple(each[i : i + 2]) for each in words for i in range(len(each) - 1)]
    by_pair = dict(zip(pairs, runs.tolist(), strict=True))
    assert [by_pair[pair] for pair in pairs] == runs.tolist()
    assert len(set(by_pair.values())) == len(by_pair)
    assert of.tolist() == [n for n, each in enumerate(words) for _ in range(len(each) - 1)]


def test_case_punctuation_and_form_do_not_count() -> None:
    batch = Texts(["Zubi ZAHARRA, ibaian!", "zubi zaharra -- ibaian", "ｚｕｂｉ zaharra ibaian"])
    words = batch.words.reshape(3, 3)
    assert (words == words[0]).all()
    signed = batch.signatures(np.arange(3))
    assert (signed == signed[0]).all()


def test_characters_of_scripts_without_spaces_are_words() -> None:
    assert tokens("नमस्ते, दुनिया") == ["नमस्ते", "दुनिया"]
    assert tokens("これは犬です ok") == [*"これは犬です", "ok"]
    assert Texts(["これは犬です ok", "สวัสดี", "नमस्ते दुनिया"]).counts.tolist()[0] == 7
    assert Texts(["नमस्ते दुनिया"]).counts.tolist() == [2]  # marks are part of a word


@settings(max_examples=20)
@given(WORDS, WORDS)
def test_similarity_is_that_of_the_pieces(one: list[str], other: list[str]) -> None:
    def pieces(words: list[str]) -> set[str]:
        text = "".join(f" {word}" for word in tokens(normalise(" ".join(words))))
        return {text[i : i + SHINGLE_CHARACTERS] for i in range(len(text) - 4)}

    a, b = pieces(one), pieces(other)
    if a and b:
        signed = Texts([" ".join(one), " ".join(other)]).signatures(np.array([0, 1]))
        found = similarity(short(signed[:1]), short(signed[1:]))[0]
        # Five standard errors of 128 permutations.
        assert found == pytest.approx(len(a & b) / len(a | b), abs=5 * 0.045)


def test_signatures_do_not_depend_on_what_is_asked_first() -> None:
    batch = [f"etxe zaharra mendian {n} ibaia" for n in range(6)] + ["", "a"]
    first, second = Texts(batch), Texts(batch)
    whole = first.signatures(np.arange(8))
    second.signatures(np.array([3, 1]))
    order = np.array([7, 1, 1, 0, 3, 6])
    assert (second.signatures(order) == whole[order]).all()
    assert second.signatures(np.empty(0, np.int64)).shape == (0, 128)
    assert bands(whole).shape == (8, 16)
    assert len(np.unique(bands(whole)[:6, 0])) > 1


def test_the_numbers_stay() -> None:
    """Work of a killed run is read by the next one, perhaps on another machine."""
    batch = Texts(["Zubi zaharra ibai gainean"])
    assert batch.words[0] == 1263855344118670187
    assert batch.signatures(np.array([0]))[0, 0] == 2995418949
    assert bands(batch.signatures(np.array([0])))[0, 0] == 8463258252372124375


def test_a_line_of_a_megabyte() -> None:
    batch = Texts(["x" * 1_000_000, "x y " * 250_000])
    assert batch.counts.tolist() == [1, 500_000]
    assert len(np.unique(batch.runs(8)[0])) == 2


def test_without_the_package_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rensa", None)
    with pytest.raises(ConfigError, match=r"pip install 'ikusi\[data\]'"):
        module.Texts(["etxe zaharra"]).signatures(np.array([0]))
