"""The images step under hostile servers, kills, full disks and rivals: no picture is lost or twice.

Repeat other moments with IKUSI_SEED=7 pytest ..., more of them with IKUSI_KILLS=20.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.data.pictures import (
    PictureServer,
    Request,
    dataset,
    here,
    jpeg,
    make_import,
    quick,
    sha,
)
from tests.data.test_inspect import png

from ikusi.core.artifact import Artifact
from ikusi.core.errors import StoreError
from ikusi.core.store import Store
from ikusi.core.types import ImageRef
from ikusi.data import image_step, netguard
from ikusi.data.image_commands import make_images
from ikusi.data.image_manifest import ManifestRow, read_rows
from ikusi.data.images import ImageReader, ImageWriter

SEED = int(os.environ.get("IKUSI_SEED", "0"))
KILLS = int(os.environ.get("IKUSI_KILLS", "3"))
COUNT = 40
AT_ONCE = 4
"""Pictures that are asked for or checked at a time: what a kill costs."""
NAMES = [f"p{number}" for number in range(COUNT)]

posix = pytest.mark.skipif(os.name == "nt", reason="needs signals and limits")


def rows(artifact: Artifact) -> list[ManifestRow]:
    return list(read_rows(artifact.path / "manifest.parquet"))


def check_whole(artifact: Artifact) -> None:
    """Fail unless the pictures of the usable rows are there, and only these."""
    artifact.verify()
    reader = ImageReader(artifact.path / "images")
    shas = [row.sha256 for row in rows(artifact) if row.status == "fetched"]
    assert list(reader.sha256s()) == shas
    for name in shas:
        assert name is not None
        assert sha(reader.read(name)) == name


# -- servers


def gif_of_many_frames() -> bytes:
    stream = io.BytesIO()
    Image.new("P", (32, 32), 1).save(stream, "GIF")
    one = stream.getvalue()
    start = one.index(b",")
    return one[:start] + one[start:-1] * 10_000 + b";"


def after(status: int, times: int) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        if request.count <= times:
            request.reply(status)
        else:
            request.reply(200, jpeg(status))

    return answer


def endless(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    request.close_connection = True
    for _ in range(1000):
        request.wfile.write(b"\xff\xd8\xff" + b"x" * 65536)


def redirect(target: str) -> Callable[[Request], None]:
    return lambda request: request.reply(302, Location=target)


BAD: dict[str, tuple[Any, str, str]] = {
    "good": (jpeg(1), "fetched", ""),
    "empty.jpg": (b"", "broken", "empty"),
    "cut.jpg": (jpeg(2)[:-400], "broken", "not-decodable"),
    "html.jpg": (b"<!doctype html><html>not here</html>", "broken", "format-html"),
    "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'></svg>", "broken", "format-svg"),
    "program.png": (b"\x7fELF\2\1\1\0" + b"\0" * 60, "broken", "format-unknown"),
    "bomb.png": (png(65_000, 65_000), "broken", "too-many-pixels"),
    "frames.gif": (gif_of_many_frames(), "fetched", ""),
    "endless.jpg": (endless, "dead", "too-large"),
    "huge.jpg": (lambda r: r.reply(200, b"", length=10**12), "dead", "too-large"),
    "hangs": (lambda r: r.hang(), "dead", "timeout"),
    "drops": (lambda r: r.drop(), "dead", "connection"),
    "once500": (after(500, 1), "fetched", ""),
    "twice429": (after(429, 2), "fetched", ""),
    "always500": (lambda r: r.reply(500), "dead", "http-500"),
    "always429": (lambda r: r.reply(429), "dead", "http-429"),
    "gone": (lambda r: r.reply(410), "dead", "http-410"),
    "noai": (lambda r: r.reply(200, jpeg(3), X_Robots_Tag="noai"), "dead", "noai"),
    "round": (redirect("/round"), "dead", "too-many-redirects"),
    "moved": (redirect("/good"), "duplicate", ""),
    "metadata": (redirect("http://169.254.169.254/latest/"), "dead", "private-address"),
    "mapped": (redirect("http://[::ffff:169.254.169.254]/"), "dead", "private-address"),
    "local": (redirect("http://localhost/secret"), "dead", "private-address"),
    "file": (redirect("file:///etc/passwd"), "dead", "scheme"),
    "ftp": (redirect("ftp://127.0.0.1/"), "dead", "scheme"),
    "named": (redirect("http://internal.test/secret"), "dead", "private-address"),
    "chain": (redirect("/metadata"), "dead", "private-address"),
    "nowhere": (redirect("http://[/"), "dead", "bad-url"),
}
DIRECT = {
    "http://internal.test/a.jpg": "private-address",
    "http://metadata.test/a.jpg": "private-address",
    "http://six.test/a.jpg": "private-address",
    "http://localhost:PORT/good": "private-address",
    "http://127.0.0.2:PORT/good": "private-address",
    "http://2130706434:PORT/good": "bad-url",
    "file:///etc/passwd": "scheme",
    "http://gone.test/a.jpg": "dns",
}
INSIDE = {
    "internal.test": (socket.AF_INET, "10.0.0.7"),
    "metadata.test": (socket.AF_INET, "169.254.169.254"),
    "six.test": (socket.AF_INET6, "fd00:ec2::254"),
    "localhost": (socket.AF_INET, "127.0.0.2"),
}


def look_up(host: str, port: int) -> list[Any]:
    if host in INSIDE:
        family, address = INSIDE[host]
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]
    return here(host, port)


@pytest.fixture
def only_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take 127.0.0.1 for a public address, and no other of this machine."""
    strict = netguard.refusal
    monkeypatch.setattr(
        netguard, "refusal", lambda address: None if address == "127.0.0.1" else strict(address)
    )


