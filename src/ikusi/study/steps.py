"""The kinds of step, each with its version: inputs and a configuration in, a payload out.

Place: plan -> [steps] -> store. Contract: a step reads its configuration and its inputs and
nothing else that could change its output; its version changes when its output does.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from ikusi.core.artifact import Spec
from ikusi.core.memory import peak_mb, start_peak
from ikusi.study.data_steps import draw_pictures, make_records, mix_records, train_tokenizer
from ikusi.study.evaluate_step import evaluate
from ikusi.study.parts import Inputs, StepFunction
from ikusi.study.train_steps import train_encoder, train_stage, train_text


def run_step(spec: Spec, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Do a step and return its stats, with what it took: seconds, and peak memory in MiB."""
    from ikusi.model.fast_linear import fast_linear

    start_peak()
    begun = time.monotonic()
    with fast_linear():
        config = {**spec.config, "folders": spec.folders}
        stats = dict(STEPS[spec.kind][1](config, inputs, out))
    seconds = round(time.monotonic() - begun, 3)
    return {**stats, "seconds": seconds, "peak_memory_mb": peak_mb()}


STEPS: dict[str, tuple[int, StepFunction]] = {
    "pictures": (2, draw_pictures),
    "import": (4, make_records),
    "tokenizer": (1, train_tokenizer),
    "encoder": (3, train_encoder),
    "mix": (1, mix_records),
    "text": (3, train_text),
    "align": (3, train_stage),
    "instruct": (2, train_stage),
    "evaluate": (4, evaluate),
}
"""Kind of step -> its version and its function."""
