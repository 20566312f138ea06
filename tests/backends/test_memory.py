"""The memory says what was written down, or that it has nothing to say."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends.fakes import ask

from ikusi.backends.base import Answer, BackendError
from ikusi.backends.memory import Memory
from ikusi.backends.settings import MemorySettings
from ikusi.languages.pack import load_pack

ENTRIES = [
    ("dog", "txakurra", ""),
    ("cat", "katua", ""),
    ("sewing needle", "jostorratza", ""),
    ("needle", "orratza", ""),
    ("sewing", "josketa", ""),
    ("-", "-", ""),
    ("orange", "laranja", "colour"),
    ("orange", "laranja bat", ""),
    ("red", "gorria", "colour"),
    ("bank", "bankua", ""),
    ("bank", "ertza", ""),
    ("Yes.", "Bai, hala da.", ""),
    ("yes", "bai", ""),
    ("There is {a} and {b}.", "{b} eta {a} daude.", ""),
    ("{a} and {b}", "{b} eta {a}", ""),
    ("{a}, {b}", "{a}, {b}", ""),
    ("{a} / {b}", "{a} / {b}", ""),
    ("{a} {b}", "{a} {b}", ""),
    ("{names}. Background: {colour}", "{names}. Hondoa: {colour}", ""),
    ("Picture: {cells}. Background: {colour}.", "Irudia: {cells}. Hondoa: {colour}.", ""),
    ("Which? A) {a} B) {b}", "Zein? A) {a} B) {b}", ""),
    ("{a} is {a}", "{a} {a} da", ""),
]
MEMORY = Memory("test", ENTRIES)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("dog", "txakurra"),
        (" dog\n", " txakurra\n"),
        ("", ""),
        ("There is dog and cat.", "katua eta txakurra daude."),
        ("Dog!", "Txakurra!"),
        ("DOG", "TXAKURRA"),
        ("Dog and cat?", "Katua eta txakurra?"),  # the first word of the translation is another
        ("there is dog and cat.", None),
        ("Yes.", "Bai, hala da."),  # the text itself comes before the one without punctuation
        ("Yes!", "Bai!"),
        ("sewing needle", "jostorratza"),  # longest first
        ("sewing needle cat", "jostorratza katua"),
        ("cat sewing dog", "katua josketa txakurra"),
        ("dog, cat, dog, cat", "txakurra, katua, txakurra, katua"),
        ("dog, orange. Background: orange", "txakurra, laranja bat. Hondoa: laranja"),
        ("Which? A) orange B) dog", "Zein? A) laranja bat B) txakurra"),
        ("red", "gorria"),  # of another context, but there is no other
        (
            "Picture: - dog - / sewing needle cat - / - - -. Background: red.",
            "Irudia: - txakurra - / jostorratza katua - / - - -. Hondoa: gorria.",
        ),
        ("dog is dog", "txakurra txakurra da"),
        ("dog is cat", None),
        ("mouse", None),
        ("There is dog and mouse.", None),
    ],
)
def test_translations(source: str, target: str | None) -> None:
    found = MEMORY.translate(source)
    if target is None:
        assert (found.text, found.problem) == ("", "memory-missing")
    else:
        assert (found.text, found.problem) == (target, "")


def test_what_is_missing_is_named() -> None:
    assert MEMORY.translate("There is dog and mouse.").detail == "no entry for 'mouse'"
    assert MEMORY.translate("zebra").detail == "no entry for 'zebra'"


@pytest.mark.parametrize("text", ["bank", "Bank!", "There is dog and bank."])
def test_two_translations_are_none(text: str) -> None:
    found = MEMORY.translate(text)
    assert (found.text, found.problem) == ("", "memory-ambiguous")
    assert found.detail == "'bank' has 2: 'bankua', 'ertza'"


def test_two_templates_that_fit_as_well_are_none() -> None:
    memory = Memory("x", [("a {x}", "1 {x}", ""), ("{x} b", "{x} 2", ""), ("b", "b", ""),
                          ("a", "a", "")])  # fmt: skip
    assert memory.translate("a b").problem == "memory-ambiguous"
    same = Memory("x", [("a {x}", "1 {x}", ""), ("a {y}", "1 {y}", ""), ("b", "b", "")])
    assert same.translate("a b").text == "1 b"


def test_a_request_may_name_its_context() -> None:
    request = ask("orange", extra={"context": "colour"})
    assert asyncio.run(MEMORY.complete(request)) == Answer("orange", "laranja")
    assert asyncio.run(MEMORY.complete(ask("orange"))).text == "laranja bat"
    answer = asyncio.run(MEMORY.complete(ask("mouse")))
    assert (answer.text, answer.finish, answer.problem) == ("", "other", "memory-missing")


def test_digits_of_a_slot_are_no_part_of_its_context() -> None:
    memory = Memory("x", [*ENTRIES[:8], ("{colour1} on {colour2}", "{colour2}, {colour1}", "")])
    assert memory.translate("orange on orange").text == "laranja, laranja"


@given(st.text(max_size=60) | st.text(alphabet="dogcat ,.-/{}", max_size=60))
def test_any_text_is_translated_or_has_a_problem(text: str) -> None:
    found = MEMORY.translate(text)
    assert bool(found.problem) != bool(found.text) or not text.strip()
    assert "\n" not in found.detail


@pytest.mark.parametrize("text", ["cat " * 300, "zz " * 2000, "dog, " * 100 + "dog", "x" * 10**6])
def test_long_texts_end(text: str) -> None:
    assert MEMORY.translate(text).problem == "memory-missing"


def test_the_worlds_sentences_of_every_task() -> None:
    """Names and slotted sentences are enough for a world's question, in whatever it is worded."""
    english, basque = load_pack("en"), load_pack("eu")
    entries = [("dog", "txakurra", ""), ("cat", "katua", ""), ("sun", "eguzkia", "")]
    wordings: list[tuple[str, str]] = []
    for task, pools in english.tasks.items():
        theirs = [text for _, text in basque.tasks[task].each()]
        wordings += zip((text for _, text in pools.each()), theirs, strict=True)
    entries += [(source, target, "") for source, target in wordings]
    entries += [
        (english.terms.languages[code], basque.terms.languages[code], "language")
        for code in english.terms.languages
    ]
    memory = Memory("world", entries)
    for source, target in wordings:
        values = {"name": ("dog", "txakurra"), "a": ("cat", "katua"), "b": ("sun", "eguzkia"),
                  "c": ("dog", "txakurra"), "d": ("cat", "katua"),
                  "language": ("Welsh", "galesez")}  # fmt: skip
        for slot, (one, other) in values.items():
            source = source.replace("{" + slot + "}", one)
            target = target.replace("{" + slot + "}", other)
        assert memory.translate(source).text == target


