"""The store under crashes, kills, full disks and rivals: whatever happens, a build comes right.

Children are forked by a process of its own (this file, run as a script), so that a crash is a real
one: no `finally` runs, no thread is joined. Repeat other moments with IKUSI_SEED=7 pytest ...
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ikusi.core import lease as lease_module
from ikusi.core.artifact import NOT_PAYLOAD
from ikusi.core.config import dump_yaml
from ikusi.core.errors import CorruptArtifact, StoreError
from ikusi.core.lease import Lease
from ikusi.core.store import Spec, Store, work_folder

SEED = int(os.environ.get("IKUSI_SEED", "0"))
SPEC = Spec("import", "world", 1, {"seed": 1})
FILES = {"a.bin": b"a" * 5000, "records/b.bin": b"b" * 7000}

posix = pytest.mark.skipif(os.name == "nt", reason="needs fork")


def write(folder: Path) -> dict[str, int]:
    """Fill a folder, going on with what is already in the work folder."""
    work = work_folder(folder)
    for name, content in FILES.items():
        done = work / name.replace("/", "_")
        if not done.exists():
            temporary = done.with_name("tmp")
            temporary.write_bytes(content)
            os.replace(temporary, done)
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((work / name.replace("/", "_")).read_bytes())
    return {"files": len(FILES)}


def check_whole(store: Store) -> None:
    """Fail unless the artifact is there with exactly the right payload, and nothing is left."""
    artifact = Store(store.root).open(SPEC.address)
    artifact.verify()
    assert {name: (artifact.path / name).read_bytes() for name in artifact.manifest.files} == FILES
    assert artifact.stats == {"files": 2}
    assert list((store.root / ".partial").iterdir()) == []
    assert not (store.root / ".corrupt").exists()


def check_nothing_half(store: Store) -> None:
    """Fail if something unfinished can be taken for an artifact."""
    artifact = store.find(SPEC.address)
    if artifact is not None:
        artifact.verify()
    store.ls()
    store.du()
    store.gc(dry_run=True)


# -- faults at every operation on the disk

OPERATIONS = (
    "open",
    "write",
    "fsync",
    "replace",
    "rename",
    "link",
    "mkdir",
    "unlink",
    "rmdir",
    "utime",
)


@contextlib.contextmanager
def disturbed(fault: Callable[[int, str], None]) -> Iterator[None]:
    """Call `fault(number, name)` before every operation that changes the disk."""
    count = 0
    saved: list[tuple[Any, str, Any]] = []

    def disturb(module: Any, name: str, counts: Callable[..., bool] = lambda *a, **k: True) -> None:
        original = getattr(module, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            if counts(*args, **kwargs):
                count += 1
                fault(count, name)
            return original(*args, **kwargs)

        saved.append((module, name, original))
        setattr(module, name, wrapper)

    def for_writing(_: object, mode: str = "r", *__: object, **___: object) -> bool:
        return any(letter in mode for letter in "wax+")

    for name in OPERATIONS:
        disturb(os, name)
    disturb(io, "open", for_writing)
    disturb(builtins, "open", for_writing)
    try:
        yield
    finally:
        for module, name, original in reversed(saved):
            setattr(module, name, original)


@posix
def test_crash_at_every_operation(tmp_path: Path) -> None:
    points = int(run_script("crash_everywhere", tmp_path))
    assert points > 40


def crash_everywhere(folder: Path) -> None:
    """Crash a child before its first, second, ... operation until one gets through."""
    number = 0
    while True:
        number += 1
        store = Store(folder / str(number))

        def crash(count: int, _: str, number: int = number) -> None:
            if count == number:
                os._exit(9)

        def child(store: Store = store, crash: Callable[[int, str], None] = crash) -> None:
            with disturbed(crash):
                store.build(SPEC, write)

        ended = wait(fork(child))
        check_nothing_half(store)
        assert wait(fork(partial(store.build, SPEC, write))) == 0
        check_whole(store)
        if ended == 0:
            print(number)
            return


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_disk_error_at_every_operation(tmp_path: Path, code: int) -> None:
    number, failed = 0, 0
    while True:
        number += 1
        store = Store(tmp_path / str(number))
        reached = False

        def fault(count: int, name: str, number: int = number, store: Store = store) -> None:
            nonlocal reached
            # A disk that fails goes on failing; what clears up must not hide the first error.
            if count >= number:
                reached = True
                raise OSError(code, os.strerror(code), str(store.root / name))

        try:
            with disturbed(fault):
                store.build(SPEC, write)
        except StoreError as error:
            failed += 1
            assert "\n" not in str(error)
            assert str(tmp_path) in str(error)
        check_nothing_half(store)
        store.build(SPEC, write)
        check_whole(store)
        if not reached:
            assert failed > 30
            return


@pytest.mark.parametrize("also", [0, 1])
def test_interrupt_at_every_operation_once_or_twice(tmp_path: Path, also: int) -> None:
    number = 0
    while True:
        number += 1
        store = Store(tmp_path / str(number))
        reached = False

        def press(count: int, _: str, number: int = number) -> None:
            nonlocal reached
            if number <= count <= number + also:  # the second while the first is dealt with
                reached = True
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt), disturbed(press):
            store.build(SPEC, write)
        check_nothing_half(store)
        store.build(SPEC, write)
        check_whole(store)
        if not reached:
            return


def never(folder: Path) -> None:
    """Stand for a build of days that was finished already."""
    raise AssertionError(f"{folder} is built again")


def moves(_: int, name: str) -> bool:
    return name == "rename"


def clears_work(store: Store) -> Callable[[int, str], bool]:
    """Return what tells the removing of `.work`, which begins when the manifest is there."""
    return lambda _, name: (
        name in ("unlink", "rmdir")
        and any((store.root / ".partial").glob("*/manifest.json"))
        and any((store.root / ".partial").glob("*/.work"))
    )


@pytest.mark.parametrize("where", ["work", "move"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]
)
def test_a_finished_build_is_published_and_not_made_again(
    tmp_path: Path, where: str, error: BaseException
) -> None:
    store = Store(tmp_path / "store")
    meant = moves if where == "move" else clears_work(store)

    def fault(count: int, name: str) -> None:
        if meant(count, name):
            raise error

    with pytest.raises((StoreError, KeyboardInterrupt)), disturbed(fault):
        store.build(SPEC, write)
    check_nothing_half(store)
    assert store.find(SPEC.address) is None
    store.build(SPEC, never)
    check_whole(store)


@posix
def test_a_kill_before_the_move_loses_no_finished_build(tmp_path: Path) -> None:
    run_script("kill_before_the_move", tmp_path)


def kill_before_the_move(folder: Path) -> None:
    """Kill a child while it removes `.work`, and another one before it moves the folder."""
    for number, name in enumerate(("work", "move")):
        store = Store(folder / name)
        meant = clears_work(store) if number == 0 else moves

        def crash(count: int, name: str, meant: Callable[[int, str], bool] = meant) -> None:
            if meant(count, name):
                os._exit(9)

        def child(store: Store = store, crash: Callable[[int, str], None] = crash) -> None:
            with disturbed(crash):
                store.build(SPEC, write)

        assert wait(fork(child)) != 0
        assert wait(fork(partial(store.build, SPEC, never))) == 0
        check_whole(store)


@pytest.mark.parametrize("damage", ["payload", "manifest", "stats"])
def test_a_finished_build_that_was_damaged_is_made_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path / "store")

    def fault(count: int, name: str) -> None:
        if moves(count, name):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), disturbed(fault):
        store.build(SPEC, write)
    (left,) = (store.root / ".partial").iterdir()
    names = {"payload": "a.bin", "manifest": "manifest.json", "stats": "stats.json"}
    (left / names[damage]).write_bytes(b"0" * 5000)
    store.build(SPEC, write)
    check_whole(store)


def test_messages_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build_with(error: Exception) -> str:
        def fail(folder: Path) -> None:
            raise error

        with pytest.raises(StoreError) as caught:
            Store(tmp_path / "store").build(SPEC, fail)
        return str(caught.value)

    full = OSError(errno.ENOSPC, "No space left on device")
    assert "the disk is full (" in build_with(full)
    assert "point --store elsewhere" in build_with(full)
    # How safetensors and torch tell it.
    assert "the disk is full" in build_with(
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")
    )
    readonly = OSError(errno.EROFS, "Read-only file system", str(tmp_path / "store" / "x"))
    assert f"{tmp_path}/store/x: the disk is read-only" in build_with(readonly)
    denied = OSError(errno.EACCES, "Permission denied", str(tmp_path / "store" / "x"))
    assert "no permission" in build_with(denied)
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "store"):
        with pytest.raises(StoreError, match="is no folder"):
            Store(root).build(SPEC, write)
    # A step that may not read somebody's own file has nothing to do with the store.
    with pytest.raises(PermissionError):
        Store(tmp_path / "store").build(
            SPEC, lambda _: (_ for _ in ()).throw(PermissionError(13, "denied", "/elsewhere/x"))
        )


def test_clearing_up_works_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "store")
    store.build(SPEC, write)
    other = Spec("import", "other", 1, {})

    def fail(folder: Path) -> None:
        write(folder)
        raise RuntimeError  # it leaves its work

    with pytest.raises(RuntimeError):
        store.build(other, fail)
    opened = os.open

    def full(*args: Any, **_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))

    def open_full(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        return full(path) if flags & os.O_CREAT else opened(path, flags, *args, **kwargs)

    plain_open = io.open

    def write_full(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return full(path) if "r" not in mode else plain_open(path, mode, *args, **kwargs)

    for name in ("os.link", "os.mkdir"):
        monkeypatch.setattr(name, full)
    monkeypatch.setattr("io.open", write_full)
    monkeypatch.setattr("os.open", open_full)
    removed = store.gc(unused_seconds=0)
    monkeypatch.undo()
    assert [g.path.parent.name for g in removed] == ["import", ".partial"]
    assert store.ls() == []
    assert list((store.root / ".partial").iterdir()) == []


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="root may write anywhere; the injected errors above stand for it",
)
def test_read_only_store_can_be_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    artifact = store.build(SPEC, write)
    folders = [store.root, *(p for p in store.root.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert store.build(SPEC, write) == artifact == store.resolve(artifact.hash)
        with pytest.raises(StoreError, match="no permission"):
            store.build(Spec("import", "other", 1, {}), write)
    finally:
        for folder in folders:
            folder.chmod(0o755)


# -- kills and rivals


@posix
def test_kill_at_random_moments(tmp_path: Path) -> None:
    killed = int(run_script("kill_randomly", tmp_path))
    assert killed >= 3  # of 12; more on a slower disk


def kill_randomly(folder: Path) -> None:
    """Kill builders at random; print how many were killed before they had finished."""
    chance = random.Random(SEED)
    killed = 0
    start = time.monotonic()
    wait(fork(lambda: Store(folder / "measure").build(SPEC, write)))
    whole = time.monotonic() - start
    for number in range(12):
        store = Store(folder / str(number))
        while True:
            pid = fork(partial(store.build, SPEC, write))
            time.sleep(chance.uniform(0, 1.2 * whole))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            ended = wait(pid)
            check_nothing_half(store)
            if ended == 0:
                break
            killed += 1
        check_whole(store)
    print(killed)


@posix
def test_rivals_build_once(tmp_path: Path) -> None:
    run_script("rivals", tmp_path)


def rivals(folder: Path) -> None:
    """Let four processes want one thing; one makes it and the others use it."""
    store = Store(folder / "store")

    def slow(into: Path) -> dict[str, int]:
        with open(folder / "calls", "a") as stream:
            stream.write("called\n")
        time.sleep(0.2)
        return write(into)

    pids = [fork(lambda: store.build(SPEC, slow)) for _ in range(4)]
    assert [wait(pid) for pid in pids] == [0] * 4
    assert (folder / "calls").read_text() == "called\n"
    check_whole(store)


@posix
def test_takeover_from_the_dead_has_one_winner(tmp_path: Path) -> None:
    deaths = int(run_script("takeovers", tmp_path))
    assert deaths > 10


def takeovers(folder: Path) -> None:
    """Let six processes fight for a lease whose holders keep dying with it."""
    leases = folder / "leases" / "x"
    deaths_wanted = 5

    def fight(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(12):
            with Lease(leases):
                inside = folder / "inside"
                try:
                    descriptor = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                except FileExistsError:
                    pid = int(inside.read_text() or "0")
                    # The marker of a dead holder is no rival.
                    if not pid or lease_module.started_at(pid) not in (None, "ended"):
                        os._exit(3)
                    inside.unlink()
                    descriptor = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
                os.write(descriptor, str(os.getpid()).encode())
                os.close(descriptor)
                time.sleep(chance.uniform(0, 0.003))
                if chance.random() < 0.3:
                    os._exit(7)
                inside.unlink()

    deaths = 0
    for round_number in range(deaths_wanted):
        pids = [fork(partial(fight, SEED * 1000 + round_number * 10 + n)) for n in range(6)]
        for pid in pids:
            code = wait(pid)
            assert code in (0, 7), "two processes held one lease"
            deaths += code == 7
    print(deaths)


def test_lease_of_another_machine_ends_with_its_heartbeat(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    folder.mkdir()
    about = {"token": "t", "pid": 1, "started": "1", "machine": "far away", "host": "far"}
    (folder / "1").write_text("held " + json.dumps(about))
    assert not Lease(folder).try_acquire()
    assert lease_module.describe(folder) == "process 1 on far"
    old = time.time() - lease_module.STALE_SECONDS - 5
    os.utime(folder / "1", (old, old))
    lease = Lease(folder)
    assert lease.try_acquire()
    lease.release()


@pytest.mark.parametrize("content", ["", "hel", 'held {"tok'])
def test_lease_that_is_being_written_is_respected(tmp_path: Path, content: str) -> None:
    (tmp_path / "1").write_text(content)
    assert not Lease(tmp_path).try_acquire()
    os.utime(tmp_path / "1", (1, 1))
    lease = Lease(tmp_path)
    assert lease.try_acquire()
    lease.release()


@posix
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_lease_of_a_living_process_needs_no_heartbeat(tmp_path: Path) -> None:
    lease = Lease(tmp_path / "x")
    assert lease.try_acquire()
    os.utime(tmp_path / "x" / "1", (1, 1))  # the machine slept
    assert not Lease(tmp_path / "x").try_acquire()
    about = json.loads((tmp_path / "x" / "1").read_text()[5:])
    # Another process now has the number of the one that died.
    (tmp_path / "x" / "1").write_text("held " + json.dumps({**about, "started": "1"}))
    other = Lease(tmp_path / "x")
    assert other.try_acquire()
    other.release()
    lease.release()


def test_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "HEARTBEAT_SECONDS", 0.01)
    with Lease(tmp_path / "x"):
        os.utime(tmp_path / "x" / "1", (1, 1))
        deadline = time.monotonic() + 5
        while (tmp_path / "x" / "1").stat().st_mtime < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)


# -- damage that a power cut or a bad disk leaves


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty"])
def test_every_file_of_an_artifact_damaged(tmp_path: Path, damage: str) -> None:
    chance = random.Random(SEED)
    store = Store(tmp_path / "store")
    artifact = store.build(SPEC, write)
    for path in sorted(p for p in artifact.path.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if damage == "flip":
            place = chance.randrange(len(content))
            bad = content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
        else:
            bad = content[: chance.randrange(len(content))] if damage == "truncate" else b""
        path.write_bytes(bad)
        if path.name in NOT_PAYLOAD:  # read by those who do not look at the payload
            assert store.find(SPEC.address) is None
            assert store.ls() == []
        with pytest.raises(CorruptArtifact):
            Store(store.root).open(SPEC.address)
        assert store.build(SPEC, write).manifest.payload == artifact.manifest.payload
        Store(store.root).open(SPEC.address)


# -- children


def fork(body: Callable[[], object]) -> int:
    """Run `body` in a forked child; its exit code is 0, or 1 when it raised."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        body()
        code = 0
    except BaseException as error:
        print(f"child: {error!r}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    """Return the exit code of a child; negative is the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run_script(name: str, folder: Path) -> str:
    """Run a function of this file in a process that may fork, and return what it printed."""
    done = subprocess.run(
        [sys.executable, __file__, name, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


if __name__ == "__main__":
    dump_yaml({})  # imports, once instead of in every child
    globals()[sys.argv[1]](Path(sys.argv[2]))
