"""An import that is killed at any moment and started again gives what an undisturbed one gives."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.data.sources.samples import IMAGE

from ikusi.core.artifact import Artifact
from ikusi.core.store import Store
from ikusi.data.images import ImageReader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
ROWS, PICTURES = 30_000, 400
SEED = int(os.environ.get("SOAK_SEED", "0"))
KILLS = int(os.environ.get("IKUSI_KILLS", "3"))


def source(folder: Path) -> Path:
    """Write rows with pictures, one in ten of them empty: several shards of an import."""
    pictures = []
    for number in range(PICTURES):
        Image.new("RGB", (4, 4), (number % 256, number // 256, 7)).save(folder / "x.bmp")
        pictures.append((folder / "x.bmp").read_bytes())
    images = [
        {"bytes": b"" if n % 10 == 3 else pictures[n % PICTURES], "path": None} for n in range(ROWS)
    ]
    texts = [f"testua {n}" for n in range(ROWS)]
    table = pa.table({"image": pa.array(images, IMAGE), "transcription": texts})
    pq.write_table(table, folder / "ocr.parquet", row_group_size=4000)
    return folder / "ocr.parquet"


def start(folder: Path, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ikusi", "import", "ocr-eu", "--from", str(path)]
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(folder: Path, path: Path) -> Artifact:
    process = start(folder, path)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, out + err
    (artifact,) = Store(folder / "store").ls("import")
    artifact.verify()
    return artifact


def test_killed_at_random_moments(tmp_path: Path) -> None:
    path = source(tmp_path)
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    began = time.monotonic()
    whole = end(tmp_path / "whole", path)
    seconds = time.monotonic() - began
    draw = random.Random(SEED)
    for _ in range(KILLS):
        process = start(tmp_path / "killed", path)
        time.sleep(draw.uniform(0.3, 1.0) * seconds)
        process.kill()
        process.communicate()
    killed = end(tmp_path / "killed", path)
    assert killed.manifest.payload == whole.manifest.payload
    assert killed.stats == whole.stats
    assert killed.stats["read"] == ROWS
    assert killed.stats["dropped"] == {"image-empty": ROWS // 10}
    assert len(ImageReader(killed.path / "images")) == len(ImageReader(whole.path / "images"))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for the size of files")
def test_a_disk_that_is_full_is_one_line_and_can_go_on(tmp_path: Path) -> None:
    path = source(tmp_path)
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
        "from ikusi.__main__ import main; sys.argv[1:] = "
        f"['import', 'ocr-eu', '--from', {str(path)!r}]; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()[-1:]
    assert "larger than the disk or a limit" in line and "Traceback" not in done.stderr
    assert end(tmp_path, path).stats["read"] == ROWS
