"""Licences: what holds together, and what may not go out as something wider."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikusi.core.errors import DataError
from ikusi.data.licences import (
    LICENCES,
    RowsUnder,
    join_licences,
    judge_licence,
    licence,
    parse_licence,
)


def rows(expression: str, count: int = 1, *, derived: bool = False) -> RowsUnder:
    return RowsUnder(expression, "cc3m", "nllb@1", derived, count, f"id-{expression}")


def ids(expression: str) -> list[list[str]]:
    return [[term.id for term in terms] for terms in parse_licence(expression)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("CC-BY-4.0", [["CC-BY-4.0"]]),
        ("cc-by-4.0", [["CC-BY-4.0"]]),
        ("odc-by", [["ODC-By-1.0"]]),
        ("llama3.1", [["LicenseRef-Llama-3.1"]]),
        ("MIT and Apache-2.0 AND MIT", [["Apache-2.0", "MIT"]]),
        ("MIT AND (CC0-1.0 OR ODbL-1.0)", [["CC0-1.0", "MIT"], ["MIT", "ODbL-1.0"]]),
        ("MIT OR MIT", [["MIT"]]),
        ("", [["unknown"]]),
        ("other", [["unknown"]]),
        ("see the site", [["see the site"]]),
        ("MIT AND", [["MIT AND"]]),
        ("(MIT", [["(MIT"]]),
        ("MIT Apache-2.0", [["MIT Apache-2.0"]]),
    ],
)
def test_expressions(expression: str, expected: list[list[str]]) -> None:
    assert ids(expression) == expected


def test_what_is_no_expression_is_not_known() -> None:
    for text in ("see the site", "MIT AND", "(MIT", " AND ".join(["(MIT OR CC0-1.0)"] * 40)):
        assert not parse_licence(text)[0][0].known


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    assert parse_licence(text)
    joined = join_licences(text, "CC-BY-NC-4.0")
    everything_known = all(term.known for terms in parse_licence(text) for term in terms)
    for terms in parse_licence(joined):
        # Joining never frees a row of anything: it stays non-commercial, or is not known at all.
        assert any(t.non_commercial for t in terms) or not everything_known


@given(st.lists(st.sampled_from(sorted(LICENCES)), min_size=1, max_size=5))
def test_joining_keeps_every_term_in_any_order(names: list[str]) -> None:
    joined = join_licences(*names)
    assert ids(joined) == [sorted(set(names), key=str.lower)]
    assert join_licences(*reversed(names)) == joined
    assert join_licences(joined, joined) == joined


@pytest.mark.parametrize(
    ("have", "joint"),
    [
        (["CC0-1.0", "CC-BY-4.0"], "CC-BY-4.0"),
        (["CC-BY-4.0", "CC-BY-NC-4.0"], "CC-BY-NC-4.0"),
        (["CC-BY-4.0 AND CC-BY-NC-4.0"], "CC-BY-NC-4.0"),
        (["CC-BY-SA-4.0", "CC-BY-NC-4.0"], "CC-BY-NC-4.0 AND CC-BY-SA-4.0"),
        (["CC-BY-SA-3.0", "CC-BY-SA-4.0"], "CC-BY-SA-4.0"),
        (["ODC-By-1.0", "MIT"], "MIT AND ODC-By-1.0"),
        (["MIT OR CC-BY-NC-4.0"], "MIT"),
        (["CC-BY-4.0", "llama3.1"], "CC-BY-4.0 AND LicenseRef-Llama-3.1"),
        (["CC-BY-4.0", ""], "unknown"),
        ([], "unknown"),
    ],
)
def test_joint_licence(have: list[str], joint: str) -> None:
    verdict = judge_licence([rows(text) for text in have], None)
    assert verdict.licence == joint
    assert verdict.refusals == ()
    if joint != "unknown":  # what the rows allow together is never refused
        assert judge_licence([rows(text) for text in have], joint).refusals == ()


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        ("CC-BY-NC-4.0", "CC-BY-4.0"),
        ("CC-BY-4.0 AND CC-BY-NC-4.0", "CC-BY-4.0"),
        ("CC-BY-SA-4.0", "CC-BY-4.0"),
        ("CC-BY-SA-4.0", "CC-BY-SA-3.0"),
        ("CC-BY-SA-4.0", "CC-BY-NC-SA-4.0"),
        ("CC-BY-4.0", "CC0-1.0"),
        ("CC-BY-ND-4.0", "CC-BY-4.0"),
        ("CC-BY-NC-4.0", "MIT OR CC-BY-NC-4.0"),
        ("ODbL-1.0", "ODC-By-1.0"),
        ("llama3.1", "CC-BY-4.0"),
        ("GPL-3.0-or-later", "Apache-2.0"),
        ("", "CC-BY-4.0"),
        ("see the site", "CC-BY-NC-4.0"),
    ],
)
def test_a_wider_licence_is_refused_with_the_rows_and_the_reason(have: str, wanted: str) -> None:
    verdict = judge_licence([rows("CC0-1.0", 7), rows(have, 3)], wanted)
    (line,) = verdict.refusals
    assert line.startswith("3 of 10 rows (cc3m, nllb@1, such as id-")
    assert "\n" not in line


@pytest.mark.parametrize(
    ("have", "wanted"),
    [
        ("CC-BY-4.0", "CC-BY-NC-4.0"),
        ("CC-BY-4.0", "CC-BY-SA-4.0"),
        ("CC-BY-SA-3.0", "CC-BY-SA-4.0"),
        ("CC-BY-SA-4.0", "CC-BY-SA-4.0 AND CC-BY-NC-4.0"),
        ("CC0-1.0", "MIT"),
        ("ODC-By-1.0", "odc-by"),
        ("llama3.1 AND CC-BY-4.0", "CC-BY-4.0 AND llama3.1"),
        ("CC-BY-NC-4.0 OR MIT", "Apache-2.0"),
        ("CC-BY-NC-4.0", "unknown"),
    ],
)
def test_a_narrower_or_equal_licence_is_not(have: str, wanted: str) -> None:
    assert judge_licence([rows(have, 3)], wanted).refusals == ()


def test_a_translation_of_what_forbids_derivatives_is_never_published() -> None:
    for wanted in (None, "CC-BY-ND-4.0", "unknown"):
        assert judge_licence([rows("CC-BY-ND-4.0")], wanted).refusals == ()
        (line,) = judge_licence([rows("CC-BY-ND-4.0", derived=True)], wanted).refusals
        assert "no derivatives" in line
    free = rows("CC-BY-ND-4.0 OR CC-BY-4.0", derived=True)
    assert judge_licence([free], "CC-BY-4.0").refusals == ()


def test_an_unknown_wanted_licence_gets_a_suggestion() -> None:
    with pytest.raises(DataError, match=r"'CC-BY-5\.0' is not known\. Did you mean 'CC-BY-.*'\?"):
        judge_licence([rows("MIT")], "CC-BY-5.0")


def test_the_table_is_consistent() -> None:
    hubs = [entry.hub for entry in LICENCES.values() if entry.hub]
    assert len(hubs) == len(set(hubs))
    for name, entry in LICENCES.items():
        assert licence(name.lower()) is entry
        assert entry.covers(entry)
        assert entry.url.startswith("https://")
        assert "NC" not in name or entry.non_commercial
