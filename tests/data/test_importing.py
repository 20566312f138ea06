"""`ikusi import`: one's own files, what is dropped and why, and that a kill loses nothing."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.sources import samples
from tests.data.sources.samples import URLS, jsonl, png

from ikusi.__main__ import run
from ikusi.core.artifact import Artifact
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.core.types import Image, ImageRef, Record, assistant, user
from ikusi.data import importing
from ikusi.data.dataset import open_dataset
from ikusi.data.images import ImageReader
from ikusi.data.import_plan import Request, resolve
from ikusi.data.steps import read_drops


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def linked(name: str) -> Artifact:
    return Store("store").resolve(f"runs/data/{name}")


def records(artifact: Artifact) -> list[Record]:
    return list(read_records(artifact.path / "records"))


def reasons(artifact: Artifact) -> dict[str, str]:
    """Return detail -> reason of what was dropped."""
    return {drop["detail"]: drop["reason"] for drop in read_drops(artifact.path)}


def failed(arguments: list[str]) -> str:
    code, line = run(["import", *arguments])
    assert code == 1 and "\n" not in line and "unexpected" not in line, line
    return line


def photos(captions: str, name: str = "captions.csv") -> None:
    folder = Path("photos")
    (folder / "more").mkdir(parents=True)
    for file, colour in (("a.png", "red"), ("more/b.png", "blue"), ("c.png", "green")):
        (folder / file).write_bytes(png(colour))
    Path(name).write_text(captions, "utf-8")


def test_ones_own_photos(capsys: pytest.CaptureFixture[str]) -> None:
    photos(
        "\ufeffimage,caption\r\na.png,Etxe bat\r\nmore/b.png,Bi etxe\r\nx.png,Hiru\r\na.png,\r\n"
    )
    arguments = ["photos", "--captions", "captions.csv", "--language", "eu", "--licence", "CC0-1.0"]
    assert run(["import", *arguments, "--dry-run"]) == (0, "")
    planned = capsys.readouterr().out
    assert "would be made, of:" in planned
    assert "licence: CC0-1.0" in planned
    assert not Path("store").exists() and not Path("runs").exists()
    assert run(["import", *arguments]) == (0, "")
    out = capsys.readouterr().out
    assert "5 rows: 2 records, 3 dropped" in out
    made = linked("photos")
    assert planned.startswith(made.address)
    first, second = records(made)
    assert first.turns == (user(Image(0)), assistant("Etxe bat"))
    assert (first.language, first.source, first.licence) == ("eu", "photos", "CC0-1.0")
    assert first.group == first.images[0].sha256
    reader = ImageReader(made.path / "images")
    assert reader.read(second.images[0].sha256 or "") == png("blue")
    assert reasons(made) == {
        "line 4: x.png: there is no such file": "image-missing",
        "line 5: 'caption' is empty": "text-empty",
        "c.png: no row of the table describes it": "caption-none",
    }
    assert [r.id for r in open_dataset("runs/data/photos", Store("store")).read()] == [
        "photos-00000000",
        "photos-00000001",
    ]
    assert run(["import", *arguments]) == (0, "")
    assert "was there already" in capsys.readouterr().out
    Path("photos/a.png").write_bytes(png("black"))  # another content is another artifact
    assert run(["import", *arguments]) == (0, "")
    assert linked("photos").address != made.address


def test_photos_without_a_header_and_with_other_columns() -> None:
    photos("a.png,Etxe bat\nmore/b.png,Bi\n")
    arguments = ["photos", "--captions", "captions.csv", "--language", "eu"]
    assert run(["import", *arguments]) == (0, "")
    assert [r.turns[1].text for r in records(linked("photos"))] == ["Etxe bat", "Bi"]
    Path("captions.csv").write_text("fitxategia,testua,egilea\na.png,Etxe bat,Ane\n")
    assert "Found: fitxategia, testua, egilea" in failed(arguments)
    Path("m.yaml").write_text(
        "language: eu\nlicence: CC0-1.0\nfields: {images: fitxategia, caption: testua, "
        "meta: [egilea]}\n"
    )
    assert run(["import", *arguments[:3], "--mapping", "m.yaml"]) == (0, "")
    (found,) = records(linked("photos"))
    assert (found.meta, found.licence, found.language) == ({"egilea": "Ane"}, "CC0-1.0", "eu")


def test_a_mapping_of_any_table() -> None:
    rows = [
        {"irudia": URLS[0], "galdera": "Zer da?", "aukerak": ["a", "b"], "zuzena": 1, "kode": "x"},
        {"irudia": URLS[1], "galdera": "", "aukerak": ["a", "b"], "zuzena": 7, "kode": "y"},
    ]
    path = samples.parquet(Path("galdetegia.parquet"), rows)
    Path("m.yaml").write_text(
        "name: quiz\nlanguage: eu\nprovenance: native\nfields:\n  group: kode\n  images: irudia\n"
        "  question: galdera\n  choices: aukerak\n  correct: zuzena\n"
    )
    assert run(["import", str(path), "--mapping", "m.yaml"]) == (0, "")
    (found,) = records(linked("quiz"))
    assert (found.group, found.choices, found.answers) == ("x", ("a", "b"), ("b",))
    assert (found.task, found.source, found.provenance) == ("quiz", "quiz", "native")
    (detail,) = reasons(linked("quiz"))
    assert "'galdera' is empty" in detail and "7 (index) is none of 2 options" in detail


def test_a_mapping_over_an_assumed_source() -> None:
    rows = [{"hizkuntza": "eu", "irudia": URLS[0], "testua": "Txakur bat"}]
    jsonl(Path("wit.jsonl"), rows)
    Path("m.yaml").write_text(
        "extends: wit\nlanguage: eu\nfields: {images: irudia, caption: testua}\n"
    )
    assert run(["import", "wit.jsonl", "--mapping", "m.yaml"]) == (0, "")
    (found,) = records(linked("wit"))
    assert (found.licence, found.task, found.images) == (
        "CC-BY-SA-3.0",
        "caption",
        (ImageRef(url=URLS[0]),),
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fields: {captoin: a}", r"unknown key 'captoin'. Did you mean 'caption'\?"),
        ("fields: {caption: a}", "a caption needs images"),
        ("fields: {}", "name the column of the caption"),
        ("fields: {text: a, caption: b, images: c}", "keep one"),
        ("lang: eu", "Here it is called 'language'"),
        ("extends: wti", "Did you mean 'wit'"),
        ("fields: {text: a}", "Say --language"),
        ("[", "m.yaml, line"),
        ("language: eu\nfields: {text: a}", r"Expected: a \(any\). Found: b \(text\)"),
    ],
)
def test_a_wrong_mapping_is_one_line(text: str, told: str) -> None:
    jsonl(Path("x.jsonl"), [{"b": "c"}])
    Path("m.yaml").write_text(text)
    assert re.search(told, failed(["x.jsonl", "--mapping", "m.yaml"]))


def test_what_cannot_be_imported_is_one_line() -> None:
    assert "Did you mean 'pixmo-cap'" in failed(["pixmo-cpa"])
    assert "--from" in failed(["mmbench"])
    assert "is written like eu" in failed(["cc3m", "--language", "Basque"])
    jsonl(Path("a.jsonl"), [{"conversations": []}])
    assert "Say --language" in failed(["a.jsonl"])
    jsonl(Path("b.jsonl"), [{"image_url": URLS[0], "caption": "a"}])
    assert "ikusi import cc3m --from b.jsonl" in failed(["b.jsonl", "--language", "en"])
    jsonl(Path("c.jsonl"), [{"image": "a.png", "text": "a"}])  # no plain text
    assert "no known format. Its columns: image, text" in failed(["c.jsonl", "--language", "en"])
    Path("d.jsonl").write_text("")
    assert "Its columns" in failed(["d.jsonl", "--language", "en"])
    assert "is in en, not in 'eu'" in failed(["cc3m", "--from", "b.jsonl", "--language", "eu"])
    path = samples.cc3m(Path())
    path.write_bytes(path.read_bytes()[:300])
    assert "cut off or damaged" in failed(["cc3m", "--from", str(path)])
    assert not Path("store").exists()


WILD_ROWS = [
    ({"from": "human", "value": "<image>\nHi"}, {"from": "gpt", "value": "a"}, "image-marks"),
    ({"from": "human", "value": " "}, {"from": "gpt", "value": "a"}, "turn-empty"),
    ({"from": "human", "value": "a\0"}, {"from": "gpt", "value": "a"}, "not-storable"),
    ({"from": "human", "value": "a\ud800"}, {"from": "gpt", "value": "a"}, "not-storable"),
    ({"from": "gpt", "value": "a"}, {"from": "human", "value": "b"}, "roles-out-of-order"),
    ({"from": "human", "value": "a"}, {"from": "gpt", "value": "<image>"}, "image-mark-misplaced"),
]


def test_bad_rows_are_dropped_with_a_reason() -> None:
    lines = [json.dumps({"id": n, "conversations": row[:2]}) for n, row in enumerate(WILD_ROWS)]
    good = '{"conversations": [{"from": "human", "value": "\u202e<|eot_id|>"}, %s]}'
    lines += [good % '{"from": "gpt", "value": "b"}', '{"conv', '{"id": 3}', "7"]
    Path("wild.jsonl").write_text("\n".join(lines), "utf-8")
    assert run(["import", "wild.jsonl", "--language", "eu"]) == (0, "")
    made = linked("wild")
    (found,) = records(made)
    assert found.turns[0].text == "\u202e<|eot_id|>"
    told = [drop["reason"] for drop in read_drops(made.path)]
    wanted = [row[2] for row in WILD_ROWS] + ["json-broken", "column-missing", "json-no-object"]
    assert sorted(told) == sorted(wanted)
    ids = [drop["id"] for drop in read_drops(made.path)] + [found.id]
    assert len(set(ids)) == 10
    assert json.loads(next(read_drops(made.path))["content"])["id"] == 0


cells: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=5,
)
turn = st.fixed_dictionaries(
    {"from": st.sampled_from(["human", "gpt", "system", "x"]), "value": st.text(max_size=5) | cells}
)
wild = st.fixed_dictionaries(
    {"conversations": st.lists(turn, max_size=4) | cells},
    optional={"image": cells, "id": cells},
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(wild, min_size=1, max_size=12), st.binary(max_size=30))
def test_any_rows_are_records_or_drops(rows: list[dict[str, Any]], noise: bytes) -> None:
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows) + noise
    first = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    Path("w.jsonl").write_bytes(json.dumps(first).encode() + b"\n" + content)
    made = Store("store").build(*resolve(Request(what="w.jsonl", language="eu")).plan())
    lines = [line for line in Path("w.jsonl").read_bytes().split(b"\n") if line.strip()]
    drops = list(read_drops(made.path))
    assert made.stats["read"] == len(lines) == len(records(made)) + len(drops)
    assert all(re.fullmatch("[a-z0-9-]+", drop["reason"]) for drop in drops)


def test_pictures_are_only_read_inside_their_folder() -> None:
    Path("data").mkdir()
    Path("secret.png").write_bytes(png())
    Path("data/link.png").symlink_to(Path("secret.png").absolute())
    Path("data/empty.png").write_bytes(b"")
    said = [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "b"}]
    names: list[Any] = ["../secret.png", str(Path("secret.png").absolute()), "link.png"]
    names += ["empty.png", "no.png", {"sha256": "ab" * 32}]
    names += [
        "file:///etc/passwd",
        "a\0b",
        "x" * 5000,
        "data:image/png;base64,@",
        "",
        "ftp://x.org/a",
    ]
    rows = [{"image": name, "conversations": said} for name in names]
    jsonl(Path("data/a.jsonl"), [*rows, {"image": {"path": 3}, "conversations": said}])
    assert run(["import", "data/a.jsonl", "--language", "eu"]) == (0, "")
    told = [drop["reason"] for drop in read_drops(linked("a").path)]
    assert told == [
        *["image-outside"] * 3,
        "image-empty",
        "image-missing",
        "image-none",
        *["image-missing"] * 3,
        "base64-broken",
        "image-marks",
        "image-missing",
        "image-type",
    ]
    assert run(["import", "data/a.jsonl", "--language", "eu", "--images", "."]) == (0, "")
    assert len(records(linked("a"))) == 1  # the absolute one: the others start from this folder


def test_a_limit_gives_the_same_records() -> None:
    path = samples.cc3m_eu(Path())
    assert run(["import", "cc3m-eu", "--from", str(path)]) == (0, "")
    whole = records(linked("cc3m-eu"))
    assert run(["import", "cc3m-eu", "--from", str(path), "--limit", "2"]) == (0, "")
    assert records(linked("cc3m-eu")) == whole[:4]
    assert run(["import", "cc3m-eu", "--from", str(path), "--language", "eu"]) == (0, "")
    assert [r.id for r in records(linked("cc3m@eu"))] == [r.id for r in whole[1::2]]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("at", [1, 3, 4, 7])
def test_a_kill_loses_no_record_and_no_picture(at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SHARD_RECORDS", 3)
    rows = [
        {"image": samples.picture(colour), "transcription": f"text {n}"}
        for n, colour in enumerate(["red", "blue", "green", "red", "", "pink", "cyan", "blue"])
        if colour
    ]
    rows.insert(4, {"image": {"bytes": b"", "path": "x"}, "transcription": "t"})
    path = samples.parquet(Path("p.parquet"), rows)
    wanted = resolve(Request(what="ocr-eu", files=path))
    whole = Store("whole").build(*wanted.plan())

    store, real, calls = Store("store"), importing.Converter.convert, 0

    def dies(self: Any, row: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise Killed
        return real(self, row)

    with monkeypatch.context() as patch:
        patch.setattr(importing.Converter, "convert", dies)
        with pytest.raises(Killed):
            store.build(*wanted.plan())
    again = store.build(*wanted.plan())
    assert again.manifest.payload == whole.manifest.payload
    assert {k: v for k, v in again.stats.items()} == dict(whole.stats)
    assert len(ImageReader(again.path / "images")) == 5
    assert again.stats["kept"] + sum(again.stats["dropped"].values()) == again.stats["read"] == 8


def test_a_kill_just_before_the_end_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All shards are in the payload then, which is cleared away when it has no manifest."""
    monkeypatch.setattr(importing, "SHARD_RECORDS", 2)
    rows = [{"image": samples.picture(c), "transcription": c} for c in ("red", "blue", "green")]
    wanted = resolve(Request(what="ocr-eu", files=samples.parquet(Path("p.parquet"), rows)))

    def dies(*arguments: Any) -> Any:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("ikusi.core.store.finish", dies)
        with pytest.raises(Killed):
            Store("store").build(*wanted.plan())
    made = Store("store").build(*wanted.plan())
    assert [record.turns[1].text for record in records(made)] == ["red", "blue", "green"]
    reader = ImageReader(made.path / "images")
    assert all(record.images[0].sha256 in reader for record in records(made))


def test_the_address_knows_the_header_of_a_mapping() -> None:
    Path("x.tsv").write_text("a\tb\n")
    for number, header in enumerate(("[x, y]", "[y, x]")):
        Path("m.yaml").write_text(f"language: eu\nheader: {header}\nfields: {{text: x}}")
        assert run(["import", "x.tsv", "--mapping", "m.yaml"]) == (0, "")
        (found,) = records(linked("x"))
        assert found.turns[0].text == "ab"[number]


def test_shards_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "SHARD_BYTES", 1000)
    rows = [importing.Row(n, "", {"a": [{"bytes": b"x" * 400}]}) for n in range(7)]
    assert [len(shard) for shard in importing._shards(iter(rows))] == [3, 3, 1]
