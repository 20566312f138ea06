"""In which language an answer is, and whether it is the right one of another."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.model import tiny

from ikusi.core.types import Record
from ikusi.evaluate.fidelity import (
    Confusion,
    Fidelity,
    Lexicon,
    is_long,
    measure_identification,
    normal,
    right_elsewhere,
)
from ikusi.evaluate.results import SAID
from ikusi.languages.pack import load_pack

LEXICON = Lexicon(
    ["katu", "etxe gorria", "taxi", "bai", "A", "bi"],
    ["cat", "red house", "taxi", "yes", "A", "two", "¿qué?"],
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("katu", "target"),
        ("KATU.", "target"),
        ("katu, etxe", "target"),
        ("red house", "pivot"),
        ("(house)", "pivot"),
        ("qué", "pivot"),
        ("katu cat", "both"),
        ("taxi", "both"),
        ("A", "both"),
        ("katu taxi", "target"),
        ("katu zzz", "target"),
        ("zzz", "neither"),
        ("", "neither"),
        ("...", "neither"),
    ],
)
def test_the_lexicon(answer: str, said: str) -> None:
    assert LEXICON.said(answer) == said


@given(st.text())
def test_any_answer_gets_a_verdict(answer: str) -> None:
    assert LEXICON.said(answer) in SAID
    assert normal(normal(answer)) == normal(answer)


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert normal("búho") == normal("bu\u0301ho")
    assert Lexicon(["búho"], []).said("bu\u0301ho") == "target"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("cat", True), ("Cat.", True), ("katu", False), ("dog", False), ("", False)],
)
def test_right_elsewhere(answer: str, expected: bool) -> None:
    assert right_elsewhere(answer, {"eu": "katu", "en": "cat"}, "eu") is expected


def test_right_in_both_languages_is_not_elsewhere() -> None:
    assert not right_elsewhere("taxi", {"eu": "taxi", "en": "taxi"}, "eu")


SENTENCES = {
    "eu": [
        f"Irudian {n} ikusten da etxe zahar handi baten aurrean, eta zerua urdina da."
        for n in ("katu bat", "txakur bat", "mutil bat", "zuhaitz bat", "auto gorri bat")
    ],
    "en": [
        f"There is {n} in front of a big old house in the picture, and the sky is blue."
        for n in ("a cat", "a dog", "a boy", "a tree", "a red car")
    ],
}


def _records(texts: dict[str, list[str]], copies: int = 4) -> list[Record]:
    return [
        tiny.record("?", None, language=language, answers=(text + "!" * copy,))
        for language, some in texts.items()
        for text in some
        for copy in range(copies)
    ]


def test_identification_judges_long_answers_where_it_is_reliable() -> None:
    packs = load_pack("eu"), load_pack("en")
    short = [tiny.record("?", None, language="eu", answers=("katu beltz handi bat",))]
    confusion = measure_identification(*packs, [*_records(SENTENCES), *short])
    assert confusion.counts == {
        "target": {"target": 20, "pivot": 0, "neither": 0},
        "pivot": {"target": 0, "pivot": 20, "neither": 0},
    }
    assert confusion.reliable
    fidelity = Fidelity(LEXICON, confusion)
    assert fidelity.said(SENTENCES["eu"][0]) == "target"
    assert fidelity.said("The quick brown fox is a katu") == "pivot"
    assert fidelity.said("Es ist ein schöner Tag, und die Sonne scheint.") == "neither"
    assert fidelity.said("The quick katu") == "target"  # four words at most: the lexicon's
    assert confusion.to_plain()["long_answers_judged_by"] == "identification"


def test_the_lexicon_judges_long_answers_where_identification_is_poor() -> None:
    names = ["katua, txakurra, behia, ardia, hartza", "ogia, gazta, ura, esnea, arrautza"]
    texts = {"eu": [f"{text}. {n}" for text in names for n in "abcdefghijkl"], "en": []}
    confusion = measure_identification(load_pack("eu"), load_pack("en"), _records(texts, 1))
    assert not confusion.reliable
    assert Fidelity(LEXICON, confusion).said("The quick brown fox is a katu") == "target"
    plain = confusion.to_plain()
    assert plain["long_answers_judged_by"] == "lexicon"
    assert sum(plain["counts"]["target"].values()) == 24


@pytest.mark.parametrize(
    ("counts", "reliable"),
    [
        ((18, 2, 0), True),
        ((17, 0, 3), False),
        ((18, 0, 1), False),
        ((90, 11, 0), False),
        ((0, 0, 0), False),
    ],
)
def test_what_counts_as_reliable(counts: tuple[int, int, int], reliable: bool) -> None:
    right, wrong, neither = counts
    sides = {
        "target": {"target": right, "pivot": wrong, "neither": neither},
        "pivot": {"target": 0, "pivot": 30, "neither": 0},
    }
    assert Confusion({"target": "eu", "pivot": "en"}, sides).reliable is reliable


def test_two_variants_that_identification_does_not_tell_apart() -> None:
    basque = load_pack("eu")
    variant = basque.model_copy(update={"code": "eu-x-biz"})
    records = _records({"eu": SENTENCES["eu"], "eu-x-biz": SENTENCES["eu"]})
    assert not measure_identification(basque, variant, records).reliable


@pytest.mark.parametrize(
    ("answer", "long"), [("a b c d", False), ("a b c d e", True), (" a\nb  c d ", False)]
)
def test_how_long_is_long(answer: str, long: bool) -> None:
    assert is_long(answer) is long
