"""Where sentences end; nothing is lost between them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikusi.data.translate.segment import sentences


def cut(text: str, script: str = "Latn", abbreviations: tuple[str, ...] = ()) -> list[str]:
    return [text[start:end] for start, end in sentences(text, script, abbreviations)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("It is 3.5 m high. It is.", ["It is 3.5 m high.", "It is."]),
        ('"Really?" she said. "Yes!" It is.', ['"Really?" she said.', '"Yes!"', "It is."]),
        ("J. R. R. Tolkien wrote it. So.", ["J. R. R. Tolkien wrote it.", "So."]),
        ("Wait... what? no.", ["Wait... what? no."]),
        ("- one thing\n- another\n\n2. Open it.", ["one thing", "another", "Open it."]),
        ("# Title\nText here", ["Title", "Text here"]),
        ("  Spaces around.  ", ["Spaces around."]),
        ("", []),
        (" \n ", []),
    ],
)
def test_latin_script(text: str, found: list[str]) -> None:
    assert cut(text) == found


def test_abbreviations_of_the_pack_end_no_sentence() -> None:
    text = "Ask Dr. Etxe, e.g. Monday. Then go."
    assert cut(text, abbreviations=("Dr.", "e.g.")) == ["Ask Dr. Etxe, e.g. Monday.", "Then go."]
    assert cut("Ask Dr. Etxe.") == ["Ask Dr.", "Etxe."]


@pytest.mark.parametrize(
    ("script", "text", "found"),
    [
        ("Jpan", "今日は。元気？はい", ["今日は。", "元気？", "はい"]),
        ("Deva", "पहला। दूसरा।", ["पहला।", "दूसरा।"]),
        ("Arab", "ما هذا؟ هذا كلب.", ["ما هذا؟", "هذا كلب."]),
        ("Ethi", "ሰላም። ደህና ነህ፧", ["ሰላም።", "ደህና ነህ፧"]),
        ("Thai", "สวัสดี ครับ", ["สวัสดี ครับ"]),
    ],
)
def test_other_scripts_have_other_marks(script: str, text: str, found: list[str]) -> None:
    assert cut(text, script) == found


@given(
    st.one_of(st.text(max_size=60), st.text(alphabet='.!? \n-1aA"”。।', max_size=60)),
    st.sampled_from(["Latn", "Jpan", "Deva", "Arab", "Zyyy"]),
)
def test_only_space_and_list_marks_lie_between(text: str, script: str) -> None:
    end = 0
    for start, stop in [*sentences(text, script), (len(text), len(text))]:
        between = text[end:start].strip()
        assert end <= start <= stop
        assert not any(map(str.isalpha, between)), between
        end = stop
