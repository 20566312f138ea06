"""The filters that look at one record: what they drop, and what they leave alone."""

from __future__ import annotations

from typing import Any

import pytest

from ikusi.core.errors import ConfigError
from ikusi.core.types import Image, ImageRef, Record, Turn, assistant, user
from ikusi.data.filters.checks import Checks, Identifier
from ikusi.data.filters.settings import FilterSettings
from ikusi.data.filters.texts import Texts
from ikusi.languages.identify import identify
from ikusi.languages.pack import load_pack


def problem(record: Record, **settings: Any) -> tuple[str, str] | None:
    words = {"en": load_pack("en").unwanted, "eu": ("lizun*",)}
    checks = Checks(
        FilterSettings.parse(settings, "test"),
        {"en": Identifier("en", 1), "eu": Identifier("eu", 20), "gl": Identifier("gl", None)},
        ("en",),
        words,
        identify,
    )
    return look(checks, record)


def look(checks: Checks, record: Record) -> tuple[str, str] | None:
    texts = Texts([turn.text for turn in record.turns])
    return checks.problem(record, texts.counts.tolist(), texts.repeats(3).tolist())


def said(text: str, language: str = "en", **changes: Any) -> Record:
    turns = changes.pop("turns", (user(Image(0), "What is this?"), assistant(text)))
    images = (ImageRef(url="u"),)
    return Record("r", "g", turns, language, "t", "s", images=images, **changes)


CODE = "Use this:\n```html\n<div><p>a</p></div>\n```\nand `<br>` for a new line in the text."
SOUND = [
    said("A dog on a beach."),
    said("yes"),
    said("3 < 5 & 7 > 2, so x <y> holds", "zu"),
    said(CODE),
    said("“CAFÉ” – SÃO PAULO, TÂN, Ângela; l’été à 25 °C, £3, ñandú", "zu"),
    said("| a | b |\n|" + "-" * 200 + "|\n" + "=" * 300 + "\n" + "." * 100 + " row"),
    said("ha " * 9),
    said("No. 1: yes\nNo. 2: yes\n", "zu"),
    said("Essex and the cockporno", "zu"),
    said("text", turns=(user(Image(0)), assistant("A dog."))),  # a picture is a question, too
    said("Etxe zuri handi bat dago mendi berdearen gainean, zuhaitzen artean.", "eu"),
    said("Etxe zuri handi bat dago mendi berdearen gainean, zuhaitzen artean.", "qu"),
    said("El viejo puente de madera cruza un río estrecho.", "eu"),  # too short to be sure
    said("A ponte vella de madeira cruza un río estreito entre dúas aldeas da montaña.", "gl"),
    said(f"Ikusi hau: {'https://example.org/a-house-on-the-hill-with-a-dog-or-two'}", "eu"),
]


@pytest.mark.parametrize("record", SOUND, ids=lambda record: record.turns[1].text[:20])
def test_sound_texts_stay(record: Record) -> None:
    assert problem(record) is None


SPANISH = "Todos los días el pastor lleva sus ovejas a los prados."
LOOP = "the cat sat on the mat and then " * 12
DROPPED = [
    ("empty-turn", said("  ")),
    ("empty-turn", said("", turns=(user(" "), assistant("yes")))),
    ("too-short", said("", turns=(user("?"), assistant("!")))),
    ("too-short", said("", turns=(user("? ?"), assistant("!!!")))),  # no token
    ("too-long", said("word " * 9_000)),
    ("repetition", said(LOOP)),
    ("repetition", said("これは犬です。" * 20)),
    ("repetition", said("a" * 60)),
    ("repetition", said("wow " + "!" * 60)),
    ("html", said("<b>A dog</b> on a beach &amp; a cat")),
    ("html", said("A dog&#39;s life")),
    ("mojibake", said("The cafÃ© is open")),
    ("mojibake", said("itâ€™s a dog")),
    ("mojibake", said("a \ufffd dog")),
    ("unwanted-word", said("Free PORN here")),
    ("unwanted-word", said("pornographic pictures of them")),
    ("unwanted-word", said("testu lizunak", "eu")),
    ("unwanted-word", said("which?", choices=("a", "viagra"))),
    ("wrong-language", said("El viejo puente de madera cruza un río estrecho entre dos pueblos.")),
    ("wrong-language", said("The old wooden bridge crosses a narrow river.", "eu")),
    ("wrong-language", said("The old wooden bridge crosses a narrow river.", "gl")),
    (
        "wrong-language",
        said("El viejo puente de madera cruza un río estrecho. " * 2 + SPANISH, "eu"),
    ),
]


@pytest.mark.parametrize(
    ("reason", "record"), DROPPED, ids=[f"{n}-{case[0]}" for n, case in enumerate(DROPPED)]
)
def test_what_is_dropped_and_why(reason: str, record: Record) -> None:
    found = problem(record)
    assert found is not None
    assert found[0] == reason
    assert found[1]
    assert "\n" not in found[1]


@pytest.mark.parametrize(
    ("index", "settings"),
    [
        (2, {"length": {"min_characters": 0, "min_tokens": 0}}),
        (4, {"length": {"max_characters": 99_999, "max_tokens": 9_999}, "repetition": "off"}),
        (5, {"repetition": {"max_share": 1}}),
        (7, {"repetition": {"max_run": 60}}),
        (9, {"markup": {"max_html_share": 1}}),
        (11, {"markup": {"mojibake": False}}),
        (18, {"language": {"min_confidence": 1}}),
    ],
)
def test_each_can_be_relaxed(index: int, settings: dict[str, Any]) -> None:
    if settings.get("repetition") == "off":
        settings["repetition"] = {"max_share": 1, "max_run": 99_999}
    assert problem(DROPPED[index][1], **settings) is None


def test_ratings_of_any_exchange_count_and_missing_ones_do_not() -> None:
    rated = said("A dog.", ratings={"relevance": (4, 2), "formatting": (5, None)})
    assert problem(rated) is None
    assert problem(rated, ratings={"relevance": 2, "formatting": 5}) is None
    found = problem(rated, ratings={"relevance": 3})
    assert found == ("low-rating", "relevance 2 of exchange 2; at least 3 is wanted")
    assert problem(said("A dog."), ratings={"relevance": 5}) is None
    with pytest.raises(ConfigError, match="ratings"):
        FilterSettings.parse({"ratings": {"beauty": 3}}, "test")


def test_system_prompts_may_be_in_another_language() -> None:
    system = Turn("system", user("You are a helpful assistant that answers in Basque.").parts)
    record = said("", "eu", turns=(system, user("Zer da hau, mesedez?"), assistant("Zubi bat da.")))
    assert problem(record) is None


def test_the_packs_lists_are_words_of_their_own() -> None:
    for code in ("en", "es", "eu", "gl", "cy"):
        pack = load_pack(code)
        assert pack.unwanted
        texts = [text for pools in pack.tasks.values() for _, text in pools.each()]
        checks = Checks(FilterSettings(), {}, (), {code: pack.unwanted}, identify)
        for text in texts:
            assert look(checks, said(text, code)) is None