@pytest.mark.usefixtures("only_the_server")
def test_every_fault_has_its_row(tmp_path: Path) -> None:
    store = Store(tmp_path)
    routes = {name: answer for name, (answer, _, _) in BAD.items()}
    settings = quick(allow_private=False, max_bytes=1_000_000, network={"per_host": 30})
    with PictureServer(**routes) as server:
        direct = {
            url.replace("PORT", str(server.server_port)): reason for url, reason in DIRECT.items()
        }
        refs = [ImageRef(url=url) for url in [*map(server.url, BAD), *direct]]
        one = make_import(store, "set", refs)
        made = make_images(store, [dataset(store, one)], settings, lookup=look_up)
        found = {row.url: (row.status, row.reason) for row in rows(made)}
        wanted = {server.url(name): fault[1:] for name, fault in BAD.items()}
        wanted |= {url: ("dead", reason) for url, reason in direct.items()}
        assert found == wanted
        assert len(rows(made)) == len(refs) == made.stats["wanted"]
        assert sum(made.stats["status"].values()) == len(refs)
        assert not any("secret" in path for path in server.hits)
    check_whole(made)


@pytest.mark.usefixtures("only_the_server")
def test_a_name_that_changes_its_mind(tmp_path: Path) -> None:
    """What is connected to is what was checked, at every look at the name."""
    inside = socket.create_server(("127.0.0.2", 0))
    inside.settimeout(0.1)
    looks = 0

    def rebinding(host: str, port: int) -> list[Any]:
        nonlocal looks
        looks += 1
        address = "127.0.0.1" if looks % 2 else "127.0.0.2"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    port = inside.getsockname()[1]
    store = Store(tmp_path)
    hop = redirect(f"http://turn.test:{port}/a.jpg")
    with PictureServer(a=jpeg(1), hop=hop) as server:
        refs = [ImageRef(url=server.url(name, "turn.test")) for name in ("a", "hop")]
        one = make_import(store, "set", refs)
        settings = quick(allow_private=False, network={"connections": 1})
        made = make_images(store, [dataset(store, one)], settings, lookup=rebinding)
    assert [row.reason for row in rows(made)] == ["", "private-address"]
    with pytest.raises(TimeoutError):
        inside.accept()
    inside.close()


def test_half_a_parquet_file_of_records(tmp_path: Path) -> None:
    from ikusi.core.errors import IkusiError
    from ikusi.data.dataset import Dataset

    store = Store(tmp_path)
    one = make_import(store, "set", [ImageRef(url="http://example.org/a.jpg")] * 50)
    (path,) = (one.path / "records").glob("*.parquet")
    half = tmp_path / "half.parquet"
    half.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(IkusiError, match=r"half\.parquet") as caught:
        make_images(store, [Dataset("half", half)], quick())
    assert "\n" not in str(caught.value)


# -- the disk


@contextlib.contextmanager
def disk_fault(number: int, fault: Callable[[], None]) -> Iterator[list[str]]:
    """Call `fault` in the place of the `number`th change of the disk; give the changes so far."""
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:

        def disturb(owner: Any, name: str) -> None:
            original = getattr(owner, name)

            def changed(*args: Any, **kwargs: Any) -> Any:
                seen.append(name)
                if len(seen) == number:
                    fault()
                return original(*args, **kwargs)

            patch.setattr(owner, name, changed)

        for name in ("pwrite", "ftruncate", "fsync", "replace", "rename", "link", "unlink"):
            disturb(os, name)
        disturb(ImageWriter, "_write_batch")
        disturb(pq.ParquetWriter, "write_table")
        yield seen


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_step, "CHUNK_ROWS", 8)
    monkeypatch.setattr(image_step, "_SETTLE_BYTES", 30_000)


def build(store: Store, server: PictureServer) -> Artifact:
    one = make_import(store, "set", [ImageRef(url=f"http://pictures.test/{n}") for n in NAMES])

    def lookup(host: str, port: int) -> list[Any]:
        return here(host, server.server_port)

    # A busy machine is no server that hangs.
    settings = quick(network={"connections": AT_ONCE, "read_seconds": 20, "total_seconds": 60})
    return make_images(store, [dataset(store, one)], settings, lookup=lookup)


