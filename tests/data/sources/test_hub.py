"""The hub's reader, on folders that `datasets` reads just as it reads the hub."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.sources import samples
from tests.data.sources.samples import png, sha

from ikusi.core.errors import DataError
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.data.import_plan import Request, resolve
from ikusi.data.sources import hub, registry
from ikusi.data.sources.registry import SOURCES

pytestmark = pytest.mark.slow  # `datasets` takes seconds to import


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the hub: `<folder>/<name of the source>`."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "resolve_revision", lambda name, revision: "c" * 40)
    folder = tmp_path / "hub"
    moved = {
        name: replace(source, hub=str(folder / name) if source.hub else "", subset="")
        for name, source in SOURCES.items()
    }
    monkeypatch.setattr(registry, "SOURCES", moved)
    return folder


def put(folder: Path, name: str, split: str) -> None:
    (folder / name).mkdir(parents=True)
    path = samples.FILES[name](folder / name)
    if path.is_file():
        path.rename(path.with_name(f"{split}{path.suffix}"))


@pytest.mark.parametrize(
    ("name", "split", "ids"),
    [
        ("finevision", "train", ["finevision-00000000"]),
        ("vqav2", "validation", ["vqav2-00000000"]),
        ("vqa-v2-eu", "", ["vqav2-en-00000000", "vqav2-eu-00000000"]),
        ("cc3m-wds", "train", ["cc3m-00000000", "cc3m-00000001", "cc3m-00000002"]),
        ("pixmo-cap", "train", ["pixmo-cap-00000000"]),
    ],
)
def test_the_hub_gives_what_its_files_give(
    name: str, split: str, ids: list[str], offline: Path, tmp_path: Path
) -> None:
    put(offline, name, split)
    wanted = resolve(Request(what=name))
    assert wanted.where["revision"] == "c" * 40
    streamed = Store(tmp_path / "store").build(*wanted.plan())
    (tmp_path / "local").mkdir()
    path = samples.FILES[name](tmp_path / "local")
    local = Store(tmp_path / "store").build(*resolve(Request(what=name, files=path)).plan())
    found = list(read_records(streamed.path / "records"))
    assert [record.id for record in found] == ids
    assert found == list(read_records(local.path / "records"))
    if name == "finevision":
        assert found[0].images[0].sha256 == sha(png())


def test_trouble_with_the_hub_is_one_line(offline: Path, tmp_path: Path) -> None:
    put(offline, "cc3m", "train")
    with pytest.raises(DataError, match="cannot be read from the hub"):
        resolve(Request(what="cc3m", split="tset")).write(tmp_path)
    moved = offline / "pixmo-cap"
    (offline / "cc3m").rename(moved)
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError, match="Found: url") as raised:
        samples.parquet(moved / "train.parquet", [{"url": "x", "caption": "a"}])
        resolve(Request(what="pixmo-cap")).write(tmp_path / "out")
    assert "\n" not in str(raised.value)


def test_a_mapping_of_any_set_on_the_hub(offline: Path, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("language: qu\nfields: {text: qillqa}")
    wanted = resolve(
        Request(what="someone/qillqakuna", mapping=tmp_path / "m.yaml", subset="main", split="test")
    )
    assert wanted.where == {
        "hub": "someone/qillqakuna",
        "subset": "main",
        "splits": ("test",),
        "revision": "c" * 40,
    }
    assert (wanted.name, wanted.language) == ("someone-qillqakuna", "qu")


def test_a_commit_needs_no_network() -> None:
    assert hub.resolve_revision("allenai/pixmo-cap", "0" * 40) == "0" * 40
