"""Readers: what is wrong with a row costs that row; a damaged file is an error of one line."""

from __future__ import annotations

import gzip
import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.data.sources.samples import jsonl, parquet, png, tar

from ikusi.__main__ import run
from ikusi.core.errors import DataError
from ikusi.core.store import Store
from ikusi.data.sources import text_files
from ikusi.data.sources.local import find_files, looks_headerless, open_file
from ikusi.data.sources.source import Row


def rows(path: Path, **options: Any) -> list[Row]:
    return list(open_file(path, **options).rows())


def seen(path: Path, **options: Any) -> list[Any]:
    """Return the values of good rows and the reasons of bad ones."""
    return [r.fault.reason if r.fault else r.values for r in rows(path, **options)]


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    long = json.dumps({"a": "x" * (1 << 20)}).encode()
    lines = [b'{"a": 1}\r', b"", b"{broken", b"[1]", b'{"a": "\xff"}', b'{"a": NaN}', long]
    lines += [b'{"a": "' + b"[" * 100 + b'"}', b"[" * 100_000, '{"a": "\u202e"}'.encode()]
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join(lines))
    found = seen(path)
    assert found[:5] == [
        {"a": 1},
        "json-broken",
        "json-no-object",
        "encoding-broken",
        {"a": None},
    ]
    assert found[5] == {"a": "x" * (1 << 20)}
    assert found[6:] == [{"a": "[" * 100}, "json-broken", {"a": "\u202e"}]
    assert [row.place for row in rows(path)][:3] == ["line 1", "line 3", "line 4"]
    assert [row.number for row in rows(path)] == list(range(9))


@pytest.mark.parametrize("depth", [3, 99, 101, 500, 900, 960, 990, 5000])
def test_deep_nesting_costs_its_row(depth: int, tmp_path: Path) -> None:
    deep = '{"text": "a", "x": ' + "[" * depth + "]" * depth + "}"
    (tmp_path / "a.jsonl").write_text(f'{deep}\n{{"text": "b"}}\n')
    code, line = run(
        [
            *("import", str(tmp_path / "a.jsonl"), "--language", "eu"),
            *("--store", str(tmp_path / "store"), "--runs", str(tmp_path / "runs")),
        ]
    )
    assert (code, line) == (0, "")
    (made,) = Store(tmp_path / "store").ls()
    assert made.stats["kept"] + sum(made.stats["dropped"].values()) == 2
    assert made.stats["kept"] == (2 if depth < 100 else 1)
    path = tmp_path / "a.json"
    path.write_text(f'[{deep}, {{"text": "b"}}]')
    if depth < 900:
        assert seen(path)[1] == {"text": "b"}


