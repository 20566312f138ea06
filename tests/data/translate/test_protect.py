"""What no translator may touch comes back as it was, whatever the text; else it is a fault."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ikusi.data.translate.faults import Fault
from ikusi.data.translate.protect import (
    TOKENS,
    Glossary,
    Style,
    changed_spans,
    protect,
    renumber,
    restore,
    without_placeholders,
)

STYLES: tuple[Style, ...] = ("brackets", "words")
PIECES = st.sampled_from(
    [
        *("⟦1⟧", "⟦", "⟧", "⟦⟦2⟧⟧", "XQ1", "XQ", "xq1", "XQ12XQ3", "1", "12", " ", "\n", "a", "Z9"),
        *("$x^2$", "$5", "\\(a\\)", "`code`", "```\nx\n```", "<b>", "</b>", "&amp;", "<image>"),
        *("https://a.b/c?d=1.", "me@a.org", "[1, 2, 3]", "(0.5, 1)", "A)", "(B)", "A. dog", "dog"),
        *(
            "3.5 km",
            "50%",
            "2024-01-02",
            "{name}",
            "%s",
            "<|eot|>",
            "GPT-4",
            "Ana Etxe",
            "txakurra",
        ),
        *("\\begin{a}x\\end{a}", "。", "٣", "３", "\u200f", "_"),
    ]
)
TEXTS = st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=14).map("".join))
GLOSSARY = Glossary({"Ana Etxe": "", "dog": "", "a": ""})


@given(TEXTS, st.sampled_from(STYLES), st.lists(PIECES, max_size=3))
@example("XQ1 5 km", "words", [])
@example("<b>5.5</b>7", "words", [])
@example("A) ⟦1⟧", "brackets", ["⟦1"])
@example("`A) dog ⟦1⟧`", "brackets", ["dog"])
def test_protect_then_restore_is_the_identity(text: str, style: Style, options: list[str]) -> None:
    protected = protect(text, style, glossary=GLOSSARY, options=options)
    assert restore(protected, protected.text) == text


@given(TEXTS, st.sampled_from(STYLES))
def test_placeholders_are_the_only_ones_in_the_text(text: str, style: Style) -> None:
    protected = protect(text, style)
    found = [int(number) for number in TOKENS[style].findall(protected.text)]
    assert found == sorted(protected.spans)


@given(TEXTS, st.sampled_from(STYLES), st.integers(1, 50))
def test_placeholders_can_be_counted_from_any_number(text: str, style: Style, first: int) -> None:
    protected = protect(text, style)
    again = renumber(protected, 0, len(protected.text), first)
    assert sorted(again.spans) == list(range(first, first + len(protected.spans)))
    assert restore(again, again.text) == text


def test_a_stretch_counts_its_own_placeholders() -> None:
    protected = protect("Go 3.5 km. See `x` and `y`.")
    stretch = renumber(protected, protected.text.index("See"), len(protected.text))
    assert stretch.text == "See ⟦1⟧ and ⟦2⟧."
    assert [span.text for span in stretch.spans.values()] == ["`x`", "`y`"]


@pytest.mark.parametrize("style", STYLES)
def test_a_lost_doubled_or_made_up_placeholder_is_a_fault(style: Style) -> None:
    protected = protect("Go to https://a.org and `run it`.", style)
    one, two = (match[0] for match in TOKENS[style].finditer(protected.text))
    for answer, reason in (
        (f"Joan {one} eta.", "placeholder-lost"),
        (f"Joan {one} {one} {two}", "placeholder-doubled"),
        (f"Joan {one} {two} {two.replace('2', '9')}", "placeholder-unknown"),
    ):
        fault = restore(protected, answer)
        assert isinstance(fault, Fault)
        assert fault.reason == reason
    assert restore(protected, f"{two}: {one}.") == "`run it`: https://a.org."
    assert restore(protect("Plain.", style), f"Hau {one} da") == Fault(
        "placeholder-unknown", f"{one} was not in the source"
    )


@pytest.mark.parametrize(
    ("text", "kind", "span"),
    [
        ("It is 3.5 km away", "quantity", "3.5 km"),
        ("It costs $5 and $6 more", "quantity", "$5"),
        ("At 10:30 on 2024-01-02", "quantity", "10:30"),
        ("In all 1,234,567 of them", "quantity", "1,234,567"),
        ("Solve $x^2 + 1$ now", "latex", "$x^2 + 1$"),
        ("Solve \\(a + b\\) now", "latex", "\\(a + b\\)"),
        ("Call `f(x)` twice", "code", "`f(x)`"),
        ("See https://a.b/c_(d).", "url", "https://a.b/c_(d"),
        ("Or www.ikusi.eus, or", "url", "www.ikusi.eus"),
        ("Ask me@ehu.eus.", "email", "me@ehu.eus"),
        ("A <b>bold</b> word", "markup", "<b>"),
        ("this &amp; that", "markup", "&amp;"),
        ("<image>\nWhat?", "markup", "<image>"),
        ("stop <|eot_id|> here", "token", "<|eot_id|>"),
        ("the box [0.1, 0.2, 0.3, 0.4]", "box", "[0.1, 0.2, 0.3, 0.4]"),
        ("the point (12, 40) there", "box", "(12, 40)"),
        ("A) yes or no", "letter", "A)"),
        ("Fill {name} in", "template", "{name}"),
        ("An Airbus A320 lands", "name", "A320"),
        ("I met Ana Etxe there", "glossary", "Ana Etxe"),
    ],
)
def test_what_is_protected(text: str, kind: str, span: str) -> None:
    spans = protect(text, glossary=GLOSSARY).spans.values()
    assert (kind, span) in [(one.kind, one.text) for one in spans]


@pytest.mark.parametrize(
    "text",
    [
        "Two dogs, 3 cats and 12 birds.",
        "He said: I am 5 or 6. In the end, a < b and c > d.",
        "What is in the picture? (Say it in a word.)",
        "It has 50 states, the 1st of which joined in 1787.",
    ],
)
def test_plain_sentences_are_left_alone(text: str) -> None:
    assert protect(text, glossary=Glossary({})).text == text


def test_a_glossary_term_becomes_its_translation_and_stands_as_a_whole_word() -> None:
    glossary = Glossary({"Basque Country": "Euskal Herria", "Ana": ""})
    protected = protect("Ana left the Basque Country; Anabel and Banana stay.", glossary=glossary)
    assert protected.text == "⟦1⟧ left the ⟦2⟧; Anabel and Banana stay."
    assert restore(protected, "⟦2⟧-tik joan da ⟦1⟧.") == "Euskal Herria-tik joan da Ana."


def test_an_option_becomes_its_translation() -> None:
    protected = protect("Which? A) a dog B) a cat. A dog?", options=["a dog", "a cat"])
    assert without_placeholders(protected).split() == ["Which?", ".", "A", "dog?"]
    told = {"a dog": "txakurra", "a cat": "katua"}
    assert restore(protected, protected.text, told) == "Which? A) txakurra B) katua. A dog?"


def test_spans_are_looked_for_where_no_placeholders_were_used() -> None:
    assert changed_spans("Go 3.5 km, see `x`.", "3.5 km egin, ikusi `x`.") is None
    fault = changed_spans("Go 3.5 km.", "3,5 km egin.")
    assert fault is not None
    assert fault.reason == "span-changed"


@pytest.mark.parametrize(
    "bit", ["$", "\\(", "(1,", "1,", "`", "<a ", "XQ1", "a@", "\\begin{a}", "```", "www.a.", "."]
)
def test_no_line_takes_for_ever(bit: str) -> None:
    text = bit * (300_000 // len(bit))
    protected = protect(text, "words")  # quadratic time would not end within the tests' limit
    assert restore(protected, protected.text) == text
