"""What a person may call a set of records, and what its address depends on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ikusi.core.errors import CorruptArtifact, DataError, StoreError
from ikusi.core.records import write_records
from ikusi.core.store import Spec, Store
from ikusi.core.types import Record, user
from ikusi.data.dataset import open_dataset, records_of


def record(number: int) -> Record:
    return Record(f"r{number}", "g", (user("Zer?"),), "eu", "what", "s")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def write_parts(folder: Path) -> dict[str, int]:
    (folder / "records").mkdir()
    for part in range(2):
        write_records(folder / "records" / f"part-{part:05d}.parquet", [record(part)])
    return {}


def write_file(folder: Path) -> dict[str, int]:
    write_records(folder / "records.parquet", [record(0)])
    return {}


@pytest.mark.parametrize("write", [write_parts, write_file])
def test_an_artifact_by_all_its_names(store: Store, tmp_path: Path, write: object) -> None:
    artifact = store.build(Spec("import", "cc3m", 1), write)  # type: ignore[arg-type]
    link = tmp_path / "runs" / "data" / "cc3m"
    store.link(link, artifact)
    for name in (artifact.address, "import/cc3m", artifact.hash[:6], str(link), str(artifact.path)):
        found = open_dataset(name, store)
        assert found.name == "cc3m"
        assert [r.id for r in found.read()][:1] == ["r0"]
        assert found.count() == len(list(found.read()))
        assert len(list(found.read(limit=1))) == 1
        assert found.inputs("of") == {"of": artifact.address}
        assert found.config("of") == {}


def test_files_and_folders_go_into_the_address_by_content(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(2):
        write_records(folder / f"{number}.parquet", [record(number)])
    whole, file = open_dataset(str(folder), store), open_dataset(str(folder / "0.parquet"), store)
    assert (whole.name, file.name) == ("parts", "0")
    assert [r.id for r in whole.read()] == ["r0", "r1"]
    assert file.count() == 1
    assert whole.inputs() == file.inputs() == {}
    shutil.copytree(folder, tmp_path / "other")
    (tmp_path / "other" / "README.md").write_text("not read")
    other = open_dataset(str(tmp_path / "other"), store)
    assert other.config() == whole.config() != {"records": file.config()["records"]}
    write_records(tmp_path / "other" / "1.parquet", [record(2)])
    assert other.config() != whole.config()


def test_a_folder_that_is_there_is_meant_before_the_beginning_of_an_address(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.build(Spec("import", "cc3m", 1), write_parts)
    monkeypatch.chdir(tmp_path)
    Path("import").mkdir()
    write_records(Path("import", "mine.parquet"), [record(7)])
    assert [r.id for r in open_dataset("import", store).read()] == ["r7"]
    assert open_dataset("import/", store).name == "import"


@pytest.mark.parametrize("write", [write_parts, write_file])
def test_a_damaged_artifact_is_never_read_as_a_folder(store: Store, write: object) -> None:
    artifact = store.build(Spec("import", "cc3m", 1), write)  # type: ignore[arg-type]
    path = next(artifact.path.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    for name in (str(artifact.path), artifact.address):
        with pytest.raises(CorruptArtifact):
            open_dataset(name, store)


def test_what_is_not_there_or_holds_nothing(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no artifact, link or folder of this name"):
        open_dataset("nothing", store)
    with pytest.raises(StoreError, match="no artifact, link or folder of this name"):
        open_dataset(str(tmp_path / "absent.parquet"), store)
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError):
        open_dataset(str(tmp_path / "empty"), store)

    def no_records(folder: Path) -> dict[str, int]:
        (folder / "model.bin").write_bytes(b"x")
        return {}

    artifact = store.build(Spec("align", "a", 1), no_records)
    with pytest.raises(DataError, match="holds no records"):
        open_dataset(artifact.address, store)
    with pytest.raises(DataError, match="holds no records"):
        records_of(tmp_path)


def test_a_torn_file_and_one_that_holds_no_records(store: Store, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "a.parquet"
    write_records(path, [record(1)])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        list(open_dataset(str(path), store).read())
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        open_dataset(str(path), store).count()
    pq.write_table(pa.table({"caption": ["a"]}), path)
    with pytest.raises(DataError, match="`ikusi import` makes records"):
        list(open_dataset(str(path), store).read())
    write_records(path, [])
    assert list(open_dataset(str(path), store).read()) == []
