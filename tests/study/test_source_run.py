"""A run on sets of one's own: imported, translated, filtered, mixed, and both stages trained."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.model import tiny

import ikusi
from ikusi.__main__ import run
from ikusi.core.config import dump_yaml
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.data.steps import read_drops

COLOURS = {"red": "gorria", "blue": "urdina", "green": "berdea", "white": "zuria"}
QUESTION, GALDERA = "What colour is it?", "Zer kolore du?"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty photos, what was said about them, a lexicon, and models."""
    (tmp_path / "photos").mkdir()
    rows = []
    for number in range(20):
        colour = list(COLOURS)[number % 4]
        Image.new("RGB", (64, 48 + number), colour).save(tmp_path / "photos" / f"{number}.png")
        talk = [
            {"from": "human", "value": f"<image>\n{QUESTION}"},
            {"from": "gpt", "value": f"It is {colour}, photo number {number} of twenty."},
        ]
        rows.append({"id": str(number), "image": f"{number}.png", "conversations": talk})
    rows.append({"id": "gone", "image": "gone.png", "conversations": rows[0]["conversations"]})
    (tmp_path / "train.json").write_text(json.dumps(rows), encoding="utf-8")
    entries = [("source", "target"), (QUESTION, GALDERA)]
    entries += [
        (f"It is {{c}}, photo number {n} of twenty.", f"{{c}} da, {n}. argazkia hogeitik.")
        for n in range(19)
    ]  # the last one has no translation
    entries += list(COLOURS.items())
    lexicon = "\n".join("\t".join(entry) for entry in entries)
    (tmp_path / "lexicon.tsv").write_text(lexicon, encoding="utf-8")
    tiny.clip_tower().save_pretrained(tmp_path / "tower")
    tiny.image_processor().save_pretrained(tmp_path / "tower")
    tiny.llama().save_pretrained(tmp_path / "llm")
    tiny.tokenizer().save_pretrained(tmp_path / "llm")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(folder: Path, **changes: Any) -> str:
    stage = {
        "data": ["mine", "mine@{target}"],
        "mixture": {"budget": {"samples": 16}, "multimodal": {"target_share": 0.25}},
        "train": {"learning_rate": 1e-3, "per_device_train_batch_size": 4},
    }
    data: dict[str, Any] = {
        "target": "eu",
        "pivot": "en",
        "model": {"vision": "tower", "llm": "llm"},
        "sets": {
            "mine": {
                "source": "llava",
                "files": "train.json",
                "images": "photos",
                "language": "en",
                "licence": "CC-BY-4.0",
            }
        },
        "translate": {"instructions": {"backend": {"kind": "memory", "path": "lexicon.tsv"}}},
        "filter": {"images": {"min_side": 20}},
        "align": stage,
        "instruct": stage,
    }
    (folder / "own.yaml").write_text(dump_yaml(data | changes), encoding="utf-8")
    return "own.yaml"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_from_photos_to_a_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", recipe(folder), "--workers", "1"]
    assert run(command) == (0, "")
    told = capsys.readouterr().out
    assert "import mine: 20 of 21 kept" in told
    assert "translate mine@eu: 19 of 20 kept" in told
    assert told.rstrip().endswith("Talk to it: ikusi ask runs/own/best picture.jpg")

    data = folder / "runs" / "own" / "data"
    (drop,) = read_drops(data / "translate-mine@eu")
    assert drop["reason"] == "memory-missing"
    (mixture,) = Store(folder / "store").ls("mix")  # that of both stages, which ask for the same
    mixed = list(read_records(mixture.path / "records.parquet"))
    assert [record.language for record in mixed].count("eu") == 4
    assert len({record.group for record in mixed}) == 16
    basque = next(record for record in mixed if record.language == "eu")
    assert basque.turns[0].text.strip() == GALDERA
    assert re.fullmatch(r"\w+ da, \d+\. argazkia hogeitik\.", basque.turns[1].text)

    model = ikusi.load("runs/own/best")
    assert isinstance(model.answer(str(folder / "photos" / "0.png"), GALDERA), str)

    assert run(command) == (0, "")  # again: nothing is made twice
    assert len(Store(folder / "store").ls("instruct")) == 1


def test_the_plan_names_who_translates_and_what_would_be_launched(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["run", "basque", "target=gl", "--dry-run"]) == (0, "")
    told = capsys.readouterr().out
    assert re.search(r"translate cc3m@gl +en -> gl by seq2seq HiTZ/mt-hitz-en-gl\n", told)
    assert told.count("launches: vllm serve HiTZ/Latxa-Llama-3.1-70B-Instruct --port") == 3
    assert run(["run", "basque", "--dry-run"]) == (0, "")
    told = capsys.readouterr().out
    assert "  translate " not in told  # all of it is published in Basque
    assert re.search(r"import cc3m@eu +from HiTZ/ConceptualCaptions_eu on the hub\n", told)
    assert not (folder / "store").exists()


@pytest.mark.parametrize(
    "command", ["study basque", "report basque", "run basque --launch local --dry-run"]
)
def test_what_needs_results_is_refused(command: str, folder: Path) -> None:
    code, line = run(command.split())
    assert code == 1
    assert "models of sets are not evaluated yet. Make one by `ikusi run basque`" in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"translate": {}}, r"translate\.instructions does not say who translates mine"),
        ({"sets": {}}, "'mine': no source and no file of this name"),
        ({"study": {"axes": {"seed": [1]}}}, "seed is no axis"),
        ({"model": {"vision": "world/encoder", "llm": "llm"}}, "encoder is missing"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_read(
    change: dict[str, Any], message: str, folder: Path
) -> None:
    code, line = run(["run", recipe(folder, **change), "--dry-run"])
    assert code == 1
    assert re.search(message, line)
    assert not (folder / "store").exists()