def write(path: Path, text: str) -> MemorySettings:
    path.write_text(text, encoding="utf-8")
    return MemorySettings(path=path)


def test_a_file(tmp_path: Path) -> None:
    text = "\ufeffsource\ttarget\tcontext\r\ndog\ttxakurra\r\n\r\na\\tb\\nc\\\\\tx\\ty\tz\r\n"
    memory = Memory.open(write(tmp_path / "names.tsv", text))
    assert memory.name == "names.tsv"
    assert memory.translate("dog").text == "txakurra"
    assert memory.translate("a\tb\nc\\").text == "x\ty"


def test_the_revision_is_that_of_the_entries(tmp_path: Path) -> None:
    one = write(tmp_path / "1.tsv", "source\ttarget\na\tb\nc\td\n")
    two = write(tmp_path / "2.tsv", "source\ttarget\tcontext\nc\td\n\na\tb\n")
    three = write(tmp_path / "3.tsv", "source\ttarget\na\tb\nc\tD\n")
    revisions = [Memory.open(settings).revision for settings in (one, two, three)]
    assert revisions[0] == revisions[1] != revisions[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dog\ttxakurra\n", r"the first line must be .* found: 'dog \| txakurra'\."),
        ("", "the first line must be"),
        ("source\ttarget\na\n", "line 2 has 1 columns instead of 2: 'a'"),
        ("source\ttarget\na\tb\tc\n", "line 2 has 3 columns"),
        ("source\ttarget\na\t\n", r"entry 1 \('a'\): a source and a target are needed\."),
        ("source\ttarget\na {x}\tb {y}\n", "must have the same slots"),
        ("source\ttarget\na {x}\tb\n", "must have the same slots"),
        ("source\ttarget\n{x}\t{x}\n", "needs more than a slot"),
        ("source\ttarget\na {x}{y}\tb {x}{y}\n", "something between two slots"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BackendError, match=message) as found:
        Memory.open(write(tmp_path / "m.tsv", text))
    assert "\n" not in str(found.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="No such file"):
        Memory.open(MemorySettings(path=tmp_path / "none.tsv"))
    (tmp_path / "latin.tsv").write_bytes(b"source\ttarget\n\xe9\tx\n")
    with pytest.raises(BackendError, match="is no UTF-8"):
        Memory.open(MemorySettings(path=tmp_path / "latin.tsv"))
