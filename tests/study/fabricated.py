"""A store that looks as if a study had run in it: real pictures and words, made-up answers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.evaluate.results import write_results
from ikusi.study.parts import RECORDS
from ikusi.study.plan import CellPlan, Plan, plan_study
from ikusi.study.recipe import read_recipe
from ikusi.study.steps import run_step
from ikusi.study.summary import RESULTS

TINY = str(Path(__file__).parent.parent / "tiny.yaml")
SUPERVISED_TOKENS = {"align": 100, "instruct": 1000}
FEW = ("evaluate.splits=[main, text]", "world.eval_per_task=4", "study.rules.resamples=100")
REAL = ("pictures", "import")


def plan_of(*overrides: str) -> Plan:
    """Return the plan of the tiny study, with fewer kinds of items."""
    return plan_study(read_recipe(TINY, [*FEW, *overrides])[1], TINY)


def fill(store: Store, plan: Plan, cells: Collection[CellPlan]) -> None:
    """Build all that `cells` need: the evaluation items as they are, the rest made up."""
    wanted = set().union(*(plan.needs(cell) for cell in cells))
    for address, spec in plan.steps.items():
        if address not in wanted:
            continue
        inputs = {role: store.open(a) for role, a in spec.inputs.items()}
        real = spec.kind in REAL and spec.name.startswith("eval-")
        store.build(spec, partial(run_step if real else _make_up, spec, inputs))


def _make_up(spec: Spec, inputs: Mapping[str, Artifact], out: Path) -> dict[str, Any]:
    stats: dict[str, Any] = {"seconds": 2.0, "peak_memory_mb": 100.0}
    if spec.kind == "evaluate":
        write_results(out / RESULTS, list(_answers(spec, inputs)))
    else:
        (out / "payload.json").write_text(json.dumps([spec.kind, spec.hash]))
    return stats | {"supervised_tokens": SUPERVISED_TOKENS.get(spec.kind, 0)}


def _answers(spec: Spec, inputs: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    chance = np.random.default_rng(int(spec.hash, 16) % 2**32)
    rows = []
    for split in spec.config["splits"]:
        for language in ("en", "eu"):
            for record in read_records(inputs[f"items-{split}@{language}"].path / RECORDS):
                right = bool(chance.random() < 0.6)
                gold = record.answers[0]
                rows.append(
                    {
                        "sample_id": f"{split}:{record.id}",
                        "group": record.group,
                        "task": record.task,
                        "language": language,
                        "split": split,
                        "prompt": record.turns[-2].text,
                        "answer": gold if right else "?",
                        "gold": gold,
                        "correct": right,
                        "said": "target" if language == "eu" else "pivot",
                        "right_elsewhere": False,
                        "finished": True,
                        "choices": list(record.choices),
                        "likely": None,
                        "likely_correct": None,
                        "prompt_sha256": hashlib.sha256(b"").hexdigest(),
                        "gold_sha256": hashlib.sha256(gold.encode()).hexdigest(),
                    }
                )
    return rows
