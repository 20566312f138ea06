"""`ikusi check`: every kind of trouble is found, and a good file passes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.data.sources.samples import FILES, URLS, jsonl, png

from ikusi.__main__ import run
from ikusi.data.sources.registry import SOURCES

SAID = [{"from": "human", "value": "Zer da?"}, {"from": "gpt", "value": "Txakurra."}]


def judge(path: Path, *options: str) -> tuple[int, str]:
    code, line = run(["check", str(path), *options])
    assert not line, line
    return code, line


def said(user: str, assistant: str = "Bai.") -> list[dict[str, str]]:
    return [{"from": "human", "value": user}, {"from": "gpt", "value": assistant}]


@pytest.mark.parametrize("name", sorted(set(FILES) - {"wit"}))
def test_files_as_published_have_no_errors(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = FILES[name](tmp_path)
    options = ["--language", "eu"] if SOURCES[name].any_language else []
    code, line = run(["check", str(path), "--format", name, *options])
    out = capsys.readouterr().out
    assert line == ""
    if name == "pixmo-cap-qa":  # in the sample, `<image>` is typed in a text without marks
        assert code == 1 and "special-token" in out
    else:
        assert code == 0, out
        assert "no errors" in out


FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"conversations": said("<image>\nZer da?")}, "image-marks"),
    ({"conversations": said("Zer da?"), "image": "1.png"}, "image-marks"),
    ({"conversations": said("<image><image>?"), "image": "1.png"}, "image-marks"),
    ({"conversations": said("<image>?"), "image": "no.png"}, "image-missing"),
    ({"conversations": said("<image>?"), "image": "cut.png"}, "image-broken"),
    ({"conversations": said("<image>?"), "image": "page.jpg"}, "image-broken"),
    ({"conversations": said("<image>?"), "image": "empty.png"}, "image-empty"),
    ({"conversations": said("")}, "turn-empty"),
    ({"conversations": said("a", "\n")}, "turn-empty"),
    ({"conversations": SAID[::-1]}, "roles-out-of-order"),
    ({"conversations": SAID[:1]}, "answer-missing"),
    ({"conversations": [*SAID, {"from": "tool", "value": "x"}]}, "role-unknown"),
    ({"conversations": said("a<|eot_id|>b")}, "special-token"),
    ({"conversations": said("a", "b</s>")}, "special-token"),
    ({"conversations": said("[INST] a")}, "special-token"),
    ({"conversations": said("Zer Ã±a da?")}, "encoding-damage"),
    ({"conversations": said("itâ€™s")}, "encoding-damage"),
    ({"conversations": said("a\ufffdb")}, "encoding-damage"),
    ({"conversations": said("a\0b")}, "not-storable"),
    ({"conversations": said("a\ud800b")}, "not-storable"),
    ({"conversations": "x"}, "turns-type"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "1.png").write_bytes(png())
    (tmp_path / "cut.png").write_bytes(png()[:40])
    (tmp_path / "page.jpg").write_text("<html>not found</html>")
    (tmp_path / "empty.png").write_bytes(b"")
    return tmp_path


@pytest.mark.parametrize(
    ("row", "reason"), FAULTS, ids=[f"{n}-{r}" for n, (_, r) in enumerate(FAULTS)]
)
def test_faults(
    row: dict[str, Any], reason: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "a.jsonl"
    lines = [json.dumps(r) for r in ({"id": 1, "conversations": SAID}, row, row)]
    path.write_text("\n\n".join(lines), "utf-8")
    assert judge(path)[0] == 1
    out = capsys.readouterr().out
    found = [line for line in out.splitlines() if line.startswith("error")]
    assert len(found) == 1, out
    assert re.match(rf"error\s+{reason}\s+2\s+line 3, line 5\s+\S", found[0]), out
    assert "3 rows, 2 with errors" in out


def test_all_faults_of_a_row_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"image": "no.png", "conversations": [*said("<s> Ã± <image><image>"), SAID[1]]}
    jsonl(folder / "a.jsonl", [{"conversations": SAID}, row])
    assert judge(folder / "a.jsonl")[0] == 1
    out = capsys.readouterr().out
    for reason in (
        *("image-missing", "image-marks", "roles-out-of-order"),
        *("special-token", "encoding-damage"),
    ):
        assert f" {reason} " in out


def test_duplicate_ids(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids: list[Any] = ["a", "b", "a", 1, "1", "a", None, None]
    jsonl(folder / "a.jsonl", [{"id": own, "conversations": SAID} for own in ids])
    assert judge(folder / "a.jsonl")[0] == 1
    assert re.search(r"id-duplicate\s+3\s+line 3, line 5, line 6", capsys.readouterr().out)


def test_notes_are_no_errors(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jsonl(folder / "a.jsonl", [{"conversations": said("a\u202eb\x07")}])
    assert judge(folder / "a.jsonl")[0] == 0
    out = capsys.readouterr().out
    assert "note" in out and "direction-override" in out and "control-characters" in out


def test_urls_are_not_contacted_and_pictures_found(folder: Path) -> None:
    (folder / "sub").mkdir()
    rows = [{"messages": m, "images": i} for m, i in (_swift(URLS[0]), _swift("1.png"))]
    path = jsonl(folder / "sub" / "a.jsonl", rows)
    assert judge(path)[0] == 1  # the second is not in the file's folder
    assert judge(path, "--images", str(folder))[0] == 0


def _swift(image: str) -> tuple[Any, Any]:
    turns = [{"role": "user", "content": "<image>?"}, {"role": "assistant", "content": "b"}]
    return turns, [image]


def test_other_formats_and_mappings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = jsonl(folder / "a.jsonl", [{"irudia": "1.png", "testua": "a<|im_end|>"}])
    assert "no known format" in run(["check", str(path)])[1]
    assert "Expected" in run(["check", str(path), "--format", "llava"])[1]
    assert "Did you mean 'llava'" in run(["check", str(path), "--format", "lava"])[1]
    (folder / "m.yaml").write_text("fields: {images: irudia, caption: testua}")
    assert judge(path, "--mapping", str(folder / "m.yaml"))[0] == 1
    assert "special-token" in capsys.readouterr().out
    assert "Say --language" in run(["check", str(FILES["wit"](folder)), "--format", "wit"])[1]


def test_a_damaged_file_is_one_line(folder: Path) -> None:
    path = FILES["cc3m"](folder)
    path.write_bytes(path.read_bytes()[:200])
    code, line = run(["check", str(path)])
    assert code == 1 and "cut off or damaged" in line and "\n" not in line
    (folder / "b.json").write_text('[{"conversations": [')
    code, line = run(["check", str(folder / "b.json")])
    assert code == 1 and "b.json, line 1: the JSON array is damaged" in line
