"""What the images step does with a picture that came, against decoding it with Pillow alone.

    python benchmarks/images.py

JPEG files of the sizes that caption sets have, made here (noise whose strength falls with its
frequency, as in photographs) and kept in memory. In turns, in one thread: Pillow decodes each to
RGB; and the step's own functions take each through all that happens to it after the download:
format by content, limits, decoding, upright, perceptual hash, sha256, the spool and its way from
there into a finished Arrow file on the disk, fsync included.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from measuring import Row, conditions, tell
from PIL import Image

from ikusi.data.image_plan import Wanted
from ikusi.data.image_settings import ImageSettings
from ikusi.data.image_spool import Spool
from ikusi.data.image_step import judge
from ikusi.data.images import ImageWriter
from ikusi.data.inspect import inspect

SIZES = ((640, 480), (500, 375), (800, 600), (1024, 683), (480, 640))
LIMIT = 1.5


def photographs(count: int) -> list[bytes]:
    """Return JPEG files, quality 85."""
    chance = np.random.default_rng(0)
    made = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
        frequency[0, 0] = 1
        layers = []
        for _ in range(3):
            waves = chance.normal(size=frequency.shape) + 1j * chance.normal(size=frequency.shape)
            layer = np.fft.irfft2(waves / frequency, (height, width))
            layers.append(layer / layer.std())
        light, *colours = layers
        pixels = np.stack([light, *(0.8 * light + 0.2 * colour for colour in colours)], axis=-1)
        stream = io.BytesIO()
        levels = (128 + 50 * pixels).clip(0, 255).astype(np.uint8)
        Image.fromarray(levels).save(stream, "JPEG", quality=85)
        made.append(stream.getvalue())
    return made


def decode_alone(pictures: Sequence[bytes], _: Path) -> None:
    """Decode with Pillow and nothing else."""
    for data in pictures:
        with Image.open(io.BytesIO(data)) as picture:
            picture.convert("RGB")


def verify(pictures: Sequence[bytes], _: Path) -> None:
    """Decode, check and hash."""
    for data in pictures:
        assert not inspect(data).reason


def whole_path(pictures: Sequence[bytes], folder: Path) -> None:
    """Do all that the step does after a download."""
    settings = ImageSettings()
    with Spool(folder / "0.spool") as spool, ImageWriter(folder / "images") as writer:
        for index, data in enumerate(pictures):
            wanted = Wanted(f"http://example.org/{index}", None)
            row, kept = judge(wanted, partial(bytes, data), settings)
            spool.append(index, row, kept)
        for index in range(len(pictures)):
            entry = spool.entries[index]
            writer.add(spool.read(entry), entry.row.sha256)


WAYS = {"Pillow alone": decode_alone, "verified": verify, "whole path": whole_path}


def main() -> None:
    """Measure, and tell."""
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--pictures", type=int, default=400)
    arguments.add_argument("--turns", type=int, default=5, help="of each way")
    arguments.add_argument("--out", type=Path, help="default: benchmarks/results/<this>-jpeg.json")
    chosen = arguments.parse_args(namespace=argparse.Namespace(recipe="jpeg", overrides=[]))
    where = conditions() | {"threads": 1}
    pictures = photographs(chosen.pictures)
    wall: dict[str, list[float]] = {way: [] for way in WAYS}
    busy: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(chosen.turns):
        for way, act in WAYS.items():
            with tempfile.TemporaryDirectory() as folder:
                begun = time.monotonic(), time.process_time()
                act(pictures, Path(folder))
                wall[way].append((time.monotonic() - begun[0]) / len(pictures))
                busy[way].append((time.process_time() - begun[1]) / len(pictures))
    # Ratios within a turn: what else the machine does then touches both alike.
    ratios = {
        (kind, way): statistics.median(
            one / base for one, base in zip(took[way], took["Pillow alone"], strict=True)
        )
        for kind, took in (("wall", wall), ("processor", busy))
        for way in WAYS
    }
    rows = [Row(f"{way}, a picture", 1e3 * statistics.median(wall[way]), "ms") for way in WAYS]
    rows += [
        Row("verified / Pillow alone", ratios["wall", "verified"], ""),
        Row("whole path / Pillow alone", ratios["wall", "whole path"], "", LIMIT),
        Row("whole path / Pillow alone, processor", ratios["processor", "whole path"], "", LIMIT),
        Row("bytes of a picture", statistics.mean(map(len, pictures)), ""),
    ]
    tell(chosen, where, rows, {"wall_seconds": wall, "processor_seconds": busy})


if __name__ == "__main__":
    main()
