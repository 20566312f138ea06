"""How long a plan will take on this machine, told before it runs.

Place: plan, store -> [estimate] -> `--dry-run`, the study's own bar. Contract: reads manifests and
computes nothing; what equal work took here counts first, else rates that were measured elsewhere.
"""

from __future__ import annotations

import heapq
import statistics
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.store import Store
from ikusi.data.mix import MixtureSettings, count_parts
from ikusi.study.plan import Plan
from ikusi.train.settings import TrainSettings

REFERENCE: Mapping[str, float] = {
    "pictures": 0.0004,
    "import": 0.0003,
    "tokenizer": 0.00005,
    "mix": 0.00004,
    "encoder": 0.0011,
    "text": 0.0028,
    "drills": 0.0013,
    "align": 0.0017,
    "instruct": 0.0034,
    "evaluate": 0.0012,
}
"""Kind of work -> seconds per sample: scene, record, item or, for `mix`, record read.

Processor time of one thread on a server's AMD EPYC with two cores, torch 2.13; an encoder of 2
layers and width 192, backbones of 4 layers and width 128, batches of 32 (64 for drills).
"""
REFERENCE_WORDS = "rates measured with the world's own sizes on a server's cores"
START_SECONDS = 8.0
"""Until the workers have imported what they compute with; measured as above."""

Node = Spec | Artifact
Look = Callable[[str], Node | None]


@dataclass(frozen=True)
class Estimate:
    """What is left of a plan, in time."""

    seconds: Mapping[str, float]
    """Address of each step that the store lacks -> what it will take."""
    measured: frozenset[str]
    """Those of them that are judged by what equal work took here."""
    total_seconds: float
    first_cell_seconds: float | None
    """Until the first cell's result; None where one is there, or nothing is left."""

    @property
    def source(self) -> str:
        """Where the numbers come from, in words."""
        whole = sum(self.seconds.values())
        here = sum(self.seconds[address] for address in self.measured)
        if not whole or here >= 0.99 * whole:
            return "by what such steps took here"
        if here <= 0.01 * whole:
            return f"by {REFERENCE_WORDS}; yours may differ by a factor of 2 or 3"
        return (
            f"{here / whole:.0%} of it by what such steps took here, the rest by {REFERENCE_WORDS}"
        )


def estimate(plan: Plan, store: Store, workers: int) -> Estimate:
    """Return how long the steps that the store lacks will take.

    Args:
        plan: what is to run.
        store: what is there, and how long it took.
        workers: steps side by side.
    """
    there = {address for address in plan.steps if store.find(address) is not None}
    rates = _measured_rates(store)
    seconds: dict[str, float] = {}
    measured = set()
    for address, spec in plan.steps.items():
        if address in there:
            continue
        work = _work(spec, plan.steps.get)
        rate = rates.get((work, _size(spec, plan.steps.get)))
        if rate is not None:
            measured.add(address)
        else:
            rate = REFERENCE[work]
        seconds[address] = rate * _amount(spec, plan.steps.get)
    total, first = _simulate(plan, seconds, workers)
    return Estimate(seconds, frozenset(measured), total, first)


def _simulate(plan: Plan, seconds: Mapping[str, float], workers: int) -> tuple[float, float | None]:
    """Return when the last step and the first cell end, run as `run_plan` does."""
    order = plan.queue_order()
    cells = {cell.results for cell in plan.cells}
    if not cells <= seconds.keys():
        cells = set()  # one is there, so none will be the first
    first: float | None = None
    waiting = dict(seconds)
    done: Set[str] = (plan.steps.keys() - seconds.keys()) | plan.given
    running: list[tuple[float, str]] = []
    now = START_SECONDS if seconds else 0.0
    while waiting or running:
        ready = [a for a in waiting if done >= set(plan.steps[a].inputs.values())]
        for address in sorted(ready, key=lambda a: order[a])[: workers - len(running)]:
            heapq.heappush(running, (now + waiting.pop(address), address))
        now, address = heapq.heappop(running)
        done |= {address}
        if address in cells and first is None:
            first = now
    return now, first


