"""Pictures by the sha256 of their bytes, in Arrow files that are mapped into memory.

Contract: a picture is stored once, whoever refers to it; reading one touches only its own pages
and takes the same time in a set of a hundred as of a million. Bytes are kept as they came.

    <folder>/images-00000.arrow   Arrow IPC: sha256 (32 bytes), data
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa

from ikusi.core import files
from ikusi.core.errors import DataError, first_line

if TYPE_CHECKING:
    from PIL import Image

SHARD_BYTES = 512 << 20
"""A new file is begun when one is this large: no file is awkward to copy."""
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""What is decoded, by Pillow's names. Its other decoders stay shut to files from strangers: some
of them start programs."""
MAX_PIXELS = 80_000_000
"""A picture of more is refused: as RGB it takes 240 MB."""
_BATCH_BYTES = 8 << 20  # what the writer keeps in memory
_FIELDS: list[pa.Field[Any]] = [
    pa.field("sha256", pa.binary(32)),
    pa.field("data", pa.large_binary()),
]
_SCHEMA = pa.schema(_FIELDS)


class ImageWriter:
    """Adds pictures to a folder; a context manager.

    When the body raises, the pictures of the unfinished file are lost, those of finished ones
    stay and are not stored again. The files depend on the calls alone.
    """

    def __init__(self, folder: Path) -> None:
        """Write to `folder`, which is made if needed and may hold pictures already.

        Raises:
            DataError: a file in it is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._known = {bytes.fromhex(sha) for sha in ImageReader(folder).sha256s()}
        self._shard = len(_shards(folder))
        self._batch: list[tuple[bytes, bytes]] = []
        self._batch_bytes = 0
        self._shard_bytes = 0
        self._writer: pa.RecordBatchFileWriter | None = None

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the last file, or drop it after an error."""
        if error is None:
            self.finish_file()
            return
        with contextlib.suppress(OSError):  # a full disk; the first error is the one to tell
            if self._writer is not None:
                self._writer.close()
        with contextlib.suppress(OSError):
            self._temporary.unlink(missing_ok=True)

    def __contains__(self, sha256: str) -> bool:
        """Return whether the picture was added, now or before."""
        return bytes.fromhex(sha256) in self._known

    def add(self, data: bytes, sha256: str | None = None) -> str:
        """Store a picture's bytes unless they are there, and return their sha256.

        The picture is not decoded: whoever reads it meets what is wrong with it.

        Args:
            data: the bytes.
            sha256: theirs, where it was computed already.

        Raises:
            DataError: there are no bytes.
        """
        if not data:
            raise DataError("An empty picture (0 bytes) cannot be stored. Leave it out.")
        digest = bytes.fromhex(sha256) if sha256 else hashlib.sha256(data).digest()
        if digest not in self._known:
            self._known.add(digest)
            self._batch.append((digest, bytes(data)))
            self._batch_bytes += len(data)
            if self._batch_bytes >= _BATCH_BYTES:
                self._write_batch()
                if self._shard_bytes >= SHARD_BYTES:
                    self.finish_file()
        return digest.hex()

    def finish_file(self) -> None:
        """Bring all that was added onto the disk; the next picture begins a new file."""
        self._write_batch()
        if self._writer is None:
            return
        self._writer.close()
        files.fsync_file(self._temporary)
        os.replace(self._temporary, self.folder / f"images-{self._shard:05d}.arrow")
        files.fsync_folder(self.folder)
        self._writer, self._shard_bytes = None, 0
        self._shard += 1

    @property
    def _temporary(self) -> Path:
        return self.folder / f".images-{self._shard:05d}.tmp"

    def _write_batch(self) -> None:
        if not self._batch:
            return
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._temporary), _SCHEMA)
        digests, contents = zip(*self._batch, strict=True)
        arrays: list[pa.Array[Any]] = [
            pa.array(digests, pa.binary(32)),
            pa.array(contents, pa.large_binary()),
        ]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=_SCHEMA))
        self._shard_bytes += self._batch_bytes
        self._batch, self._batch_bytes = [], 0


