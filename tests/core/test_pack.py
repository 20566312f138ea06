"""Packing and unpacking: a whole closure arrives, and nothing else can."""

from __future__ import annotations

import io
import json
import random
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ikusi.__main__ import run
from ikusi.core import pack as packing
from ikusi.core.artifact import MANIFEST, Artifact
from ikusi.core.errors import IkusiError, StoreError
from ikusi.core.pack import pack, unpack
from ikusi.core.store import Spec, Store


def write(folder: Path) -> dict[str, Any]:
    (folder / "records").mkdir()
    (folder / "records" / "part.txt").write_bytes(random.Random(1).randbytes(30_000))
    (folder / "eñe.txt").write_text("bi")
    return {"records": 2}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def made(store: Store) -> Artifact:
    data = store.build(Spec("import", "en", 1), write)
    return store.build(Spec("translate", "eu", 1, {}, {"records": data.address}), write)


@pytest.fixture
def tar(store: Store, made: Artifact, tmp_path: Path) -> Path:
    store.build(Spec("import", "other", 1, {"not": "wanted"}), write)
    pack(store, [made.address], tmp_path / "p.tar")
    return tmp_path / "p.tar"


def files(root: Path) -> dict[str, bytes]:
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.is_file() and ".leases" not in p.parts
    }


def test_a_closure_arrives_byte_for_byte(store: Store, tar: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    packed = unpack(tar, other)
    assert [a.split("/")[0] for a in packed.artifacts] == ["import", "translate"]
    for address in packed.artifacts:
        here, there = store.open(address), other.open(address)
        assert here.manifest == there.manifest
        assert files(here.path) == files(there.path)
    assert len(other.ls()) == 2


def test_equal_artifacts_give_an_equal_file(
    store: Store, made: Artifact, tar: Path, tmp_path: Path
) -> None:
    pack(store, [str(made.path)], tmp_path / "again.tar")
    assert (tmp_path / "again.tar").read_bytes() == tar.read_bytes()


def test_unpacking_again_changes_nothing(tar: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    unpack(tar, other)
    before = {p: p.stat().st_ino for p in other.root.rglob("part.txt")}
    unpack(tar, other)
    assert {p: p.stat().st_ino for p in other.root.rglob("part.txt")} == before


def test_a_damaged_copy_is_replaced(tar: Path, tmp_path: Path) -> None:
    other = Store(tmp_path / "other")
    address = unpack(tar, other).artifacts[0]
    (other.root / address / "records" / "part.txt").write_bytes(b"x" * 30_000)
    unpack(tar, Store(other.root))
    other.open(address).verify()


def test_every_cut_is_told_and_goes_on(tar: Path, tmp_path: Path) -> None:
    content = tar.read_bytes()
    other = Store(tmp_path / "other")
    short = tmp_path / "short.tar"
    for length in [0, 100, 512, 1500, *range(3000, len(content), 5000)]:
        short.write_bytes(content[:length])
        try:
            unpack(short, other)
        except IkusiError as error:
            assert "\n" not in str(error)
            assert "short.tar" in str(error)
        for artifact in other.ls():
            artifact.verify()
    assert len(other.ls()) >= 1
    assert len(unpack(tar, other).artifacts) == 2


def test_a_changed_byte_is_found(tar: Path, tmp_path: Path) -> None:
    content = bytearray(tar.read_bytes())
    start = content.index(random.Random(1).randbytes(30_000)[:30])
    content[start + 100] ^= 1
    tar.write_bytes(content)
    other = Store(tmp_path / "other")
    with pytest.raises(StoreError, match="changed or damaged"):
        unpack(tar, other)
    assert other.ls() == []


Change = Callable[[tarfile.TarInfo, bytes], Iterator[tuple[tarfile.TarInfo, bytes]]]


def rewrite(tar: Path, change: Change) -> None:
    made = []
    with tarfile.open(tar) as old:
        for entry in old:
            source = old.extractfile(entry)
            made += list(change(entry, source.read() if source else b""))
    with tarfile.open(tar, "w", format=tarfile.PAX_FORMAT) as new:
        for entry, content in made:
            entry.size = len(content)
            new.addfile(entry, io.BytesIO(content))


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


EXTRA = [
    ("../evil.txt", tarfile.REGTYPE, ""),
    ("/tmp/evil.txt", tarfile.REGTYPE, ""),
    ("{address}/../../evil.txt", tarfile.REGTYPE, ""),
    ("{address}/evil.txt", tarfile.REGTYPE, ""),
    ("{address}/link", tarfile.SYMTYPE, "/etc"),
    ("{address}/records/part.txt", tarfile.LNKTYPE, "/etc/passwd"),
    ("{address}/records/part.txt", tarfile.REGTYPE, ""),
    ("{address}/fifo", tarfile.FIFOTYPE, ""),
    ("{address}/.work/x", tarfile.REGTYPE, ""),
]


@pytest.mark.parametrize(("name", "kind", "target"), EXTRA, ids=[name for name, _, _ in EXTRA])
@pytest.mark.parametrize("place", ["inside", "end"])
def test_what_no_manifest_names_is_refused(
    name: str, kind: bytes, target: str, place: str, tar: Path, tmp_path: Path
) -> None:
    with tarfile.open(tar) as opened:
        last = [e.name for e in opened][-1]
    address = "/".join(last.split("/")[:2])

    def change(old: tarfile.TarInfo, content: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        extra = entry(name.format(address=address), kind, target), b""
        if place == "inside" and old.name == f"{address}/{MANIFEST}":
            yield old, content
            yield extra
            return
        yield old, content
        if place == "end" and old.name == last:
            yield extra

    rewrite(tar, change)
    other = Store(tmp_path / "deep" / "er" / "other")
    with pytest.raises(StoreError) as caught:
        unpack(tar, other)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("evil.txt"))
    assert not (Path("/tmp") / "evil.txt").exists()
    assert other.find(address) is None or place == "end"


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "a/../../evil", ".work/x", "c:\\x"])
def test_a_manifest_that_names_other_places_is_refused(
    name: str, tar: Path, tmp_path: Path
) -> None:
    """The manifest's own hash is right: whoever forges one can compute it."""
    from ikusi.core.artifact import FileEntry, payload_hash

    def change(old: tarfile.TarInfo, content: bytes) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
        if old.name.endswith(MANIFEST) and old.name.startswith("translate/"):
            data = json.loads(content)
            data["files"][name] = data["files"].pop("records/part.txt")
            entries = {n: FileEntry(**e) for n, e in data["files"].items()}
            data["payload"] = payload_hash(entries)
            content = json.dumps(data).encode()
        if old.name.startswith("translate/") and old.name.endswith("part.txt"):
            old = entry(old.name.replace("records/part.txt", name))
        yield old, content

    rewrite(tar, change)
    other = Store(tmp_path / "a" / "b" / "c" / "other")
    with pytest.raises(StoreError, match=r"outside its own folder|cut off"):
        unpack(tar, other)
    assert not [p for p in tmp_path.rglob("*evil*")]
    assert [a.kind for a in other.ls()] == ["import"]


