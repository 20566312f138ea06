"""A record taken apart and put together; what is read back from tags is what was written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.translate.fakes import record, shift

from ikusi.core.types import Image, Record, Text, Turn
from ikusi.data.translate.faults import Fault
from ikusi.data.translate.units import (
    Piece,
    chunk,
    read_tagged,
    take_apart,
    write_tagged,
)

PARTS = st.lists(st.one_of(st.text(max_size=8).map(Text), st.just(Image(0))), max_size=3).map(tuple)
TURNS = st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), PARTS)
RECORDS = st.builds(
    Record,
    id=st.just("r"),
    group=st.just("g"),
    turns=st.lists(TURNS, max_size=4).map(tuple),
    language=st.just("en"),
    task=st.just("chat"),
    source=st.just("tests"),
    choices=st.lists(st.sampled_from(["dog", " cat", "Dog", "A", ""]), max_size=3).map(tuple),
    answers=st.lists(st.sampled_from(["dog", "A", "B) dog.", "other"]), max_size=3).map(tuple),
)


@given(RECORDS)
def test_without_a_change_the_record_is_the_same(given_record: Record) -> None:
    plan = take_apart(given_record)
    again = plan.rebuild([piece.text for piece in plan.pieces])
    assert again.turns == given_record.turns
    assert again.choices == given_record.choices
    for old, new in zip(given_record.answers, again.answers, strict=True):
        assert old.casefold() == new.casefold()  # an answer is written as its option is


def test_each_distinct_text_is_one_piece_and_space_around_it_stays() -> None:
    plan = take_apart(record("Is it?\n", " Yes. ", "Is it?", "Yes."))
    assert [piece.text for piece in plan.pieces] == ["Is it?", "Yes."]
    made = plan.rebuild(["Bada?", "Bai."])
    assert [turn.text for turn in made.turns] == ["Bada?\n", " Bai. ", "Bada?", "Bai."]
    assert made.turns[0].parts[0] == Image(0)


def test_an_answer_that_is_an_option_becomes_that_options_translation() -> None:
    given_record = record(
        "Which?", "B) A cat.", choices=["a dog", "a cat"], answers=("A cat", "B", "fish")
    )
    plan = take_apart(given_record)
    assert [(piece.text, piece.role) for piece in plan.pieces] == [
        ("Which?", "user"),
        ("a cat", "option"),
        ("a dog", "option"),
        ("fish", "answer"),
    ]
    made = plan.rebuild(["Zein?", "katua", "txakurra", "arraina"])
    assert made.turns[1].text == "B) katua."
    assert made.choices == ("txakurra", "katua")
    assert made.answers == ("katua", "B", "arraina")


def test_a_letter_stays_however_the_answer_writes_it() -> None:
    given_record = record("Which?", " a", choices=["A", "B"], answers=("b",))
    plan = take_apart(given_record)
    assert [piece.text for piece in plan.pieces] == ["Which?"]
    again = plan.rebuild(["Zein?"])
    assert (again.turns[1], again.answers) == (given_record.turns[1], ("b",))


def test_letters_alone_are_no_text() -> None:
    plan = take_apart(record("Which?", "B", choices=["A", "B"], answers=("B",)))
    assert [piece.text for piece in plan.pieces] == ["Which?"]


def test_what_is_written_anew_is_marked() -> None:
    plan = take_apart(record("What?", "A dog."), write=True)
    assert plan.pieces == (Piece("What?", "user"), Piece("A dog.", "assistant", True))


def test_a_long_conversation_goes_in_parts_and_a_long_text_alone() -> None:
    pieces = [Piece("x" * size, "user") for size in (4, 4, 20, 1, 1)]
    assert list(chunk(pieces, 10)) == [[0, 1], [2], [3, 4]]


@given(st.lists(st.text(max_size=20).map(str.strip), min_size=1, max_size=5))
def test_tags_are_read_back(texts: list[str]) -> None:
    tags = [f"user{number}" for number in range(1, len(texts) + 1)]
    written = write_tagged(list(zip(tags, texts, strict=True)))
    assert read_tagged(written, tags) == (texts, "")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "Kaixo",
        "<user1>bat</user1>",
        "<user1>bat</user1><user2>bi",
        "<user2>bi</user2><user1>bat</user1>",
        "<user1>bat</user1><user1>bat</user1><user2>bi</user2>",
        "<user1>bat</user1><user2>bi</user2><user3>hiru</user3>",
        "<user1>bat</user2><user2>bi</user2>",
    ],
)
def test_other_tags_are_a_fault(answer: str) -> None:
    fault = read_tagged(answer, ["user1", "user2"])
    assert isinstance(fault, Fault)
    assert fault.reason == "format"


def test_what_stands_outside_is_told() -> None:
    answer = "Hona hemen:\n<user1> bat </user1>\nOndo?"
    assert read_tagged(answer, ["user1"]) == (["bat"], "Hona hemen: Ondo?")


def test_the_language_of_these_tests_leaves_marks_alone() -> None:
    assert shift("<user1>Two dogs ⟦1⟧, XQ2</user1>") == "<user1>Owtak sgodak ⟦1⟧, XQ2</user1>"
