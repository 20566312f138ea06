"""The store: addresses, building, checking, links, and clearing up."""

from __future__ import annotations

import dataclasses
import enum
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from ikusi.core.artifact import hash_data, hash_file, plain
from ikusi.core.config import read_yaml
from ikusi.core.errors import ConfigError, CorruptArtifact, StoreError
from ikusi.core.lease import Lease
from ikusi.core.store import Artifact, Spec, Store, work_folder
from ikusi.core.store_commands import app


def spec(name: str = "world", **config: Any) -> Spec:
    return Spec("import", name, 1, config)


def write_files(folder: Path) -> dict[str, Any]:
    (folder / "records").mkdir()
    (folder / "records" / "a.txt").write_text("bat")
    (folder / "b.txt").write_text("bi")
    return {"records": 2}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def made(store: Store) -> Artifact:
    return store.build(spec(seed=1), write_files)


def chain(store: Store) -> tuple[Artifact, Artifact, Artifact]:
    """Return an import, a mixture of it, and a model trained on that."""
    data = store.build(spec(), write_files)
    mix = store.build(Spec("mix", "half", 1, {}, {"records": data.address}), write_files)
    inputs = {"mix": mix.address, "again": data.address}
    return data, mix, store.build(Spec("train", "align", 1, {}, inputs), write_files)


# -- addresses


def test_address_is_known_before_anything_is_made() -> None:
    # Golden: every store in the world is lost when this changes.
    wanted = Spec("train", "align", 2, {"lr": 1e-3, "to": ["eu"], "on": True}, {})
    assert wanted.address == "train/align-febf875389a1d16b"
    above = Spec("evaluate", "vqa", 1, {}, {"model": wanted.address})
    assert above.address == "evaluate/vqa-44f7aa8aabedd4fa"


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"a": (1, 2)}, {"a": [1, 2]}),
        ({"a": 0.001}, {"a": 1e-3}),
        ({"a": enum.StrEnum("E", {"X": "x"}).X}, {"a": "x"}),  # type: ignore[attr-defined]
    ],
)
def test_same_config_same_address(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert Spec("mix", "a", 1, left).hash == Spec("mix", "a", 1, right).hash


@pytest.mark.parametrize(
    "other",
    [
        Spec("mix", "a", 2, {"a": 1}),
        Spec("train", "a", 1, {"a": 1}),
        Spec("mix", "a", 1, {"a": 1.0}),
        Spec("mix", "a", 1, {"a": True}),
        Spec("mix", "a", 1, {"a": "1"}),
        Spec("mix", "a", 1, {"a": 1, "b": None}),
        Spec("mix", "a", 1, {"a": 1}, {"in": "import/world-0123456789abcdef"}),
    ],
)
def test_other_work_other_address(other: Spec) -> None:
    assert other.hash != Spec("mix", "a", 1, {"a": 1}).hash


def test_readable_names_are_not_hashed() -> None:
    one = Spec("mix", "a", 1, {}, {"in": "import/world-0123456789abcdef"})
    two = Spec("mix", "b", 1, {}, {"in": "import/quick-start-0123456789abcdef"})
    assert one.hash == two.hash
    assert one.address != two.address


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2}, {1, 2}, Path("a"), "\ud800"])
def test_config_without_a_stable_form_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"config\.key"):
        Spec("mix", "a", 1, {"key": value})


@pytest.mark.parametrize("name", ["", "a b", "../x", "a/b", ".a", "a" * 81, "ñ"])
def test_name_that_is_no_file_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        Spec("mix", name, 1)


def test_spec_keeps_a_copy_of_its_config() -> None:
    config: dict[str, Any] = {"a": [1]}
    wanted = Spec("mix", "a", 1, config)
    config["a"].append(2)
    assert wanted.config == {"a": [1]}


json_data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(json_data)
def test_hash_data_depends_on_the_value_alone(data: Any) -> None:
    def reverse(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reverse(value[key]) for key in reversed(list(value))}
        return tuple(map(reverse, value)) if isinstance(value, list) else value

    assert hash_data(data) == hash_data(reverse(data))
    assert plain(data) == data


# -- building


