"""Sheets for teachers: there and back, and what spreadsheet programs do to them."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ikusi.core.errors import ConfigError
from ikusi.languages.pack import Pack, load_pack
from ikusi.languages.sheet import read_sheet, write_sheet

Table = list[list[str]]
HEADER = ["key", "what it is", "English", "translation"]


def table(text: str) -> Table:
    return list(csv.reader(io.StringIO(text)))


def save(
    rows: Table, path: Path, *, delimiter: str = ",", encoding: str = "utf-8", head: str = ""
) -> Path:
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter).writerows(rows)
    path.write_bytes((head + stream.getvalue()).encode(encoding))
    return path


def filled(path: Path, *pairs: tuple[str, str]) -> Path:
    """A sheet with only these (key, translation); the first pair is on row 2."""
    return save([HEADER, *([key, "", "", text] for key, text in pairs)], path)


ONE = (("code", "qu"), ("tasks.what", "Kayqa imataq?"))


def fails(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        read_sheet(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message.removeprefix(str(path)).lstrip(",: ")


@pytest.mark.parametrize("code", ["cy", "en", "es", "eu", "gl"])
def test_a_complete_pack_comes_back_from_its_sheet(tmp_path: Path, code: str) -> None:
    pack = load_pack(code)
    path = tmp_path / "sheet.csv"
    path.write_text(write_sheet(pack, load_pack("en")), encoding="utf-8", newline="")
    assert read_sheet(path) == pack


def test_the_sheet_of_a_new_language() -> None:
    rows = table(write_sheet("qu", load_pack("en")))
    assert rows[0] == HEADER
    assert rows[1][0::3] == ["code", "qu"]
    assert all(len(row) == 4 and row[1] for row in rows)
    assert all(row[3] == "" for row in rows[2:])
    what = [row for row in rows if row[0] == "tasks.what"]
    assert what[1][2] == "What is this?"
    assert len(what) == 17  # English has 14; three are for sentences of one's own
    assert [row[2] for row in what[-3:]] == ["", "", ""]
    assert rows.index(what[0]) == 4, "the one sentence that is needed stands near the top"
    keys = {row[0] for row in rows}
    assert {"terms.sides.left", "numbers.10", "yes_no.no", "terms.languages.qu"} <= keys
    assert not any(key.startswith("variants.") for key in keys)


def test_another_language_to_translate_from() -> None:
    rows = table(write_sheet("qu", load_pack("es")))
    assert rows[0][2] == "Spanish"
    assert "¿Qué es esto?" in {row[2] for row in rows}


def test_one_sentence_is_enough(tmp_path: Path) -> None:
    rows = table(write_sheet("qu", load_pack("en")))
    next(row for row in rows if row[2] == "What is this?")[3] = "Kayqa imataq?"
    pack = read_sheet(save(rows, tmp_path / "qu.csv"))
    assert (pack.code, pack.names.own) == ("qu", "qu")
    assert pack.tasks_ready() == ("what",)
    assert pack.wordings("what", "train") == ("Kayqa imataq?",)


def test_three_sentences_are_dealt_to_pools(tmp_path: Path) -> None:
    rows = table(write_sheet("qu", load_pack("en")))
    for row, text in zip(
        [row for row in rows if row[0] == "tasks.what"],
        ["Kayqa imataq?", "Imataq kayqa?", "Kayqa imataq kan?"],
        strict=False,
    ):
        row[3] = text
    pack = read_sheet(save(rows, tmp_path / "qu.csv"))
    assert pack.wordings("what", "held_out") == ("Imataq kayqa?",)


def test_a_small_pack_can_grow_by_its_sheet(tmp_path: Path) -> None:
    small = read_sheet(filled(tmp_path / "qu.csv", *ONE))
    rows = table(write_sheet(small, load_pack("en")))
    empty = [row for row in rows if row[0] == "tasks.what" and not row[3]]
    empty[0][3], empty[1][3] = "Imataq kayqa?", "Kayqa imataq kan?"
    grown = read_sheet(save(rows, tmp_path / "qu.csv"))
    assert len(grown.wordings("what", "held_out")) == 1


def test_sentences_added_to_a_dealt_task_are_trained_on(tmp_path: Path) -> None:
    rows = table(write_sheet(load_pack("eu"), load_pack("en")))
    row = next(row for row in rows if row[0] == "tasks.what" and not row[3])
    row[3] = "Zer ote da hau?"
    pack = read_sheet(save(rows, tmp_path / "eu.csv"))
    assert pack.wordings("what", "held_out") == load_pack("eu").wordings("what", "held_out")
    assert pack.wordings("what", "train")[-1] == "Zer ote da hau?"


def test_words_and_forms(tmp_path: Path) -> None:
    pack = read_sheet(
        filled(
            tmp_path / "qu.csv",
            *ONE,
            ("yes_no.yes", "arí / riki"),
            ("numbers.0", "chusaq"),
            ("numbers.2", "iskay/ishkay"),
            ("terms.sides.left", "lluqi"),
            ("terms.languages.es", "kastilla simipi"),
            ("variants.qu-PE.x", "Ayacucho"),
        )
    )
    assert pack.yes_no.yes == ("arí", "riki")
    assert pack.numbers == (("chusaq",), (), ("iskay", "ishkay"))
    assert pack.terms.sides == {"left": "lluqi"}
    assert pack.terms.languages == {"es": "kastilla simipi"}
    assert pack.variants == {"qu-PE.x": "Ayacucho"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("head", ["", "sep=\r\n"])
def test_what_spreadsheet_programs_write(
    tmp_path: Path, delimiter: str, encoding: str, head: str
) -> None:
    head = head.replace("=", f"={delimiter}")
    rows = [
        [" Key ", "what it is", "English", "TRANSLATION", ""],
        ["code", "", "", "qu", ""],
        [],
        ["", "", "", "", ""],
        ["tasks.what", "x; y, z", "", " Ima\u0301taq\u00a0kay,\nkayqa; ima? "],
        ["names.own"],
    ]
    path = save(rows, tmp_path / "qu.csv", delimiter=delimiter, encoding=encoding, head=head)
    assert read_sheet(path).wordings("what", "train") == ("Imátaq kay, kayqa; ima?",)


def test_rows_may_be_moved_and_columns_too(tmp_path: Path) -> None:
    rows = [
        ["translation", "key"],
        ["Kayqa imataq?", "tasks.what"],
        ["Runasimi", "names.own"],
        ["qu", "code"],
    ]
    assert read_sheet(save(rows, tmp_path / "qu.csv")).names.own == "Runasimi"


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([("tasks.what", "A?")], "no language. Fill in the row `code`, such as qu."),
        ([("code", "qu")], "no sentence. Fill in one row `tasks.what`; that is enough."),
        ([*ONE, ("tasks.wher", "x")], "row 4: unknown task 'wher'. Did you mean 'where'?"),
        ([*ONE, ("tasks.where.tren", "x")], "row 4: unknown pool 'tren'. Did you mean 'train'?"),
        ([*ONE, ("tasks.where", "Maypi?")], "row 4 (tasks.where): tasks: where.train: 'Maypi?' mu"),
        ([*ONE, ("tasks.what", "kayqa imataq?")], "row 4 (tasks.what): tasks: 'kayqa imataq?' sta"),
        ([*ONE, ("term.sides.left", "x")], "row 4: unknown key 'term.sides.left'. Did you mean "),
        ([*ONE, ("", "x")], "row 4: 'x' has no key. Copy the key of a row like it."),
        ([*ONE, ("code", "ay")], "row 4: 'code' is filled in twice. Keep one of the two rows."),
        ([*ONE, ("numbers.1", "a"), ("numbers.1", "b")], "row 5: 'numbers.1' is filled in twice"),
        ([*ONE, ("numbers.1", "a"), ("numbers.2", "a")], "row 5 (numbers.2): numbers: 'a' stands "),
        ([*ONE, ("yes_no.no", "x"), ("yes_no.yes", "x")], "row 5 (yes_no.yes): yes_no: 'x' stands"),
        ([*ONE, ("script", "latin")], "row 4 (script): script: a script is four letters"),
        ([*ONE, ("script", "Cyrl")], "row 3 (tasks.what): tasks: what.train: 'Kayqa imataq?' is n"),
        ([*ONE, ("scene", "x")], "row 4 (scene): scene: 'x' must hold {cells} once, not 0 times"),
        ([*ONE, ("names.own", "a\u202eb")], "row 4: character 2 of 'a\\u202eb' is the control cha"),
        ([("code", "Runa simi"), ONE[1]], "row 2 (code): code: a language code is written like"),
        ([("code", "../../x"), ONE[1]], "row 2 (code): code: a language code is written like"),
        (
            [("code", "qu"), ("tasks.what", "?")],
            "row 3 (tasks.what): tasks: what.train: '?' has no",
        ),
    ],
)
def test_errors_name_the_row(tmp_path: Path, pairs: list[tuple[str, str]], message: str) -> None:
    assert fails(filled(tmp_path / "qu.csv", *pairs)).startswith(message)


def test_the_row_is_counted_as_a_spreadsheet_does(tmp_path: Path) -> None:
    """Line breaks inside a cell and empty rows; Excel's sep= line is not shown."""
    rows = [
        HEADER,
        ["code", "", "", "qu"],
        [],
        ["tasks.what", "", "a\nb", "Ima?"],
        ["x", "", "", "y"],
    ]
    assert fails(save(rows, tmp_path / "a.csv")).startswith("row 5: unknown key 'x'")
    path = save(rows, tmp_path / "a.csv", delimiter=";", head="sep=;\r\n")
    assert fails(path).startswith("row 5: unknown key 'x'")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "row 1: no columns `key` and `translation`. Start from the sheet"),
        (b"a,b\nc,d\n", "row 1: no columns `key` and `translation`. Start from the sheet"),
        (b"key,translation\ncode,qu\ntasks.what,a\xf1o\n", "row 3: is not UTF-8 text. Save the"),
        (b"PK\x03\x04rest of a workbook", "is a workbook. Save it as 'CSV UTF-8' and import"),
        (b'key,translation\ncode,qu\ntasks.what,"a', "row 3: cannot be read (unexpected end of"),
    ],
)
def test_files_that_are_no_sheet(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "qu.csv"
    path.write_bytes(data)
    assert fails(path).startswith(message)


def test_a_missing_file(tmp_path: Path) -> None:
    assert fails(tmp_path / "qu.csv") == "cannot be read (No such file or directory)."


cells = st.text(max_size=20) | st.sampled_from(
    ["code", "qu", "tasks.what", "tasks.where", "Ima?", "numbers.1", "{name}", "script", "a/b", "/"]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(cells, cells), max_size=6), st.booleans())
def test_wild_sheets_are_packs_or_config_errors(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], is_begun: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "wild.csv"
    rows = [HEADER, *([key, "", "", text] for key, text in (*ONE, *pairs)[0 if is_begun else 2 :])]
    try:
        save(rows, path)
    except UnicodeEncodeError:  # a lone surrogate cannot be in a file
        return
    try:
        assert isinstance(read_sheet(path), Pack)
    except ConfigError as error:
        assert "\n" not in str(error)


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_wild_bytes_are_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "wild.csv"
    path.write_bytes(b"key,translation\ncode,qu\n" + data)
    with pytest.raises(ConfigError):
        read_sheet(path)
