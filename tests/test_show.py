"""`ikusi show`: every kind of artifact, and its pieces."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from ikusi.__main__ import run
from ikusi.core.store import Store
from ikusi.data.mix import MixtureSettings
from ikusi.show import asked_counts, contact_sheet, sparkline

KINDS = {
    "import": "Records: 2 of",
    "mix": "Mixture: 250 records",
    "pictures": "Pictures: 2 of",
    "tokenizer": "vocab_size",
    "encoder": "accuracy.cells",
    "text": "parameters, trained",
    "align": "loss ",
    "instruct": "parameters, frozen",
    "evaluate": "Scores by task: main",
}


def test_sparkline() -> None:
    assert sparkline([0, 7]) == "▁█"
    assert sparkline([3.0] * 5) == "▁" * 5
    assert sparkline([1]) == "▁"
    assert len(sparkline(list(range(1000)), width=60)) == 60
    assert sparkline(list(range(1000)), width=8) == "▁▂▃▄▅▆▇█"


def test_contact_sheet_keeps_shapes_and_leaves_gaps() -> None:
    pictures = [Image.new("RGB", (10, 20), "red"), None, *[Image.new("RGB", (9, 9), "blue")] * 4]
    sheet = contact_sheet(pictures)
    assert sheet.width > sheet.height
    assert sheet.getpixel((8 + 40, 8 + 100)) == (255, 0, 0)
    assert sheet.getpixel((8 + 150, 8 + 100)) == (255, 255, 255)
    assert sheet.getpixel((8 + 200 + 100, 8 + 100)) == (255, 255, 255)


def test_asked_counts_are_of_the_settings() -> None:
    data = {
        "budget": {"samples": 1000},
        "multimodal": {"target_share": 0.25},
        "text": {"share": 0.15, "target_share": 0.4},
        "pivot_only": {"share": 0.05},
    }
    counts = asked_counts(MixtureSettings.parse(data, "m"), "en", "eu")
    assert counts == {"multimodal": {"eu": 200, "en": 650}, "text": {"eu": 60, "en": 90}}
    alone = MixtureSettings.parse({**data, "only": "target"}, "m")
    assert asked_counts(alone, "en", "eu") == {"multimodal": {"eu": 200}, "text": {"eu": 60}}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("tiny study")
class TestStudy:
    """A look at what the tiny study made."""

    @pytest.mark.parametrize(("kind", "part"), KINDS.items())
    def test_every_kind(
        self,
        kind: str,
        part: str,
        tiny_study: Path,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("COLUMNS", "80")
        artifacts = Store(tiny_study / "store").ls(kind)
        artifact = next((a for a in artifacts if "instruct" in a.address), artifacts[0])
        assert run(
            ["show", artifact.address, "--limit", "2", "--store", str(artifact.path.parents[1])]
        ) == (0, "")
        out = capsys.readouterr().out
        assert part in out
        for address in artifact.manifest.inputs.values():
            assert address in out
        assert "Configuration" in out
        paths = re.findall(r"pictures: (\S+\.png)", out)
        assert bool(paths) == (kind in ("import", "mix", "pictures"))
        for path in paths:
            with Image.open(path) as sheet:
                assert sheet.width > 100
            Path(path).unlink()
        wide = [line for line in out.splitlines() if len(line) > 80]
        assert all(line.startswith(("pictures: ", "/")) for line in wide)

    def test_damaged_pictures_of_an_input_stay_blank(
        self, tiny_study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shutil.copytree(tiny_study / "store", tmp_path / "store")
        for images in (tmp_path / "store" / "pictures").glob("align-*/images/*.arrow"):
            content = bytearray(images.read_bytes())
            content[2000:-2000] = bytes(byte ^ 1 for byte in content[2000:-2000])
            images.write_bytes(content)
        mixture = next((tmp_path / "store" / "mix").glob("align-*"))
        assert run(["show", str(mixture), "--limit", "1"]) == (0, "")
        path = re.findall(r"pictures: (\S+\.png)", capsys.readouterr().out)[0]
        with Image.open(path) as sheet:
            assert sheet.getpixel((100, 100)) == (255, 255, 255)
        Path(path).unlink()

    def test_by_link(self, tiny_study: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert run(["show", str(tiny_study / "runs" / "tiny" / "best")]) == (0, "")
        assert capsys.readouterr().out.startswith("instruct/")

    def test_a_damaged_one_is_not_shown(self, tiny_study: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_study / "store" / "evaluate", tmp_path / "evaluate")
        results = next((tmp_path / "evaluate").glob("*/results.parquet"))
        results.write_bytes(results.read_bytes()[:-1])
        code, line = run(["show", str(results.parent)])
        assert code == 1
        assert "bytes instead of" in line