def test_build_makes_it_once(store: Store) -> None:
    calls = []

    def write(folder: Path) -> Mapping[str, Any]:
        calls.append(folder)
        return write_files(folder)

    assert store.find(spec(seed=1).address) is None
    first = store.build(spec(seed=1), write)
    second = store.build(spec("another-name", seed=1), write)
    assert len(calls) == 1
    assert first == second == store.open(first.address)
    assert first.path == store.root / first.address
    assert first.address == spec(seed=1).address
    assert (first.path / "records" / "a.txt").read_text() == "bat"
    assert first.stats == {"records": 2}
    assert read_yaml(first.path / "config.yaml") == {"seed": 1}
    assert set(first.manifest.files) == {"records/a.txt", "b.txt"}
    assert first.manifest.files["b.txt"].sha256 == hash_file(first.path / "b.txt")
    assert not list((store.root / ".partial").iterdir())


def test_payload_hash_covers_names_and_contents(store: Store) -> None:
    def payload(seed: int, name: str, text: str) -> str:
        def write(folder: Path) -> None:
            (folder / name).write_text(text)

        return store.build(spec(seed=seed), write).manifest.payload

    assert payload(1, "a", "x") == payload(2, "a", "x")
    assert len({payload(3, "a", "x"), payload(4, "b", "x"), payload(5, "a", "y")}) == 3


