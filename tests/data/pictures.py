"""What the tests of the images step share: pictures, a server with manners of its own, imports."""

from __future__ import annotations

import hashlib
import io
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from PIL import Image

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.store import Store, work_folder
from ikusi.core.types import Image as ImagePart
from ikusi.core.types import ImageRef, Record, assistant, user
from ikusi.data.dataset import Dataset, open_dataset
from ikusi.data.image_settings import ImageSettings
from ikusi.data.images import ImageWriter
from ikusi.data.steps import run_step


def natural(seed: int, width: int = 96, height: int = 64) -> Image.Image:
    """Return a picture with large and small structures, different for each seed."""
    chance = np.random.default_rng(seed)
    coarse = chance.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
    noisy = smooth.astype(int) + chance.integers(-12, 13, smooth.shape)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))


def encode(picture: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def jpeg(seed: int) -> bytes:
    return encode(natural(seed), "JPEG")


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Request(BaseHTTPRequestHandler):
    """One request to a `PictureServer`, with answers of many kinds."""

    protocol_version = "HTTP/1.1"
    server: PictureServer

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        with self.server.lock:
            self.server.hits[path] += 1
            self.server.agents.add(self.headers["User-Agent"])
            self.server.busy += 1
            self.server.most_busy = max(self.server.most_busy, self.server.busy)
        try:
            answer = self.server.routes.get(path)
            if answer is None:
                self.reply(404)
            elif isinstance(answer, bytes):
                self.reply(200, answer)
            else:
                answer(self)
        finally:
            with self.server.lock:
                self.server.busy -= 1

    do_HEAD = do_GET

    def reply(
        self, status: int, body: bytes = b"", length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def drop(self) -> None:
        """Close the connection without a word."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def hang(self) -> None:
        """Say nothing until the server ends, or the other side gives up."""
        self.close_connection = True
        self.server.ended.wait(30)

    @property
    def count(self) -> int:
        """How often this path was asked for."""
        return self.server.hits[self.path.partition("?")[0]]

    def log_message(self, *args: Any) -> None:
        pass


Answer = bytes | Callable[[Request], None]


class PictureServer(ThreadingHTTPServer):
    """Answers by path: bytes, or whatever a function does; a context manager."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, **routes: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.routes: dict[str, Answer] = {f"/{name}": answer for name, answer in routes.items()}
        self.hits: Counter[str] = Counter()
        self.agents: set[str] = set()
        self.busy = self.most_busy = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep quiet: the other side hangs up as it likes."""

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.server_port}/{path}"


def here(host: str, port: int) -> list[Any]:
    """Look up any name as this machine; those that begin with `gone` do not exist."""
    host.encode("idna")  # as the system's does: a UnicodeError for what can be no name
    if host.startswith("gone"):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]


def quick(**settings: Any) -> ImageSettings:
    """Return settings that reach this machine and wait for nobody."""
    network = {
        "backoff_seconds": 0.01,
        "wait_seconds": 0.5,
        "connect_seconds": 2.0,
        "read_seconds": 0.5,
        "total_seconds": 5.0,
    } | settings.pop("network", {})
    return ImageSettings.parse({"allow_private": True, "network": network} | settings, "test")


def record(number: int, *images: ImageRef) -> Record:
    parts = [ImagePart(index) for index in range(len(images))]
    turns = (user(*parts, "Zer da hau?"), assistant("Irudi bat."))
    return Record(f"r{number}", f"g{number}", turns, "eu", "chat", "test", images)


def make_import(
    store: Store,
    name: str,
    images: Iterable[ImageRef | Sequence[ImageRef]],
    pictures: Sequence[bytes] = (),
) -> Artifact:
    """Build an import artifact by hand: a record for each reference, or group of them."""
    groups = [(ref,) if isinstance(ref, ImageRef) else tuple(ref) for ref in images]
    records = [record(number, *group) for number, group in enumerate(groups)]

    def write(out: Path) -> dict[str, Any]:
        if pictures:
            with ImageWriter(out / "images") as writer:
                for data in pictures:
                    writer.add(data)
        return run_step("import", records, lambda batch: batch, out, work_folder(out)).to_stats()

    config = {"refs": [[[ref.url, ref.sha256] for ref in group] for group in groups]}
    return store.build(Spec("import", name, 1, config), write)


def dataset(store: Store, artifact: Artifact) -> Dataset:
    return open_dataset(artifact.address, store)
