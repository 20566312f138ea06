"""Pictures by sha256: stored once, found at once, broken ones named."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import pickle
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ikusi.core.errors import DataError
from ikusi.data import images
from ikusi.data.images import ImageReader, ImageWriter


def picture(mode: str = "RGB", colour: object = (255, 0, 0), kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (4, 2), colour).save(stream, kind)  # type: ignore[arg-type]
    return stream.getvalue()


def test_round_trip_and_dedupe(tmp_path: Path) -> None:
    contents = [picture(colour=(n, 0, 0)) for n in range(20)]
    with ImageWriter(tmp_path) as writer:
        shas = [writer.add(data) for data in contents + contents]
    assert shas[:20] == shas[20:] == [*map(sha, contents), *map(sha, contents)][20:]
    reader = ImageReader(tmp_path)
    assert len(reader) == 20
    assert list(reader.sha256s()) == shas[:20]
    assert [reader.read(s) for s in shas[:20]] == contents
    assert shas[0] in reader
    assert sha(b"?") not in reader
    assert "nonsense" not in reader
    assert 7 not in reader


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=30), st.integers(1, 60))
def test_any_contents_over_many_files(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes], size: int
) -> None:
    folder = tmp_path_factory.mktemp("images")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_BATCH_BYTES", size)
        patch.setattr(images, "SHARD_BYTES", 2 * size)
        for half in (contents[::2], contents):  # the second time some are there already
            with ImageWriter(folder) as writer:
                for data in half:
                    assert writer.add(data) == sha(data)
    reader = ImageReader(folder)
    assert len(reader) == len(set(contents))
    assert {reader.read(sha(data)) for data in contents} == set(contents)


def test_same_pictures_same_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        with ImageWriter(tmp_path / name) as writer:
            for n in range(5):
                writer.add(picture(colour=(n, n, n)))
    a, b = (sorted((tmp_path / name).iterdir()) for name in ("a", "b"))
    assert [p.name for p in a] == ["images-00000.arrow"]
    assert a[0].read_bytes() == b[0].read_bytes()


def test_two_hashes_that_begin_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Alike:
        def __init__(self, data: bytes) -> None:
            self.data = data

        def digest(self) -> bytes:
            return b"\xff" * 24 + self.data.rjust(8)

    monkeypatch.setattr("ikusi.data.images.hashlib.sha256", Alike)
    with ImageWriter(tmp_path) as writer:
        shas = [writer.add(data) for data in (b"a", b"b", b"c")]
    reader = ImageReader(tmp_path)
    assert [reader.read(s) for s in shas] == [b"a", b"b", b"c"]
    assert ("ff" * 24 + "00" * 8) not in reader


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (picture("RGB", (1, 2, 3)), (1, 2, 3)),
        (picture("L", 9), (9, 9, 9)),
        (picture("RGBA", (255, 0, 0, 0)), (255, 255, 255)),
        (picture("LA", (0, 0)), (255, 255, 255)),
        (picture("P", 0, "GIF"), (0, 0, 0)),
        (picture("CMYK", (0, 0, 0, 255), "TIFF"), (0, 0, 0)),
    ],
)
def test_open_gives_rgb_on_white(tmp_path: Path, data: bytes, colour: tuple[int, ...]) -> None:
    with ImageWriter(tmp_path) as writer:
        name = writer.add(data)
    opened = ImageReader(tmp_path).open(name)
    assert opened.mode == "RGB"
    assert opened.getpixel((0, 0)) == colour


def test_open_turns_as_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turned by 90 degrees
    stream = io.BytesIO()
    Image.new("RGB", (4, 2)).save(stream, "JPEG", exif=exif)
    with ImageWriter(tmp_path) as writer:
        name = writer.add(stream.getvalue())
    assert ImageReader(tmp_path).open(name).size == (2, 4)


def test_what_is_missing_or_broken_is_said_in_one_line(tmp_path: Path) -> None:
    good = picture()
    with ImageWriter(tmp_path) as writer:
        broken = [writer.add(b"no picture"), writer.add(good[:-30]), writer.add(good[:20])]
        with pytest.raises(DataError, match="empty picture"):
            writer.add(b"")
    reader = ImageReader(tmp_path)
    for name in broken:
        with pytest.raises(DataError, match=f"{name}.*is broken") as caught:
            reader.open(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no picture 00"):
        reader.read("00" * 32)
    with pytest.raises(DataError, match="no such folder"):
        ImageReader(tmp_path / "absent")
    (tmp_path / "images-00001.arrow").write_text("no arrow")
    with pytest.raises(DataError, match="images-00001"):
        ImageReader(tmp_path)


def test_an_error_keeps_finished_files_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "_BATCH_BYTES", 1)
    monkeypatch.setattr(images, "SHARD_BYTES", 20)
    with pytest.raises(KeyboardInterrupt), ImageWriter(tmp_path) as writer:
        writer.add(b"a" * 25)
        writer.add(b"b" * 10)
        raise KeyboardInterrupt
    assert [p.name for p in tmp_path.iterdir()] == ["images-00000.arrow"]
    assert list(ImageReader(tmp_path).sha256s()) == [sha(b"a" * 25)]


def _length(reader: ImageReader) -> int:
    return len(reader.read(next(reader.sha256s())))


def test_reader_goes_to_other_processes(tmp_path: Path) -> None:
    with ImageWriter(tmp_path) as writer:
        writer.add(b"abc")
    reader = ImageReader(tmp_path)
    assert len(pickle.dumps(reader)) < 1000
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_length, (reader,)) == 3