class ImageReader:
    """Reads pictures by sha256; may be shared by threads and sent to other processes."""

    def __init__(self, folder: Path) -> None:
        """Map the files in `folder` and read which pictures they hold.

        Raises:
            DataError: there is no such folder, or a file in it is damaged.
        """
        if not folder.is_dir():
            raise DataError(f"{folder}: there is no such folder of pictures.")
        self.folder = folder
        self._batches: list[pa.RecordBatch] = []
        digests: list[np.ndarray[Any, Any]] = []
        places: list[np.ndarray[Any, Any]] = []
        for path in _shards(folder):
            try:
                file = pa.ipc.open_file(pa.memory_map(str(path)))
                if file.schema != _SCHEMA:
                    raise pa.ArrowInvalid("its columns are not sha256 and data")
                for number in range(file.num_record_batches):
                    batch = file.get_batch(number)
                    rows = batch.num_rows
                    digests.append(_digests(batch))
                    places.append(np.full(rows, len(self._batches)) << 32 | np.arange(rows))
                    self._batches.append(batch)
            except (pa.ArrowException, OSError) as error:
                raise DataError(
                    f"{path}: cannot be read as Arrow ({first_line(error)}). Make it again."
                ) from None
        # A sorted array instead of a dictionary: 16 bytes a picture, and a search in it is as good
        # as constant. The first 8 bytes nearly always decide; the whole hash is compared after.
        all_digests = np.concatenate(digests) if digests else np.empty((0, 32), np.uint8)
        keys = np.ascontiguousarray(all_digests[:, :8]).view(">u8").ravel().astype(np.uint64)
        order = np.argsort(keys, kind="stable")
        self._keys = keys[order]
        self._places = np.concatenate(places)[order] if places else np.empty(0, np.int64)

    def __reduce__(self) -> tuple[type[ImageReader], tuple[Path]]:
        """Map the files again in the other process instead of copying them."""
        return ImageReader, (self.folder,)

    def __len__(self) -> int:
        """Return how many pictures there are."""
        return len(self._keys)

    def __contains__(self, sha256: object) -> bool:
        """Return whether the picture is there."""
        return isinstance(sha256, str) and self._find(sha256) is not None

    def sha256s(self) -> Iterator[str]:
        """Yield the sha256 of every picture, in the order in which they were added."""
        for batch in self._batches:
            for digest in batch.column(0):
                yield digest.as_py().hex()

    def read(self, sha256: str) -> bytes:
        """Return a picture's bytes.

        Raises:
            DataError: it is not there.
        """
        place = self._find(sha256)
        if place is None:
            raise DataError(f"{self.folder}: has no picture {sha256}. Import the images again.")
        batch, row = place
        data: bytes = self._batches[batch].column(1)[row].as_py()
        return data

    def open(self, sha256: str) -> Image.Image:
        """Return a picture as RGB, upright as its EXIF says, transparent parts on white.

        Raises:
            DataError: it is not there, or cannot be decoded.
        """
        data = self.read(sha256)
        try:
            return decode(data)
        except DataError as error:
            raise DataError(
                f"{self.folder}: picture {sha256} ({len(data)} bytes) is broken: {error}. "
                "Drop its records or import it again."
            ) from None

    def _find(self, sha256: str) -> tuple[int, int] | None:
        try:
            digest = bytes.fromhex(sha256)
        except ValueError:
            return None
        if len(digest) != 32:
            return None
        key = np.uint64(int.from_bytes(digest[:8], "big"))
        start = int(np.searchsorted(self._keys, key, "left"))
        while start < len(self._keys) and self._keys[start] == key:
            batch, row = int(self._places[start]) >> 32, int(self._places[start]) & 0xFFFFFFFF
            if self._batches[batch].column(0)[row].as_py() == digest:
                return batch, row
            start += 1
        return None


class TooManyPixels(DataError):
    """A picture that would take too much memory; nothing of it was decoded."""


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return a picture's bytes as RGB, upright as its EXIF says, transparent parts on white.

    Of an animation the first frame, of several pages the first one; 16 bits a sample become 8.

    Args:
        data: in one of `FORMATS`.
        max_pixels: width x height at most, looked at before anything is decoded.

    Raises:
        TooManyPixels: there are more.
        DataError: they cannot be decoded; says why, for a sentence to end with.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    _prepare_pillow()
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > max_pixels:
                raise TooManyPixels(f"{width} x {height} pixels, more than {max_pixels:,}")
            picture.load()
            with contextlib.suppress(Exception):  # broken EXIF does not make a picture broken
                ImageOps.exif_transpose(picture, in_place=True)
            return _to_rgb(picture)
    except UnidentifiedImageError:
        raise DataError("no known picture format") from None
    except Image.DecompressionBombError as error:
        raise TooManyPixels(first_line(error)) from None
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a broken file leads them to
        raise DataError(first_line(error)) from None


@cache
def _prepare_pillow() -> None:
    from PIL import Image

    # Our own limit is checked before anything is decoded, and what is wrong with a file is in the
    # error or did no harm: among millions of pictures nobody reads warnings.
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _to_rgb(picture: Image.Image) -> Image.Image:
    from PIL import Image

    if picture.mode.startswith("I;16"):  # Pillow's own conversion would make nearly all of it white
        high = np.asarray(picture).astype(np.uint16) >> 8
        return Image.fromarray(high.astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise DataError(f"32 bits a sample (mode {picture.mode}), and nothing tells their range")
    if not picture.has_transparency_data:
        # It is loaded, so it needs no file any more; a copy would take a fifth of the decoding.
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    layers = picture.convert("RGBA")
    white = Image.new("RGBA", layers.size, "white")
    return Image.alpha_composite(white, layers).convert("RGB")


def _shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("images-*.arrow"))


def _digests(batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
    """Return uint8[rows, 32], without copying."""
    column = batch.column(0)
    buffer = column.buffers()[1]
    flat = np.frombuffer(memoryview(buffer or b""), np.uint8)
    start = column.offset * 32
    return flat[start : start + batch.num_rows * 32].reshape(-1, 32)