def _measured_rates(store: Store) -> dict[tuple[str, Any], float]:
    """Return (kind of work, size) -> seconds per sample, the median over the store's steps."""
    known: dict[str, Node | None] = {artifact.address: artifact for artifact in store.ls()}

    def look(address: str) -> Node | None:
        if address not in known:  # it may stand under another name
            known[address] = store.find(address)
        return known[address]

    found: dict[tuple[str, Any], list[float]] = {}
    for artifact in list(known.values()):
        if not isinstance(artifact, Artifact) or artifact.kind not in REFERENCE:
            continue
        # A backbone that trains until enough is answered has seen fewer samples than planned.
        stopped = artifact.stats.get("samples") if artifact.kind == "text" else None
        amount = stopped or _amount(artifact, look)
        if amount:
            key = (_work(artifact, look), _size(artifact, look))
            found.setdefault(key, []).append(artifact.manifest.seconds / amount)
    # A median: the first step of a worker process also waits for its imports.
    return {key: statistics.median(rates) for key, rates in found.items()}


def _facts(node: Node) -> tuple[str, Mapping[str, Any], Mapping[str, str]]:
    made = node if isinstance(node, Spec) else node.manifest
    return made.kind, made.config, made.inputs


def _work(node: Node, look: Look) -> str:
    """Return the kind of work: drills are texts too short to be judged by others."""
    kind, _, inputs = _facts(node)
    if kind != "text":
        return kind
    mixture = look(inputs["mixture"])
    read = [look(address) for address in _facts(mixture)[2].values()] if mixture else []
    sets = {_facts(found)[1].get("set") for found in read if found}
    return "drills" if sets == {"drills"} else kind


def _amount(node: Node, look: Look) -> float:
    """Return how many samples a step goes through; 0 where that cannot be known any more."""
    kind, config, inputs = _facts(node)
    if kind in ("pictures", "import"):
        return float(config.get("count", 0))  # an import of somebody's own data has none
    if kind == "tokenizer":
        return float(config["texts"] * len(inputs))
    if kind == "encoder":
        return float(config["num_scenes"]) * _passes(config["train"])
    if kind in ("text", "align", "instruct"):
        train = TrainSettings.parse(config["train"], kind)
        if train.max_steps is not None:
            batch = train.per_device_train_batch_size * train.gradient_accumulation_steps
            return float(train.max_steps * batch)
        mixture = look(inputs["mixture"])
        if mixture is None:
            return 0.0
        settings = MixtureSettings.parse(_facts(mixture)[1]["mixture"], "mixture")
        return count_parts(settings).kept(settings) * train.num_train_epochs
    counts = {role: look(address) for role, address in inputs.items()}
    read = {r: float(_facts(n)[1].get("count", 0)) for r, n in counts.items() if n is not None}
    if kind == "mix":
        return sum(read.values())
    items = {role: count for role, count in read.items() if role.startswith("items-")}
    asked = sum(items.values())
    if config["blind"]:  # twice, on a part of the items of each task
        for role, count in items.items():
            if role.startswith("items-main"):
                node_of = counts[role]
                per_task = _facts(node_of)[1]["per_task"] if node_of is not None else 1
                asked += 2 * count * min(1.0, config["blind_per_task"] / per_task)
    return asked


def _passes(train: Mapping[str, Any]) -> float:
    return float(train["num_train_epochs"])


def _size(node: Node | None, look: Look) -> Any:
    """Return what decides the time per sample besides the kind: the models' shapes."""
    if node is None:
        return None
    kind, config, inputs = _facts(node)
    if kind == "encoder":
        return config["hidden_size"], config["num_hidden_layers"]
    if kind == "text":
        if "init" in inputs:
            return _size(look(inputs["init"]), look)
        return config["hidden_size"], config["num_hidden_layers"]
    if kind == "align":
        parts = {
            role: _size(look(inputs[role]), look) for role in ("vision", "llm") if role in inputs
        }
        model = config["model"]
        return (
            parts.get("vision", model["vision"]),
            model["connector"],
            parts.get("llm", model["llm"]),
        )
    if kind in ("instruct", "evaluate"):
        return _size(look(inputs["model"]), look)
    return None
