"""Language identification, and when it is not to be trusted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikusi.languages import identify as module
from ikusi.languages.identify import PASSAGE_WORDS, identify, known_labels, measure, texts
from ikusi.languages.pack import Pack, load_pack


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Irudian katu beltz bat ikusten da etxe baten aurrean.", "eu"),
        ("There is a black cat in front of a house in the picture.", "en"),
        ("There is a black cat\nin front of a house.\r\n", "en"),
    ],
)
def test_identify(text: str, label: str) -> None:
    found, score = identify(text)
    assert found == label
    assert 0.5 < score <= 1


@pytest.mark.parametrize("text", ["", " \n", "123 ?!", "🐈"])
def test_a_text_without_letters_is_undetermined(text: str) -> None:
    assert identify(text) == ("und", 0.0)


@given(st.text())
def test_any_text_gets_a_label_and_a_score(text: str) -> None:
    label, score = identify(text)
    assert label
    assert 0 <= score <= 1


def test_labels() -> None:
    assert {"eu", "en", "es", "gl", "cy", "qu"} <= known_labels()
    assert "xx" not in known_labels()


def test_single_sentences_and_passages() -> None:
    """Measured: English questions 1.00, Basque ones 0.79, Galician ones 0.33; passages 1.00."""
    english, basque, galician = (load_pack(code) for code in ("en", "eu", "gl"))
    packs = [english, basque, galician]
    assert measure(english, packs).reliable
    assert not measure(basque, packs).reliable
    assert measure(basque, packs, PASSAGE_WORDS).reliable
    poor = measure(galician, packs)
    assert (poor.reliable, poor.known) == (False, True)
    assert poor.n == len(texts(galician)) == poor.correct + sum(poor.confusion.values())
    assert set(poor.false_n) == {"en", "eu"}
    assert poor.explain().endswith("language-identification metrics on sentences are switched off")


def test_a_language_that_takes_anothers_sentences_is_not_reliable() -> None:
    found = measure(load_pack("es"), [load_pack("gl")])
    assert found.accuracy == 1
    assert found.confused_with == ("gl",)
    assert not found.reliable
    assert "in gl are taken for it" in found.explain()


def test_one_sentence_says_too_little(partial: dict[str, Any]) -> None:
    pack = Pack.parse(partial, "x")
    found = measure(pack, [])
    assert (found.n, found.reliable) == (1, False)
    assert "20 are needed to judge" in found.explain()
    assert measure(pack, [], PASSAGE_WORDS).n == 0
    # and such a pack condemns no other
    assert measure(load_pack("en"), [pack]).confused_with == ()


def test_a_language_the_identifier_does_not_know(partial: dict[str, Any]) -> None:
    pack = Pack.parse({**partial, "code": "quz"}, "x")
    found = measure(pack, [])
    assert not found.known
    assert found.explain() == (
        "the identifier does not know 'quz': "
        "language-identification metrics on sentences are switched off"
    )


def test_passages_are_long_enough_and_in_order() -> None:
    pack = load_pack("en")
    passages = texts(pack, 20)
    assert all(len(passage.split()) >= 20 for passage in passages)
    assert " ".join(texts(pack)).startswith(" ".join(passages[:3]))


def test_the_model_is_loaded_once_and_never_the_large_one() -> None:
    assert module._detector() is module._detector()
    assert module._detector().config.model == "lite"
