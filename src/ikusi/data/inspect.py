"""Whether bytes are a picture that can be used: its format, its size, its perceptual hash.

Place: under the images step, for whatever came from a server or stood in a data set. Contract:
what passes here is decoded by `data/images.decode` without an error; nothing is decoded before its
format was told by its content and its number of pixels was looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ikusi.core.errors import DataError
from ikusi.data.images import MAX_PIXELS, TooManyPixels, decode

if TYPE_CHECKING:
    from PIL import Image

FORMATS = frozenset({"jpeg", "png", "webp", "gif", "bmp", "tiff"})
"""What is accepted, by the names that `sniff` gives."""

_HASH_SIDE = 8  # frequencies each way: 64 bits
_GRID = 32  # pixels each way that they are taken from
_GAP = 3.0  # as many times the grid's pixels are left by the first, coarse way of shrinking
_HEAD = 1024  # bytes in which a text format must show itself
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"%PDF", "pdf"),
    (b"%!PS", "postscript"),
    (b"\xc5\xd0\xd3\xc6", "postscript"),
    (b"8BPS", "psd"),
    (b"\0\0\1\0", "ico"),
    (b"\xff\x0a", "jxl"),
    (b"\0\0\0\x0cJXL ", "jxl"),
    (b"\0\0\0\x0cjP  ", "jp2"),
    (b"\xff\x4f\xff\x51", "jp2"),
    (b"\x1f\x8b", "gzip"),
    (b"PK\3\4", "zip"),
    (b"\x1aE\xdf\xa3", "video"),
)
_BRANDS = {b"avif": "avif", b"avis": "avif"} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"), "heic"
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found out about some bytes; without a `reason` they are a picture."""

    format: str
    """By content, such as `jpeg`; `unknown` when nothing tells."""
    reason: str = ""
    """Why they cannot be used: a short name that is counted."""
    detail: str = ""
    width: int | None = None
    """Pixels, upright."""
    height: int | None = None
    phash: int | None = None
    """64 bits, see `perceptual_hash`."""


def inspect(data: bytes, max_pixels: int = MAX_PIXELS) -> Verdict:
    """Return what `data` is, after decoding all of it.

    Args:
        data: from anywhere.
        max_pixels: width x height at most.
    """
    if not data:
        return Verdict("unknown", "empty", "0 bytes")
    kind = sniff(data)
    if kind not in FORMATS:
        return Verdict(kind, f"format-{kind}", f"begins with {data[:24]!r}")
    try:
        picture = decode(data, max_pixels)
    except TooManyPixels as error:
        return Verdict(kind, "too-many-pixels", str(error))
    except DataError as error:
        return Verdict(kind, "not-decodable", str(error))
    return Verdict(kind, "", "", picture.width, picture.height, perceptual_hash(picture))


def sniff(data: bytes) -> str:
    """Return the format of `data` by its content: `jpeg`, `html`, ..., or `unknown`."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF":
        return "webp" if data[8:12] == b"WEBP" else "unknown"
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "video")
    return _sniff_text(data[:_HEAD])


def _sniff_text(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head.decode("utf-16", "replace").encode()
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if b"<svg" in text:
        return "svg"
    if any(mark in text for mark in (b"<!doctype html", b"<html", b"<head", b"<body")):
        return "html"
    if text.startswith(b"<?xml"):
        return "xml"
    if text.startswith((b"{", b"[")):
        return "json"
    if not text or b"\0" in text:
        return "unknown"
    try:
        text[: max(len(text) - 4, 1)].decode()  # the last character may be cut
    except UnicodeDecodeError:
        return "unknown"
    return "text"


def perceptual_hash(picture: Image.Image) -> int:
    """Return 64 bits that pictures which look alike share but for a few.

    The hash of imagehash's `phash`: which of the lowest 8 x 8 frequencies of the picture, made grey
    and 32 x 32 pixels, lie above their median; row by row, the first in the highest bit. Shrinking
    begins with means of whole blocks of pixels, which takes a quarter of the time and changes two
    bits in some of the pictures. Noise below 1e-6 counts as nothing, so that a picture of
    one colour has one hash on all machines.

    Args:
        picture: RGB.
    """
    from PIL.Image import Resampling

    grey = picture.convert("L")
    small = grey.resize((_GRID, _GRID), Resampling.LANCZOS, reducing_gap=_GAP)
    waves = _waves()
    frequencies = np.round(waves @ np.asarray(small, np.float64) @ waves.T, 6)
    return int.from_bytes(np.packbits(frequencies > np.median(frequencies)).tobytes(), "big")


@cache
def _waves() -> np.ndarray[Any, Any]:
    """Return float64[8, 32]: the lowest frequencies of a discrete cosine transform (type 2)."""
    places = 2 * np.arange(_GRID) + 1
    waves: np.ndarray[Any, Any] = np.cos(
        np.pi * places[None, :] * np.arange(_HASH_SIDE)[:, None] / (2 * _GRID)
    )
    return waves