def test_files_that_are_no_pack(tmp_path: Path) -> None:
    (tmp_path / "empty.tar").touch()
    (tmp_path / "text.tar").write_text("hello " * 1000)
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.addfile(entry("a"), io.BytesIO(b""))
    for name in ("empty.tar", "text.tar", "other.tar", "absent.tar", "."):
        code, line = run(["store", "unpack", str(tmp_path / name), "--store", str(tmp_path / "s")])
        assert code == 1
        assert "\n" not in line
        assert "unexpected" not in line, line
    assert not (tmp_path / "s").exists()


def test_a_kill_while_packing_leaves_the_old_file(
    store: Store, made: Artifact, tar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = tar.read_bytes()

    def die(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing, "fsync_file", die)
    with pytest.raises(StoreError, match="disk is full"):
        pack(store, [made.address], tar)
    assert tar.read_bytes() == before
    assert [p.name for p in tar.parent.iterdir() if p.name.startswith(".")] == []


def test_what_is_gone_is_named(store: Store, made: Artifact, tmp_path: Path) -> None:
    import shutil

    shutil.rmtree(store.root / "import")
    packed = pack(store, [made.address], tmp_path / "p.tar")
    assert [a.split("/")[0] for a in packed.gone] == ["import"]
    assert unpack(tmp_path / "p.tar", Store(tmp_path / "other")).artifacts == (made.address,)


def test_the_command_line(
    store: Store, made: Artifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, other, runs = (str(tmp_path / name) for name in ("p.tar", "other", "runs"))
    assert run(["store", "pack", made.hash, "--to", file, "--store", str(store.root)]) == (0, "")
    assert "2 artifacts" in capsys.readouterr().out
    assert run(["store", "unpack", file, "--store", other, "--runs", runs]) == (0, "")
    link = Path(runs) / "data" / "translate-eu"
    assert Store(other).resolve(link).address == made.address
    assert Store(other).gc(unused_seconds=-1) == []  # the link keeps them
