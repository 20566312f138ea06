"""What trains in each stage: decided here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import nn
from transformers import LlavaForConditionalGeneration, PreTrainedModel

from ikusi.model.vlm import decoder

Stage = Literal["text", "align", "instruct"]


@dataclass(frozen=True, slots=True)
class PartReport:
    """One part of a model: how many parameters it has, and whether the stage trains them."""

    part: str
    parameters: int
    trained: bool

    def __str__(self) -> str:
        state = "trained" if self.trained else "frozen"
        return f"{self.part:<10} {self.parameters:>13,} parameters, {state}"


def choose_trainable(
    model: PreTrainedModel, stage: Stage
) -> tuple[list[nn.Parameter], list[PartReport]]:
    """Freeze and unfreeze the parts of `model` for `stage`.

    The paper's two stages: `align` trains the connector alone, `instruct` the connector and the
    language model; the vision tower stays frozen in both. `text` trains a text-only backbone.

    Returns:
        The parameters that train, and a report of every part for the log.
    """
    trained = {"text": {"llm"}, "align": {"connector"}, "instruct": {"connector", "llm"}}[stage]
    parts: dict[str, list[nn.Module]] = {"llm": [decoder(model), cast(Any, model).lm_head]}
    if isinstance(model, LlavaForConditionalGeneration):
        inner = cast(Any, model).model
        parts = {
            "vision": [inner.vision_tower],
            "connector": [inner.multi_modal_projector],
            **parts,
        }
    chosen: list[nn.Parameter] = []
    reports = []
    for part, modules in parts.items():
        unique = {id(p): p for module in modules for p in module.parameters()}  # tied: once
        for parameter in unique.values():
            parameter.requires_grad_(part in trained)
        if part in trained:
            chosen.extend(unique.values())
        size = sum(p.numel() for p in unique.values())
        reports.append(PartReport(part, size, part in trained))
    return chosen, reports
