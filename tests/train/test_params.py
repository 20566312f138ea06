"""What trains in each stage: said in one place, and true of a real step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.model import tiny
from tests.train.test_loop import SETTINGS, objective

from ikusi.model.checkpoint import Checkpoint
from ikusi.train.loop import fit
from ikusi.train.params import PartReport, choose_trainable

TRAINED = {
    "text": ("model.language_model.", "lm_head."),
    "align": ("model.multi_modal_projector.",),
    "instruct": ("model.language_model.", "lm_head.", "model.multi_modal_projector."),
}


@pytest.mark.parametrize("connector", ["linear", "pixel-shuffle"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stage", ["text", "align", "instruct"])
def test_only_what_trains_changes(stage: Any, tied: bool, connector: Any) -> None:
    made = tiny.checkpoint(connector, tied=tied)
    before = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    fit(objective(made, stage=stage), SETTINGS)
    changed = {
        name
        for name, tensor in made.model.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == {name for name in before if name.startswith(TRAINED[stage])}


@pytest.mark.parametrize("tied", [True, False])
def test_counts(tied: bool) -> None:
    model: Any = tiny.checkpoint(tied=tied).model
    chosen, reports = choose_trainable(model, "instruct")
    sizes = {report.part: report.parameters for report in reports}
    assert sum(sizes.values()) == sum(p.numel() for p in model.parameters())
    assert sizes["connector"] == (tiny.VISION_WIDTH + 1) * tiny.TEXT_WIDTH
    assert sum(p.numel() for p in chosen) == sizes["llm"] + sizes["connector"]
    assert len({id(p) for p in chosen}) == len(chosen)
    assert {r.part: r.trained for r in reports} == {"vision": False, "connector": True, "llm": True}


def test_a_stage_undoes_the_one_before() -> None:
    model: Any = tiny.checkpoint().model
    choose_trainable(model, "instruct")
    chosen, _ = choose_trainable(model, "align")
    assert {id(p) for p in model.parameters() if p.requires_grad} == {id(p) for p in chosen}


def test_a_text_only_model() -> None:
    made = Checkpoint(tiny.llama(), tiny.tokenizer())
    chosen, reports = choose_trainable(made.model, "text")
    assert [report.part for report in reports] == ["llm"]
    assert sum(p.numel() for p in chosen) == sum(p.numel() for p in made.model.parameters())


def test_the_report_of_a_part() -> None:
    assert str(PartReport("connector", 4198400, True)) == (
        "connector      4,198,400 parameters, trained"
    )
    assert str(PartReport("vision", 100, False)).endswith("100 parameters, frozen")
