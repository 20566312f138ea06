"""Rules of sentences: words, marks, scripts, control characters, dealing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikusi.languages import rules


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Zer dago irudian?", ("zer", "dago", "irudian")),
        ("¿Cuál es? A) {a} B) {b} C) {c} D) {d}", ("cuál", "es")),
        ("Ydy'r peth hwn yma: {name}?", ("ydy'r", "peth", "hwn", "yma")),
        ("Jarri hau {language}: {name}.", ("jarri", "hau")),
        ("?! ...", ()),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    assert rules.words(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Non dago hau: {name}?", "Non dago hau?"),
        ("Jarri hau {language}, mesedez: {name}.", "Jarri hau, mesedez."),
        ("Which? A) {a} B) {b} C) {c} D) {d}", "Which?"),
    ],
)
def test_plain_is_natural_text(text: str, expected: str) -> None:
    assert rules.plain(text) == expected


def test_normalise_composes_and_trims() -> None:
    assert rules.normalise("  Co\u0301mo\u00a0 se  ve ") == "Cómo se ve"


@pytest.mark.parametrize("character", ["\x00", "\x07", "\u202e", "\ufeff", "\u00ad", "\ud800"])
def test_normalise_refuses_control_characters(character: str) -> None:
    with pytest.raises(ValueError, match=rf"character 2 of .*U\+{ord(character):04X}; remove it"):
        rules.normalise(f"a{character}b")


def test_normalise_keeps_the_joiners_that_persian_needs() -> None:
    assert rules.normalise("می\u200cبینی") == "می\u200cبینی"


@given(st.text())
def test_normalise_gives_clean_text_or_refuses(text: str) -> None:
    try:
        clean = rules.normalise(text)
    except ValueError:
        return
    assert unicodedata.is_normalized("NFC", clean)
    assert clean == rules.normalise(clean) == " ".join(clean.split())


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        ("where", "Non dago?", r"must hold \{name\} once, not 0 times"),
        ("where", "{name} edo {name}?", r"must hold \{name\} once, not 2 times"),
        ("what", "Zer da {name}?", r"has the mark \{name\}; the marks here are: none"),
        ("where", "Non dago: {izena}?", r"the mark \{izena\}; the marks here are: \{name\}"),
        ("where", "Non dago: {name?", "lone brace"),
        ("where", "Non dago: {{name}}?", "lone brace"),
        ("where", "Non dago {name}a?", "joins letters"),
        ("where", "Non dago {name}-a?", "joins letters"),
        ("where", "Non dago {name}'a?", "joins letters"),
        ("where", "Ble mae'r{name}?", "joins letters"),
        ("choice", "Zein? {a} {b} {c} {d}", r"A\) \{a\} B\)"),
        ("choice", "Zein? B) {b} A) {a} C) {c} D) {d}", r"A\) \{a\} B\)"),
        ("what", "?", "has no words"),
        ("exists", "{name}?", "has no words"),
    ],
)
def test_wrong_wordings(task: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rules.check_wording(task, text, "Latn")


@pytest.mark.parametrize("text", ["Where is: {name}?", 'Where is "{name}"?', "¿Y «{name}»?"])
def test_right_wordings(text: str) -> None:
    rules.check_wording("where", text, "Latn")


def test_scripts_without_spaces_may_join_letters_to_a_name() -> None:
    rules.check_wording("where", "{name}はどこですか", "Jpan")


def test_script_of_another_alphabet() -> None:
    with pytest.raises(ValueError, match="is not written in the script Latn; correct it or `scri"):
        rules.check_script("Что это?", "Latn")


def test_script_with_a_letter_of_another_alphabet_inside_a_word() -> None:
    with pytest.raises(ValueError, match=r"'d\u0430go' mixes letters of Cyrl and Latn"):
        rules.check_script("Zer d\u0430go?", "Latn")


def test_script_allows_a_foreign_word_and_scripts_we_have_no_table_of() -> None:
    rules.check_script("Что значит слово cat?", "Cyrl")
    rules.check_script("これは何ですか", "Jpan")


@pytest.mark.parametrize(
    ("text", "script"),
    [("Zer da?", "Latn"), ("Что это?", "Cyrl"), ("ይህ ምንድን ነው?", "Ethi"), ("123", "Zyyy")],
)
def test_guess_script(text: str, script: str) -> None:
    assert rules.guess_script([text]) == script


@pytest.mark.parametrize("count", [1, 2])
def test_few_sentences_are_all_for_training(count: int) -> None:
    wordings = [f"word{i}" for i in range(count)]
    assert rules.deal(wordings) == {"text": [], "train": wordings, "held_out": []}


def test_a_full_task_is_dealt_as_the_complete_packs_are() -> None:
    dealt = rules.deal([f"what is {i}" for i in range(14)])
    assert [len(dealt[pool]) for pool in rules.POOLS] == [5, 6, 3]


def test_a_sentence_of_known_words_is_held_out_before_others() -> None:
    wordings = ["what is this", "what is here", "is this here", "name it"]
    assert rules.deal(wordings)["held_out"] == ["is this here"]


@given(st.lists(st.text("abcd ", min_size=1, max_size=12), min_size=3, max_size=30, unique=True))
def test_dealing_loses_nothing_and_fills_every_pool(wordings: list[str]) -> None:
    dealt = rules.deal(wordings)
    assert dealt == rules.deal(wordings)
    together = [text for pool in rules.POOLS for text in dealt[pool]]
    assert sorted(together) == sorted(wordings)
    assert all(dealt[pool] for pool in rules.POOLS)
