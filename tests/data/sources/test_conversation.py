"""Marks and turns: every mark becomes a picture's part, and what is wrong is told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikusi.core.types import Image, Role, Text
from ikusi.data.sources.choices import find_correct, read_choices, split_options
from ikusi.data.sources.conversation import MARK, check_order, make_turns, read_conversation
from ikusi.data.sources.source import Fault, RowFault

pieces = st.lists(st.sampled_from([MARK, "Zer da?", "\n", " ", "<img>", "a"]), max_size=8)


@given(st.lists(pieces, min_size=1, max_size=4), st.integers(0, 6))
def test_marks_are_counted_against_pictures(texts: list[list[str]], num_images: int) -> None:
    said: list[tuple[Role, str]] = [("user", "".join(text)) for text in texts]
    faults: list[Fault] = []
    turns = make_turns(said, num_images, True, faults)
    indices = [p.index for t in turns for p in t.parts if isinstance(p, Image)]
    marks = sum(text.count(MARK) for _, text in said)
    assert indices == list(range(marks))
    assert any(fault.reason == "image-marks" for fault in faults) == (marks != num_images)
    assert not any(MARK in t.text for t in turns)
    for (_, text), turn in zip(said, turns, strict=True):
        kept = "".join(turn.text.split())
        assert kept == "".join(text.replace(MARK, "").split())  # only white space may go


@given(st.text(max_size=20), st.integers(0, 3))
def test_without_marks_a_text_is_only_text(text: str, num_images: int) -> None:
    faults: list[Fault] = []
    said: list[tuple[Role, str]] = [("user", f"{text}{MARK}"), ("assistant", "x")]
    turns = make_turns(said, num_images, False, faults)
    assert not faults
    assert turns[0].parts == (*map(Image, range(num_images)), Text(f"{text}{MARK}"))


@pytest.mark.parametrize(
    ("cell", "reasons"),
    [
        ([{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}], []),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], []),
        ([{"user": "a", "assistant": "b"}], []),
        (["a", "b", "c", "d"], []),
        ("a", ["turns-type"]),
        (None, ["turns-type"]),
        ([], ["turns-none"]),
        ([3], ["turn-type"]),
        ([{"from": "bing", "value": "a"}], ["role-unknown"]),
        ([{"from": None, "value": "a"}], ["role-unknown"]),
        ([{"user": "a", "assistant": None}], ["turn-empty", "answer-missing"]),
        ([{"user": "a", "assistant": ["b"]}], ["turn-type", "answer-missing"]),
        (["a"], ["answer-missing"]),
        ([{"from": "gpt", "value": "b"}], ["roles-out-of-order"]),
        ([{"from": "human", "value": "a"}] * 2, ["roles-out-of-order"]),
        ([{"from": "system", "value": "a"}], ["answer-missing"]),
        (
            [{"from": "human", "value": "a"}, {"from": "system", "value": "a"}],
            ["roles-out-of-order"],
        ),
    ],
)
def test_turns(cell: Any, reasons: list[str]) -> None:
    faults: list[Fault] = []
    check_order(read_conversation(cell, faults), faults)
    assert [fault.reason for fault in faults] == reasons


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        (["a", "b"], ("a", "b")),
        ("['a', \"b's\"]", ("a", "b's")),
        ('["a", "b"]', ("a", "b")),
        ("A) bat\nB) bi", ("bat", "bi")),
        ("A. bat\nB. bi\n", ("bat", "bi")),
        ("bat; bi, hiru", ("bat", "bi, hiru")),
        ("bat, bi", ("bat", "bi")),
        ("bat", None),
        ("['a']", None),
        ("['a', '']", None),
        ("[__import__('os')]", None),
        (3, None),
    ],
)
def test_choices_in_the_forms_of_benchmarks(cell: Any, options: tuple[str, ...] | None) -> None:
    if options is None:
        with pytest.raises(RowFault):
            read_choices(cell)
    else:
        assert read_choices(cell) == options


@pytest.mark.parametrize(
    ("cell", "how", "right"),
    [
        (1, "index", "y"),
        ("1", "index", "y"),
        (2, "index", None),
        (-1, "index", None),
        (True, "index", None),
        (None, "index", None),
        ("x", "index", None),
        ("B", "letter", "y"),
        ("(b)", "letter", "y"),
        ("C", "letter", None),
        (1, "letter", None),
        ("X", "text", "x"),
        ("z", "text", None),
    ],
)
def test_the_right_choice(cell: Any, how: str, right: str | None) -> None:
    if right is None:
        with pytest.raises(RowFault):
            find_correct(cell, how, ["x", "y"], ["A", "B", "C"])
    else:
        assert find_correct(cell, how, ["x", "y"], ["A", "B", "C"]) == right


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Q?\nOptions: A: a, b, B: c", ("Q?", ("a, b", "c"))),
        ("Q?\n(A) a\n(B) b\n(C) c", ("Q?", ("a", "b", "c"))),
        ("Q?\nA. a\nB. b", ("Q?", ("a", "b"))),
        ("What is vitamin A: a or b?", None),
        ("A: a, B: b", None),
        ("Q?\nOptions: A: a", None),
    ],
)
def test_options_inside_a_question(text: str, found: Any) -> None:
    assert split_options(text) == found