def test_failure_leaves_only_unfinished_work(store: Store) -> None:
    def fail(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        (work_folder(folder) / "state").write_text("step 7")
        raise RuntimeError("no")

    def resume(folder: Path) -> None:
        assert not (folder / "half.txt").exists()
        assert (work_folder(folder) / "state").read_text() == "step 7"
        (folder / "whole.txt").write_text("whole")

    with pytest.raises(RuntimeError, match="no"):
        store.build(spec(), fail)
    assert {p.name for p in (store.root / ".partial").rglob("*") if p.is_file()} == {"state"}
    assert store.find(spec().address) is None
    artifact = store.build(spec(), resume)
    assert set(artifact.manifest.files) == {"whole.txt"}
    assert not (artifact.path / ".work").exists()


@pytest.mark.parametrize("name", ["manifest.json", "config.yaml", "stats.json"])
def test_step_may_not_use_the_stores_names(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match=name):
        store.build(spec(), lambda folder: {"n": (folder / name).write_text("{}")})


def test_links_in_a_payload_are_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a link"):
        store.build(spec(), lambda folder: (folder / "a").symlink_to(tmp_path))


def test_stats_must_be_plain_data(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"stats\.loss"):
        store.build(spec(), lambda folder: {"loss": float("nan")})


def test_open_of_what_is_not_there(store: Store) -> None:
    with pytest.raises(StoreError, match="not in the store"):
        store.open(spec().address)
    with pytest.raises(StoreError, match="no address"):
        store.find("nonsense")


# -- damage


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def extra(path: Path) -> None:
    (path.parent / "extra.txt").write_text("?")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


DAMAGES = [
    (name, damage)
    for name in ("b.txt", "config.yaml", "stats.json", "manifest.json")
    for damage in (flip, cut, extra, Path.unlink)
    if (name, damage) != ("manifest.json", Path.unlink)  # without a manifest it is no artifact
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_damage_is_refused_by_open_and_mended_by_build(
    store: Store, made: Artifact, name: str, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    damage(made.path / name)
    with pytest.raises(CorruptArtifact) as caught:
        store.open(made.address)
    assert "\n" not in str(caught.value)
    with caplog.at_level(logging.WARNING):
        again = store.build(spec(seed=1), write_files)
    assert "damaged" in caplog.text
    assert again.manifest.payload == made.manifest.payload
    assert store.open(made.address) == again
    assert len(list((store.root / ".corrupt").iterdir())) == 1


def test_what_file_managers_leave_is_no_damage(store: Store, made: Artifact) -> None:
    (made.path / ".DS_Store").write_text("?")
    (made.path / "records" / ".nfs0000012").write_text("?")
    store.open(made.address)


def test_payload_is_read_once_per_process_and_change(
    store: Store, made: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    verify = Artifact.verify

    def counted(self: Artifact) -> None:
        calls.append(self)
        verify(self)

    monkeypatch.setattr(Artifact, "verify", counted)
    for _ in range(3):
        Store(store.root).open(made.address)
    assert not calls  # just built
    os.utime(made.path / "b.txt", (1, 1))
    for _ in range(3):
        store.open(made.address)
    assert len(calls) == 1


def write_other(folder: Path) -> None:
    (folder / "b.txt").write_text("something else")


def test_rebuilt_with_another_content_is_refused_when_it_has_heirs(store: Store) -> None:
    data, mix, _ = chain(store)
    flip(data.path / "b.txt")
    with pytest.raises(StoreError, match=f"two contents at one address.*{mix.address}"):
        store.build(spec(), write_other)
    with pytest.raises(StoreError, match="two contents"):  # not forgotten
        store.build(spec(), write_other)
    assert store.build(spec(), write_files).manifest.payload == data.manifest.payload


def test_rebuilt_with_another_content_is_fine_without_heirs(store: Store, made: Artifact) -> None:
    flip(made.path / "b.txt")
    assert store.build(spec(seed=1), write_other).manifest.payload != made.manifest.payload


@pytest.mark.parametrize("same", [True, False])
def test_two_contents_at_one_address(store: Store, same: bool) -> None:
    def write(folder: Path) -> Mapping[str, Any] | None:
        # What a process does that was taken for dead: it publishes the same address meanwhile.
        rival = Store(store.root.parent / "rival")
        other = rival.build(spec(), write_files)
        (store.root / "import").mkdir()
        os.rename(other.path, store.root / other.address)
        (write_files if same else write_other)(folder)
        return None

    if same:
        assert store.build(spec(), write) == store.open(spec().address)
        assert not list((store.root / ".partial").iterdir())
    else:
        with pytest.raises(StoreError, match="two contents at one address"):
            store.build(spec(), write)


# -- names


def test_link_is_readable_and_resolves(store: Store, made: Artifact, tmp_path: Path) -> None:
    link = tmp_path / "runs" / "quick" / "import"
    store.link(link, made)
    assert (link / "b.txt").read_text() == "bi"
    other = store.build(spec(seed=2), write_files)
    store.link(link, other)  # replaced in one step
    assert store.resolve(link) == other
    tmp_path.rename(tmp_path.with_name("moved"))
    moved = tmp_path.with_name("moved")
    assert Store(moved / "store").resolve(moved / "runs/quick/import").address == other.address
    assert not Store(moved / "store").gc(unused_seconds=0)[1:]  # the link protects there too
    moved.rename(tmp_path)


def test_link_where_symbolic_links_are_not_allowed(
    store: Store, made: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("a required privilege is not held by the client")

    monkeypatch.setattr("ikusi.core.links.os.symlink", refuse)
    link = tmp_path / "runs" / "import"
    for _ in range(2):
        store.link(link, made)
        assert link.is_file()
        assert store.resolve(link) == made
    assert [g.path.name for g in store.gc(unused_seconds=0)] == []


def test_link_does_not_replace_what_is_no_link(
    store: Store, made: Artifact, tmp_path: Path
) -> None:
    for name in ("folder", "file.txt"):
        path = tmp_path / name
        path.mkdir() if name == "folder" else path.write_text("mine")
        with pytest.raises(StoreError, match="in the way"):
            store.link(path, made)


def test_resolve_takes_any_name(store: Store, made: Artifact) -> None:
    for name in (
        made.address,
        made.address[:-3],
        "import/wor",
        made.hash,
        made.hash[:5],
        made.path,
    ):
        assert store.resolve(name) == made
    store.build(spec("worlds", seed=2), write_files)
    with pytest.raises(StoreError, match=r"can be .*Give more"):
        store.resolve("import/world")
    for name in ("nothing", "", "runs/x"):
        with pytest.raises(StoreError, match="no artifact"):
            store.resolve(name)
    flip(made.path / "b.txt")
    with pytest.raises(CorruptArtifact):
        store.resolve(made.hash)
    assert store.locate(made.hash) == made


def test_link_to_what_is_gone(store: Store, made: Artifact, tmp_path: Path) -> None:
    store.link(tmp_path / "link", made)
    os.rename(made.path, tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="not there any more"):
        store.resolve(tmp_path / "link")


# -- looking after it


def test_ls_du_why(store: Store) -> None:
    data, mix, model = chain(store)
    assert store.ls() == [data, mix, model]
    assert store.ls("mix") == [mix]
    assert [(u.kind, u.count, u.bytes) for u in store.du()] == [
        ("import", 1, 5),
        ("mix", 1, 5),
        ("train", 1, 5),
    ]
    tree = store.why(model.address)
    assert [(i.role, i.address) for i in tree.inputs] == [
        ("again", data.address),
        ("mix", mix.address),
    ]
    assert tree.inputs[1].inputs[0].artifact == data


def test_gc_removes_what_no_link_reaches(store: Store, tmp_path: Path) -> None:
    data, mix, model = chain(store)
    loose = store.build(spec(seed=9), write_files)
    link = tmp_path / "runs" / "mix"
    store.link(link, mix)
    with pytest.raises(RuntimeError):
        store.build(spec(seed=5), lambda folder: (_ for _ in ()).throw(RuntimeError("no")))
    cache = store.root / ".features"
    cache.mkdir()
    for name in ("whole.features", "killed.tmp"):
        (cache / name).write_text("x")
    # All artifacts were used a moment ago, and somebody may go on with the unfinished one.
    assert store.gc() == []
    planned = store.gc(dry_run=True, unused_seconds=0)
    assert store.ls() == sorted([data, loose, mix, model], key=lambda a: a.address)
    removed = store.gc(unused_seconds=0)
    assert planned == removed
    assert store.ls() == [data, mix]
    assert {g.path for g in removed} >= {loose.path, model.path, cache / "killed.tmp"}
    assert sum(g.bytes for g in removed) > 10
    assert store.gc(unused_seconds=0) == []
    link.unlink()
    store.gc(unused_seconds=0)
    assert store.ls() == []
    for path in [*(store.root / ".leases").rglob("*")]:
        os.utime(path, (1, 1))
    store.gc(unused_seconds=0)
    assert [p for p in store.root.rglob("*") if p.is_file()] == [cache / "whole.features"]


def test_gc_leaves_alone_what_a_process_works_on(store: Store) -> None:
    data = store.build(spec(), write_files)

    def write(folder: Path) -> None:
        (folder / "half.txt").write_text("half")
        assert store.gc(unused_seconds=0) == []
        assert store.find(data.address) == data
        assert (folder / "half.txt").exists()

    store.build(Spec("mix", "a", 1, {}, {"in": data.address}), write)


def test_gc_keeps_what_was_used_lately(store: Store, made: Artifact) -> None:
    assert store.gc(unused_seconds=60) == []
    os.utime(made.path / "manifest.json", (1, 1))
    store.open(made.address)
    assert store.gc(unused_seconds=60) == []
    os.utime(made.path / "manifest.json", (1, 1))
    assert [g.path for g in store.gc(unused_seconds=60)] == [made.path]


# -- the lease


def test_lease_is_exclusive_and_leaves_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "leases" / "x"
    for number in (1, 2, 3):
        with Lease(folder) as lease:
            assert lease.is_held()
            assert not Lease(folder).try_acquire()
        assert [p.name for p in folder.iterdir()] == [str(number)]
    lease = Lease(folder)
    assert lease.try_acquire()
    lease.discard()
    assert list(folder.parent.iterdir()) == []


def test_lease_that_was_taken_over_is_noticed(store: Store) -> None:
    def write(folder: Path) -> None:
        lease = store.root / ".leases" / folder.name
        (lease / "2").write_text("held {}")

    with pytest.raises(StoreError, match="took this work over"):
        store.build(spec(), write)
    assert store.find(spec().address) is None


def test_lease_of_this_process_that_nobody_holds_is_free(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "x")
    assert lease.try_acquire()
    lost = tmp_path / "lost"
    lost.mkdir()
    content = (tmp_path / "x" / "1").read_text()
    (lost / "1").write_text(content.replace(lease._token, "0" * 32))
    assert Lease(lost).try_acquire()
    lease.release()


# -- the command line


def test_commands(store: Store, tmp_path: Path) -> None:
    run = CliRunner()
    data, mix, model = chain(store)
    store.link(tmp_path / "mix", mix)
    at = ["--store", str(store.root)]
    shown = run.invoke(app, ["ls", *at]).output
    assert all(a.address in shown for a in (data, mix, model))
    assert data.address not in run.invoke(app, ["ls", "mix", *at]).output
    assert "15 B" in run.invoke(app, ["du", *at]).output
    assert run.invoke(app, ["path", str(tmp_path / "mix"), *at]).output.strip() == str(mix.path)
    tree = run.invoke(app, ["why", model.hash], env={"IKUSI_STORE": str(store.root)}).output
    assert tree.count(data.address) == 2
    gc = ["gc", *at, "--unused-hours", "0"]
    assert "would be removed" in run.invoke(app, [*gc, "--dry-run"]).output
    assert "Nothing was removed" in run.invoke(app, gc, input="n\n").output
    assert model in store.ls()
    assert "Removed 1 things" in run.invoke(app, [*gc, "--yes"]).output
    assert store.ls() == [data, mix]
    assert "Nothing to remove" in run.invoke(app, gc).output
    assert "No artifact of kind nope" in run.invoke(app, ["ls", "nope", *at]).output
    missing = run.invoke(app, ["ls", "--store", str(tmp_path / "typo")])
    assert isinstance(missing.exception, StoreError)


def test_artifacts_cannot_be_changed(made: Artifact) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.address = "x"  # type: ignore[misc]
