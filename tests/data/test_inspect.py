"""What is a picture: told by its content, decoded to the end, hashed so that likes are alike."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.GifImagePlugin import GifImageFile
from tests.data.pictures import encode, natural

from ikusi.data.images import decode
from ikusi.data.inspect import inspect, perceptual_hash, sniff

KINDS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
PICTURE = natural(3)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_told_by_its_content(kind: str) -> None:
    found = inspect(encode(PICTURE, kind))
    assert (found.format, found.reason) == (kind.lower(), "")
    assert (found.width, found.height) == PICTURE.size
    assert found.phash is not None
    likes = perceptual_hash(PICTURE)
    assert (found.phash ^ likes).bit_count() <= (12 if kind == "GIF" else 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_cut_files_are_broken(kind: str, share: float) -> None:
    data = encode(PICTURE, kind)
    found = inspect(data[: int(len(data) * share)])
    assert found.reason == "not-decodable"
    assert found.detail
    assert found.phash is None


OTHERS = {
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "svg behind a declaration": b"<?xml version='1.0'?>\n<!-- a comment -->\n<svg width='9'/>",
    "html": b"<!DOCTYPE html><html><body>404</body></html>",
    "html in capitals behind blanks": b"\n\n  <HTML><HEAD>",
    "html as utf-16": "\ufeff<html>".encode("utf-16-le"),
    "xml": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
    "json": b'{"error": "gone"}',
    "text": b"Ez dago hemen: irudia kendu dugu." + "ñ".encode()[:1],
    "avif": b"\0\0\0\x1cftypavif\0\0\0\0avifmif1",
    "heic": b"\0\0\0\x18ftypheic\0\0\0\0",
    "video": b"\0\0\0\x18ftypmp42\0\0\0\0",
    "pdf": b"%PDF-1.7\n",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n",
    "gzip": b"\x1f\x8b\x08\0",
    "zip": b"PK\3\4",
    "ico": b"\0\0\1\0\1\0",
    "psd": b"8BPS\0\1",
    "unknown": b"\0" * 100,
    "unknown noise": bytes(range(128, 200)),
    "unknown riff": b"RIFF\0\0\0\0WAVE",
}


@pytest.mark.parametrize(("name", "data"), OTHERS.items(), ids=list(OTHERS))
def test_what_is_no_picture_is_named(name: str, data: bytes) -> None:
    kind = name.split()[0]
    assert sniff(data) == kind
    assert inspect(data).reason == f"format-{kind}"


def test_nothing() -> None:
    assert inspect(b"").reason == "empty"


@given(st.binary(max_size=200))
def test_any_bytes_get_a_verdict(data: bytes) -> None:
    assert inspect(data).reason


@given(st.sampled_from(KINDS), st.integers(0, 2**32), st.integers(0, 255))
def test_damaged_pictures_get_a_verdict(kind: str, place: int, value: int) -> None:
    data = bytearray(encode(natural(5, 24, 16), kind))
    data[place % len(data)] = value
    found = inspect(bytes(data))
    assert bool(found.reason) == (found.phash is None)


def png(width: int, height: int, depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG that says it has this size, with nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    "size", [(65_000, 65_000), (65_000, 2_000), (2**31 - 1, 1), (9_000, 9_000)]
)
def test_bombs_are_not_decoded(size: tuple[int, int]) -> None:
    assert inspect(png(*size)).reason == "too-many-pixels"


def test_the_limit_of_pixels_is_exact() -> None:
    data = encode(PICTURE, "PNG")
    pixels = PICTURE.width * PICTURE.height
    assert inspect(data, pixels).reason == ""
    found = inspect(data, pixels - 1)
    assert (found.reason, found.detail) == ("too-many-pixels", "96 x 64 pixels, more than 6,143")


def test_of_an_animation_the_first_frame() -> None:
    frames = [Image.new("P", (8, 8), n % 2) for n in range(500)]
    for frame in frames:
        frame.putpalette([250, 0, 0, 0, 0, 250])
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=20)
    animated = stream.getvalue()
    assert Image.open(io.BytesIO(animated)).n_frames == 500  # type: ignore[attr-defined]
    assert inspect(animated).reason == ""
    assert decode(animated).getpixel((0, 0)) == (250, 0, 0)
    small = [natural(n, 16, 16) for n in range(3)]
    for kind in ("WEBP", "PNG", "TIFF"):
        options = {"lossless": True} if kind == "WEBP" else {}
        data = encode(small[0], kind, save_all=True, append_images=small[1:], **options)
        assert decode(data).tobytes() == small[0].tobytes()


def test_a_gif_of_ten_thousand_frames_costs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one = encode(Image.new("P", (64, 64), 1), "GIF")
    start = one.index(b"!\xf9") if b"!\xf9" in one else one.index(b",")
    many = one[:start] + one[start:-1] * 10_000 + b";"
    frames = 0
    original = GifImageFile._seek

    def seek(*arguments: Any, **options: Any) -> None:
        nonlocal frames
        frames += 1
        original(*arguments, **options)

    monkeypatch.setattr(GifImageFile, "_seek", seek)
    assert inspect(many).reason == ""
    assert frames == 1


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_exif_says(orientation: int) -> None:
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste("red", (0, 0, 20, 10))  # upper left
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = picture if turned is None else picture.transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "PNG", exif=exif)
    found = inspect(data)
    assert (found.width, found.height) == (40, 20)
    assert found.phash == perceptual_hash(picture)
    assert decode(data).tobytes() == picture.tobytes()


def test_broken_exif_does_not_break_a_picture() -> None:
    data = encode(PICTURE, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\0\0nonsense")
    assert inspect(data).reason == ""


def test_sixteen_bits() -> None:
    ramp = np.linspace(0, 65535, 64 * 32).astype(np.uint16).reshape(32, 64)
    for kind in ("PNG", "TIFF"):
        decoded = np.asarray(decode(encode(Image.fromarray(ramp), kind)))
        assert decoded.shape == (32, 64, 3)
        assert np.array_equal(decoded[..., 1], ramp >> 8)
    big_endian = Image.frombytes("I;16B", (64, 32), ramp.astype(">u2").tobytes())
    decoded = np.asarray(decode(encode(big_endian, "TIFF")))
    assert np.array_equal(decoded[..., 0], ramp >> 8)
    assert inspect(encode(Image.new("F", (4, 4)), "TIFF")).reason == "not-decodable"


def test_cmyk_palette_and_transparency() -> None:
    cmyk = inspect(encode(PICTURE.convert("CMYK"), "JPEG", quality=95))
    assert cmyk.reason == ""
    assert cmyk.phash is not None
    assert (cmyk.phash ^ perceptual_hash(PICTURE)).bit_count() <= 4
    red = decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(np.asarray(red)[0, 0].astype(int) - (255, 0, 0)).max() < 8
    palette = PICTURE.convert("P", palette=Image.Palette.ADAPTIVE)
    assert decode(encode(palette, "PNG")).tobytes() == palette.convert("RGB").tobytes()
    palette.info["transparency"] = palette.getpixel((0, 0))
    shown = decode(encode(palette, "PNG", transparency=palette.getpixel((0, 0))))
    assert shown.getpixel((0, 0)) == (255, 255, 255)
    bilevel = PICTURE.convert("1")
    assert decode(encode(bilevel, "TIFF")).tobytes() == bilevel.convert("RGB").tobytes()


def test_the_hash_is_that_of_imagehash_but_for_few_bits() -> None:
    far = []
    for seed in range(60):
        picture = natural(seed, 120 + 5 * seed, 420 - 4 * seed)
        reference = int(str(imagehash.phash(picture)), 16)
        far.append((perceptual_hash(picture) ^ reference).bit_count())
    assert max(far) <= 4
    assert far.count(0) > 30
    small = natural(7, 60, 90)  # nothing to shrink in two steps: exactly the same
    assert perceptual_hash(small) == int(str(imagehash.phash(small)), 16)


def test_likes_are_alike_and_others_are_not() -> None:
    picture = natural(11, 320, 240)
    likes = [
        picture.resize((160, 120)),
        decode(encode(picture, "JPEG", quality=40)),
        picture.point(lambda value: min(255, int(value * 1.1))),
    ]
    own = perceptual_hash(picture)
    assert max((perceptual_hash(like) ^ own).bit_count() for like in likes) <= 6
    others = [perceptual_hash(natural(seed, 320, 240)) for seed in range(12, 40)]
    assert min((other ^ own).bit_count() for other in others) >= 12


def test_pictures_of_one_colour_have_one_hash() -> None:
    for size in ((7, 5), (640, 480)):
        hashes = {perceptual_hash(Image.new("RGB", size, (c, c, c))) for c in (1, 127, 255)}
        assert hashes == {1 << 63}
        assert perceptual_hash(Image.new("RGB", size)) == 0