def test_a_line_that_is_too_long_costs_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text_files, "MAX_LINE_BYTES", 30)
    path = tmp_path / "a.jsonl"
    path.write_text(f'{{"a": 1}}\n{{"a": "{"x" * 500}"}}\n{{"a": 2}}\n')
    assert seen(path) == [{"a": 1}, "line-too-long", {"a": 2}]
    path = tmp_path / "a.tsv"
    path.write_text(f"a\tb\n1\t{'x' * 500}\n2\t3\n")
    assert seen(path, quoted=False) == ["line-too-long", {"a": "2", "b": "3"}]


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3), max_size=6))
def test_a_json_array_reads_as_it_was_written(items: list[dict[str, str]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.json"
        for indent in (None, 1):
            path.write_text(json.dumps(items, indent=indent), "utf-8")
            assert seen(path) == items


def test_json_arrays_in_small_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = [{"a": "x" * n, "b": [n, {"c": "]"}]} for n in range(60)]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(items, indent=2))
    monkeypatch.setattr(text_files, "_CHUNK", 7)
    assert seen(path) == items
    lines = path.read_text().splitlines()
    for number, row in enumerate(rows(path), 1):
        item, line = re.fullmatch(r"item (\d+) \(line (\d+)\)", row.place).groups()  # type: ignore[union-attr]
        assert int(item) == number
        assert lines[int(line) - 1].strip() == "{"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[{"a": 1}, {"a": 2', "cut off"),
        ('[{"a": 1}', "cut off"),
        ("[", "cut off"),
        ('[{"a": 1} {"a": 2}]', "comma"),
        ('[{"a": 1},\n{"a": bad and much more of it}]', "line 2"),
    ],
)
def test_a_broken_json_array_is_an_error(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        rows(path)


def test_json_lines_may_be_called_json(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.json", [{"a": 1}, {"a": 2}])
    assert seen(path) == [{"a": 1}, {"a": 2}]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(
        b'\xef\xbb\xbfimage,caption\r\na.jpg,"two\nlines, ""quoted"""\r\n\r\nb.jpg\r\n'
        b"c.jpg,\xff\r\nd.jpg,nul \0\r\ne.jpg,\xe2\x80\xaeltr\r\n"
    )
    assert open_file(path).columns() == {"image": "text", "caption": "text"}
    found = rows(path)
    assert [r.fault.reason if r.fault else r.values["caption"] for r in found] == [
        'two\nlines, "quoted"',
        "cells-count",
        "encoding-broken",
        "nul \0",
        "\u202eltr",
    ]
    assert [row.place for row in found] == ["line 2", "line 5", "line 6", "line 7", "line 8"]


def test_a_tsv_without_header_or_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('a "b\thttps://x.org/1\nc" d\thttps://x.org/2\n')
    assert looks_headerless(path)
    found = seen(path, header=("caption", "url"), quoted=False)
    assert [row["caption"] for row in found] == ['a "b', 'c" d']


def test_headers_must_be_names(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,a\n1,2\n")
    with pytest.raises(DataError, match="two columns of one name"):
        rows(path)


def test_other_text_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"bat\r\n\r\nbi\xff\nhiru")
    assert seen(path) == [{"text": "bat"}, "encoding-broken", {"text": "hiru"}]
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"a": 1}\n{"a": 2}\n'))
    assert seen(packed) == [{"a": 1}, {"a": 2}]
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(DataError, match="cut off"):
        rows(packed)
    wide = tmp_path / "b.jsonl"
    wide.write_text('{"a": 1}', "utf-16")
    with pytest.raises(DataError, match="UTF-16"):
        rows(wide)


def test_parquet_and_arrow(tmp_path: Path) -> None:
    wanted = [{"a": n, "b": f"x{n}"} for n in range(300)]
    path = parquet(tmp_path / "a.parquet", wanted)
    assert seen(path) == wanted
    assert [r.values for r in open_file(path).rows(["b"])][:1] == [{"b": "x0"}]
    table = pa.Table.from_pylist(wanted)
    for name, opener in (("f", pa.ipc.new_file), ("s", pa.ipc.new_stream)):
        arrow = tmp_path / f"{name}.arrow"
        with opener(str(arrow), table.schema) as writer:
            writer.write_table(table, max_chunksize=70)
        assert seen(arrow) == wanted
        assert open_file(arrow).columns() == {"a": "int", "b": "text"}
    half = tmp_path / "half.parquet"
    half.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"half\.parquet: is cut off or damaged") as raised:
        open_file(half).columns()
    assert "\n" not in str(raised.value)


def test_a_text_that_is_no_utf8_costs_its_row(tmp_path: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(),
        2,
        [None, pa.array([0, 2, 4], pa.int32()).buffers()[1], pa.py_buffer(b"ok\xff\xfe")],
    )
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": bad}), path)
    assert [row.values["text"] for row in rows(path)] == ["ok", "\udcff\udcfe"]


def test_webdatasets(tmp_path: Path) -> None:
    members = {
        "x/0.jpg": png(),
        "x/0.txt": b"bat",
        "x/0.json": b"{broken",
        "x/1.jpg": png("blue"),
        "x/1.txt": b"\xff",
        "x/2.JPG": png(),
        "x/2.txt": b"hiru",
        "x/2.json": b'{"url": "u"}',
        "x/._2.txt": b"litter",
    }
    path = tar(tmp_path / "a.tar", members)
    assert seen(path)[:2] == ["json-broken", "encoding-broken"]
    assert rows(path)[2].values == {
        "__key__": "2",
        "jpg": png(),
        "txt": "hiru",
        "json": {"url": "u"},
    }
    whole = path.read_bytes()
    for cut in (1024, 1600, 5000):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match="cut off or damaged"):
            rows(path)


def test_which_files_are_meant(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        find_files(tmp_path / "x")
    with pytest.raises(DataError, match="--captions"):
        find_files(tmp_path)
    (tmp_path / "README.txt").write_text("notes")
    b, a = jsonl(tmp_path / "b.jsonl", []), jsonl(tmp_path / "a.jsonl", [])
    assert find_files(tmp_path) == [a, b]
    (tmp_path / "c.csv").write_text("a")
    with pytest.raises(DataError, match="several kinds"):
        find_files(tmp_path)
    (tmp_path / "x.docx").write_text("a")
    with pytest.raises(DataError, match="no known kind"):
        find_files(tmp_path / "x.docx")


@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_memory_does_not_grow_with_the_file(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    filler = "x" * 1000
    with open(path, "w", encoding="utf-8") as stream:
        stream.write({"jsonl": "", "json": "[", "csv": "a\n"}[kind])
        for n in range(12_000):
            line = {"jsonl": f'{{"a": "{filler}"}}', "csv": filler}
            comma = "," if n and kind == "json" else ""
            stream.write(comma + line.get(kind, line["jsonl"]) + "\n")
        stream.write("]" if kind == "json" else "")
    tracemalloc.start()
    assert sum(1 for _ in open_file(path).rows()) == 12_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20  # of 12 MB


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("image;caption\na.jpg;Bat, bi\n", {"image": "a.jpg", "caption": "Bat, bi"}),
        ("image,caption\na.jpg,Bat; bi; hiru\n", {"image": "a.jpg", "caption": "Bat; bi; hiru"}),
        ("image\tcaption\na.jpg\tBat, bi\n", {"image": "a.jpg", "caption": "Bat, bi"}),
        ('\n"a;b","c"\n1,2\n', {"a;b": "1", "c": "2"}),
        ('"a,""b";c\n1;2\n', {'a,"b': "1", "c": "2"}),
        ("caption\nBat\n", {"caption": "Bat"}),
    ],
)
def test_a_csv_is_separated_as_its_first_line_is(
    text: str, row: dict[str, str], tmp_path: Path
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\ufeff" + text)
    assert seen(path) == [row]


def test_what_is_no_object_is_named_in_plain_words(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[5, null, "a", [1], true]')
    told = [row.fault.detail.partition(" instead")[0] for row in rows(path) if row.fault]
    assert told == ["a number", "nothing", "a text", "a list", "true or false"]
