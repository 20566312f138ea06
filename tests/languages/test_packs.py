"""The packs in the repository: complete, and made as docs/languages.md says."""

from __future__ import annotations

import re
from itertools import combinations

import pytest

from ikusi.languages.pack import TASKS, Pack, available, load_pack
from ikusi.languages.parts import COLOURS, KINDS, MAX_NUMBER, SIDES
from ikusi.languages.rules import PLACEHOLDERS, POOLS, words

COMPLETE = ("cy", "en", "es", "eu", "gl")


@pytest.fixture(params=COMPLETE)
def pack(request: pytest.FixtureRequest) -> Pack:
    return load_pack(request.param)


def test_the_five_are_there() -> None:
    assert set(COMPLETE) <= set(available())


def test_nothing_is_missing(pack: Pack) -> None:
    assert pack.missing() == ()
    assert pack.tasks_ready() == TASKS
    assert set(pack.terms.colours) == set(COLOURS)
    assert set(pack.terms.sides) == set(SIDES)
    assert set(pack.terms.kinds) == set(KINDS)
    assert set(COMPLETE) <= set(pack.terms.languages)
    assert len(pack.numbers) == MAX_NUMBER + 1
    assert pack.script == "Latn"
    assert pack.checked_by
    for field in ("answer_phrases", "variants"):
        assert getattr(pack, field), field
    for part in (pack.names, pack.ids, pack.yes_no, pack.prompts):
        for name, value in part:
            assert value, name
    assert "{colour}" in pack.scene
    assert "{colour}" in pack.caption_answer


def test_sides_and_kinds_are_one_word_each(pack: Pack) -> None:
    for word in (*pack.terms.sides.values(), *pack.terms.kinds.values()):
        assert len(word.split()) == 1


@pytest.mark.parametrize("task", TASKS)
def test_enough_short_sentences_in_each_pool(pack: Pack, task: str) -> None:
    assert [len(pack.wordings(task, pool)) for pool in POOLS] == [5, 6, 3]
    for pool in POOLS:
        for wording in pack.wordings(task, pool):
            assert 3 <= len(words(wording)) <= 9, wording


def test_no_sentence_stands_twice(pack: Pack) -> None:
    texts = [text.casefold() for pools in pack.tasks.values() for _, text in pools.each()]
    assert len(texts) == len(set(texts)) == 140


def test_held_out_sentences_and_fixed_forms_are_made_of_known_words(pack: Pack) -> None:
    assert pack.unknown_words() == {}


def test_names_stand_at_the_end_after_a_colon_or_in_quotes(pack: Pack) -> None:
    for task, marks in PLACEHOLDERS.items():
        for _, text in pack.tasks[task].each() if "name" in marks else ():
            assert re.search(r'(: |["\u00ab\u201c])\{name\}\W*$', text), text


def test_sentences_are_written_alike(pack: Pack) -> None:
    """One space between words, a capital first, and a full stop or question mark last."""
    for task, pools in pack.tasks.items():
        for _, text in pools.each():
            bare = text.partition(" A) ")[0] if task == "choice" else text
            assert "  " not in text
            assert bare.strip("¿")[0].isupper(), text
            assert bare[-1] in ".?", text
            assert ("¿" in text) == (pack.code == "es" and "?" in text), text


def test_questions_in_one_language_are_not_those_of_another() -> None:
    packs = [load_pack(code) for code in COMPLETE]
    for one, other in combinations(packs, 2):
        texts = [
            {text.casefold() for pools in pack.tasks.values() for _, text in pools.each()}
            for pack in (one, other)
        ]
        assert not texts[0] & texts[1], (one.code, other.code)


def answers(pack: Pack) -> set[str]:
    """What an item can be answered with, as we write it."""
    terms = pack.terms
    fixed = {pack.yes_no.yes[0], pack.yes_no.no[0], *(forms[0] for forms in pack.numbers[1:5])}
    groups = (terms.colours, terms.sides, terms.kinds)
    return {word.casefold() for word in fixed.union(*(group.values() for group in groups))}


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("en", "eu", set()),
        ("en", "cy", set()),
        ("en", "es", {"animal", "no"}),
        ("en", "gl", {"animal"}),
        ("es", "eu", set()),
        ("es", "cy", set()),
        ("eu", "gl", set()),
        ("eu", "cy", set()),
        ("cy", "gl", {"un"}),
        (
            "es",
            "gl",
            {"verde", "azul", "gris", "arriba", "animal", "planta", "vehículo"}
            | {"música", "deporte", "tres"},
        ),
    ],
)
def test_answers_of_two_languages_can_be_told_apart(one: str, other: str, shared: set[str]) -> None:
    """By lexicon; what two languages really share is listed here, and is all they share."""
    assert answers(load_pack(one)) & answers(load_pack(other)) == shared


def test_welsh_answers_with_the_verb_of_the_question() -> None:
    welsh = load_pack("cy")
    assert (welsh.yes_no.yes[0], welsh.yes_no.no[0]) == ("ydy", "nac ydy")
    assert {"oes", "ie"} <= set(welsh.yes_no.yes)
    assert {"nac oes", "nage"} <= set(welsh.yes_no.no)
    for _, text in welsh.tasks["exists"].each():
        assert re.match(r"(Ydy|A yw)\b", text), text


@pytest.mark.parametrize("code", ["es", "gl"])
def test_counted_things_are_masculine_as_the_number_words_are(code: str) -> None:
    for _, text in load_pack(code).tasks["count"].each():
        assert not re.search(r"\b(cosas|cousas|cuántas|cantas)\b", text.lower()), text