def serving() -> PictureServer:
    return PictureServer(**{name: jpeg(int(name[1:])) for name in NAMES})


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.slow
def test_full_disk_at_any_moment(tmp_path: Path) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with serving() as server:
        reference = build(Store(tmp_path / "reference"), server).manifest.payload
        store = Store(tmp_path / "counted")
        make_import(store, "set", [ImageRef(url=f"http://pictures.test/{n}") for n in NAMES])
        with disk_fault(-1, full) as seen:
            build(store, server)
        assert {"pwrite", "fsync", "replace", "link", "_write_batch", "write_table"} <= {*seen}
        chance = random.Random(SEED)
        # Up to the manifest; what the store does after that is its own affair.
        last = max(i for i, name in enumerate(seen, 1) if name == "replace")
        moments = [chance.randint(1, last) for _ in range(8)]
        moments += [seen.index(name) + 1 for name in ("fsync", "replace", "link", "_write_batch")]
        for number, moment in enumerate(moments):
            store = Store(tmp_path / str(number))
            make_import(store, "set", [ImageRef(url=f"http://pictures.test/{n}") for n in NAMES])
            server.hits.clear()
            with disk_fault(moment, full) as seen:
                try:
                    build(store, server)
                except StoreError as error:
                    assert "the disk is full" in str(error), moment
                    assert "\n" not in str(error)
                # Some faults are passed over, such as of a clearing up that may fail.
            made = build(store, server)
            check_whole(made)
            assert made.manifest.payload == reference, moment
            # The one that could not be written has given its place to another.
            assert sum(server.hits.values()) <= COUNT + 2 * AT_ONCE, moment


SCRIPT = """
import sys
from ikusi.data import image_step
image_step.CHUNK_ROWS, image_step._SETTLE_BYTES = 8, 30_000
sys.argv = ["ikusi", *sys.argv[1:]]
from ikusi.__main__ import main
main()
"""


def start(store: Store, name: str, *options: str, **kwargs: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, "images", name, "allow_private=true"]
    command += [f"network.connections={AT_ONCE}", *options]
    places = ["--store", str(store.root), "--runs", str(store.root.parent / "runs")]
    return subprocess.Popen(
        [*command, *places],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        **kwargs,
    )


def made_by(store: Store) -> Artifact:
    (found,) = Store(store.root).ls("images")
    check_whole(found)
    return found


@posix
@pytest.mark.slow
def test_kill_at_random_moments(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    with serving() as server:
        refs = [ImageRef(url=server.url(name)) for name in NAMES]
        store = Store(tmp_path / "reference" / "store")
        process = start(store, make_import(store, "set", refs).address)
        assert process.wait(60) == 0, process.communicate()
        reference = made_by(store).manifest.payload
        store = Store(tmp_path / "killed" / "store")
        name = make_import(store, "set", refs).address
        server.hits.clear()
        asked = 0
        for _ in range(KILLS):
            process = start(store, name)
            moment = asked + chance.randint(1, 2 * COUNT // KILLS)
            while process.poll() is None and sum(server.hits.values()) < moment:
                time.sleep(0.001)
            time.sleep(chance.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            asked = sum(server.hits.values())
        process = start(store, name)
        assert process.wait(60) == 0, process.communicate()
        process.communicate()
        assert made_by(store).manifest.payload == reference
        assert sum(server.hits.values()) <= COUNT + AT_ONCE * KILLS


@posix
@pytest.mark.slow
def test_a_limit_of_the_files_size(tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12_000, 12_000))

    with serving() as server:
        store = Store(tmp_path / "store")
        one = make_import(store, "set", [ImageRef(url=server.url(name)) for name in NAMES])
        process = start(store, one.address, preexec_fn=limit)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "larger than the disk or a limit" in told.splitlines()[-1]
        assert "Traceback" not in told
        process = start(store, one.address)
        assert process.wait(60) == 0, process.communicate()
        process.communicate()
        assert len(rows(made_by(store))) == COUNT


@posix
@pytest.mark.slow
def test_two_processes_on_one_artifact(tmp_path: Path) -> None:
    with serving() as server:
        store = Store(tmp_path / "store")
        one = make_import(store, "set", [ImageRef(url=server.url(name)) for name in NAMES])
        processes = [start(store, one.address) for _ in range(2)]
        for process in processes:
            out, told = process.communicate(timeout=100)
            assert process.returncode == 0, told
            assert f"{COUNT} pictures wanted: {COUNT} can be used" in out
        assert server.hits == dict.fromkeys([f"/{name}" for name in NAMES], 1)
        made_by(store)


@posix
@pytest.mark.slow
def test_ctrl_c_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    with serving() as server:
        slow = dict(server.routes)
        for path in list(slow)[20:]:
            server.routes[path] = lambda request: request.hang()
        store = Store(tmp_path / "store")
        one = make_import(store, "set", [ImageRef(url=server.url(name)) for name in NAMES])
        process = start(store, one.address)
        while process.poll() is None and sum(server.hits.values()) < 22:
            time.sleep(0.005)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130
        assert told.splitlines()[-1].startswith("ikusi: stopped.")
        assert "Traceback" not in told
        server.routes = slow
        process = start(store, one.address)
        assert process.wait(60) == 0, process.communicate()
        process.communicate()
        made_by(store)
        assert sum(count > 1 for count in server.hits.values()) <= AT_ONCE
