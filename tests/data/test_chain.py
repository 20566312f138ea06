"""The whole chain as a person types it: plain names from verb to verb, and no row lost between."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.pictures import encode, natural

from ikusi.__main__ import run
from ikusi.core.links import read_link
from ikusi.core.store import Store
from ikusi.data.dataset import open_dataset

DATA = Path("runs/data")
BROKEN = {"torn.jpg": b"\xff\xd8\xff\xe0 nothing", "page.jpg": b"<html>404</html>"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with photos, some of them broken, and a table out of a spreadsheet."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    good = {f"etxe zuria ({n}).jpg": encode(natural(n, 300, 200)) for n in range(3)}
    for name, data in (good | BROKEN).items():
        (Path("photos") / name).write_bytes(data)
    lines = [f"{name};Etxe bat, {n}; zuria" for n, name in enumerate(good | BROKEN)]
    quoted = [f'"{line.partition(";")[0]}";"{line.partition(";")[2]}"' for line in lines]
    Path("captions.csv").write_text("\ufeffimage;caption\n" + "\n".join(quoted) + "\n")
    Path("lexicon.tsv").write_text(
        "source\ttarget\n" + "".join(f"Etxe bat, {n}; zuria\tTŷ gwyn, {n}\n" for n in range(2))
    )
    return tmp_path


def ikusi(*arguments: str) -> None:
    assert run(list(arguments)) == (0, "")


def bring_in() -> None:
    ikusi("import", "photos", "--captions", "captions.csv", "--language", "eu")


def counts(name: str) -> tuple[int, int, int]:
    stats = Store("store").resolve(DATA / name).stats
    return stats["read"], stats["kept"], sum(stats["dropped"].values())


def test_every_verb_finds_what_the_verb_before_it_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bring_in()  # ./photos is a folder of pictures, runs/data/photos what was made of it
    ikusi("images", "photos")
    ikusi("images", "photos", "--from", "photos-images", "--name", "again")
    ikusi("filter", "photos", "--images", "photos-images")
    memory = ("--backend", "memory", "backend.path=lexicon.tsv")
    ikusi("translate", "photos-filtered", "--to", "cy", *memory, "--images", "photos-images")
    ikusi("filter", "photos-filtered-cy", "--against", "photos", "--originals", "photos-filtered")
    ikusi("publish", "photos-filtered-cy", "--to", "out")
    for name in ("photos", "photos-images", "photos-filtered", "published-photos-filtered-cy"):
        ikusi("show", name)
    for name in ("photos", "photos-filtered", "photos-filtered-cy"):
        ikusi("report", name)
        assert (DATA / f"{name}-report" / "report.html").is_file()
    assert counts("photos") == (5, 5, 0)
    assert counts("photos-filtered") == (5, 3, 2)
    assert counts("photos-filtered-cy") == (3, 2, 1)
    assert sorted(path.name for path in DATA.iterdir() if read_link(path)) == [
        "again",
        "photos",
        "photos-filtered",
        "photos-filtered-cy",
        "photos-filtered-cy-filtered",
        "photos-images",
        "published-photos-filtered-cy",
    ]
    capsys.readouterr()
    size = Store("store").resolve(DATA / "photos-images").stats["bytes"]
    assert size > 10_000
    assert f"| images photos | bytes | {size:,} |" in Path("out/README.md").read_text("utf-8")


def test_two_sets_of_one_source_never_share_a_link_or_a_report() -> None:
    bring_in()
    memory = ("--backend", "memory", "backend.path=lexicon.tsv")
    ikusi("translate", "photos", "--to", "cy", *memory)
    whole = Store("store").resolve(DATA / "photos-cy").address
    ikusi("filter", "photos", "length.min_characters=4")
    ikusi("translate", str(DATA / "photos-filtered"), "--to", "cy", *memory)
    assert Store("store").resolve(DATA / "photos-cy").address == whole
    assert read_link(DATA / "photos-filtered-cy") is not None


def test_a_path_is_meant_before_a_name() -> None:
    bring_in()
    store = Store("store")
    ikusi("import", "photos", "--captions", "captions.csv", "--language", "es", "--name", "other")
    Path("other").symlink_to(read_link(DATA / "photos") or "")
    assert next(open_dataset("other", store, Path("runs")).read()).language == "eu"
    assert next(open_dataset("runs/data/other", store, Path("runs")).read()).language == "es"


def test_a_broken_picture_of_an_import_is_told_as_broken(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bring_in()
    ikusi("images", "photos")
    ikusi("filter", "photos", "--images", "photos-images")
    stats = Store("store").resolve(DATA / "photos-filtered").stats
    assert stats["dropped"] == {"image-broken": 2}
    capsys.readouterr()
    ikusi("show", "photos-filtered", "--dropped", "image-broken")
    assert "format-html" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("images", "rows.parquet"),
        ("filter", "rows.parquet"),
        ("publish", "rows.parquet", "--to", "out"),
        ("report", "rows.parquet"),
        ("translate", "rows.parquet", "--to", "eu", "--backend=memory", "backend.path=lexicon.tsv"),
    ],
)
def test_a_table_that_holds_no_records_is_refused_by_all(arguments: tuple[str, ...]) -> None:
    pq.write_table(
        pa.table({"images": [[{"bytes": b"", "path": ""}]], "texts": ["a"]}), "rows.parquet"
    )
    code, line = run(list(arguments))
    assert code == 1
    assert "rows.parquet: has no column" in line and "`ikusi import` makes records" in line
    assert not DATA.exists()


def test_what_has_no_records_says_what_has() -> None:
    bring_in()
    ikusi("images", "photos")
    code, line = run(["report", "photos-images"])
    assert code == 1 and "holds no records" in line and "`filter` made" in line


def test_a_wrong_option_is_told_in_sentences() -> None:
    code, line = run(["import", "photos", "--limit", "0"])
    assert code == 2
    assert line.endswith(". See: ikusi import --help") and ".." not in line


def test_a_link_to_what_is_gone_is_told_by_all() -> None:
    bring_in()
    shutil.rmtree(read_link(DATA / "photos") or "")
    for verb in ("show", "report", "images", "filter"):
        code, line = run([verb, "photos"])
        assert code == 1 and "which is not there any more. Build it again." in line


@pytest.mark.parametrize(
    ("licence", "told"), [("CC-BY", True), ("CC-BY-4.0 AND MIT", False), ("unknown", False)]
)
def test_a_licence_that_nothing_knows_is_told_at_the_import(
    licence: str, told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ("photos", "--captions", "captions.csv", "--language", "eu")
    ikusi("import", *where, "--licence", licence)
    assert ("permits nothing" in capsys.readouterr().err) is told
