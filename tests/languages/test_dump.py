"""Packs as YAML files: the same pack comes back, and nothing is overwritten unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ikusi.core.config import parse_yaml
from ikusi.core.errors import ConfigError
from ikusi.languages.dump import dump_pack, dump_skeleton, write_pack
from ikusi.languages.pack import TASKS, Pack, load_pack, read_pack


@pytest.mark.parametrize("code", ["cy", "en", "es", "eu", "gl"])
def test_a_complete_pack_comes_back(tmp_path: Path, code: str) -> None:
    pack = load_pack(code)
    path = tmp_path / "new" / f"{code}.yaml"
    write_pack(pack, path)
    assert read_pack(path) == pack


def test_a_partial_pack_reads_well_and_comes_back(tmp_path: Path, partial: dict[str, Any]) -> None:
    partial["yes_no"] = {"yes": "arí", "no": ["mana", "no", "null", "1e3"]}
    partial["numbers"] = ["chusaq", None, "iskay"]
    pack = Pack.parse(partial, "x")
    text = dump_pack(pack)
    assert text.startswith("# Runasimi. The names of the keys")
    assert '  what:\n    - "Kayqa imataq?"\n' in text, "a plain list, to be dealt when it grows"
    assert Pack.parse(parse_yaml(text, "x"), "x") == pack


def test_a_file_is_overwritten_only_when_told(tmp_path: Path, partial: dict[str, Any]) -> None:
    path = tmp_path / "qu.yaml"
    pack = Pack.parse(partial, "x")
    path.write_text("mine")
    with pytest.raises(ConfigError, match=r"qu\.yaml: exists already\. Add --overwrite"):
        write_pack(pack, path)
    assert path.read_text() == "mine"
    write_pack(pack, path, overwrite=True)
    assert read_pack(path) == pack


def test_a_folder_that_cannot_be_made(tmp_path: Path, partial: dict[str, Any]) -> None:
    (tmp_path / "languages").write_text("a file")
    with pytest.raises(ConfigError, match=r"qu\.yaml: "):
        write_pack(Pack.parse(partial, "x"), tmp_path / "languages" / "qu.yaml")


def test_a_skeleton_becomes_a_pack_by_a_name_and_a_sentence() -> None:
    text = dump_skeleton("qu", load_pack("en"))
    data = parse_yaml(text, "x")
    assert set(data["tasks"]) == set(TASKS)
    with pytest.raises(ConfigError, match=r"'names\.own' is missing"):
        Pack.parse(data, "x")
    text = text.replace("  own: ", "  own: Runasimi ", 1)
    text = text.replace('  #  - "What is this?"', '    - "Kayqa imataq?"')
    pack = Pack.parse(parse_yaml(text, "x"), "x")
    assert pack.tasks_ready() == ("what",)


def test_a_skeleton_becomes_the_reference_when_its_comments_are_taken() -> None:
    """Every sentence and word that it shows stands where it belongs."""
    lines = []
    for line in dump_skeleton("en", load_pack("en")).splitlines():
        if line.startswith("  #  - "):
            line = line.replace("#", " ", 1)
        elif line.startswith("    ") and " # " in line:
            line = line.replace(" # ", " ", 1)
        lines.append(line.replace("  own:  ", "  own: English "))
    pack = Pack.parse(parse_yaml("\n".join(lines), "x"), "x")
    assert pack.terms == load_pack("en").terms
    assert all(len(pack.tasks[task].each()) == 5 for task in TASKS)
