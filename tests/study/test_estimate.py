"""Estimates: by what equal work took here where there is some, else by the committed rates."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.study.fabricated import fill, plan_of

from ikusi.core.store import Store
from ikusi.study.estimate import REFERENCE, START_SECONDS, estimate


def test_an_empty_store_is_judged_by_the_reference(tmp_path: Path) -> None:
    plan = plan_of()
    found = estimate(plan, Store(tmp_path), workers=1)
    assert found.seconds.keys() == plan.steps.keys()
    assert not found.measured
    assert found.total_seconds == pytest.approx(START_SECONDS + sum(found.seconds.values()))
    assert found.first_cell_seconds is not None
    assert START_SECONDS < found.first_cell_seconds < found.total_seconds
    config = next(spec for spec in plan.steps.values() if spec.kind == "encoder").config
    [encoder] = [s for a, s in found.seconds.items() if plan.steps[a].kind == "encoder"]
    assert encoder == pytest.approx(REFERENCE["encoder"] * config["num_scenes"])


def test_every_kind_of_step_has_a_rate() -> None:
    plan = plan_of("study.controls=true")
    assert {spec.kind for spec in plan.steps.values()} <= REFERENCE.keys()


def test_more_workers_take_less_and_never_less_than_the_longest_chain(tmp_path: Path) -> None:
    plan = plan_of("study.seeds=[0, 1]")
    times = [estimate(plan, Store(tmp_path), workers).total_seconds for workers in (1, 2, 4, 99)]
    assert times == sorted(times, reverse=True)
    assert times[1] > times[0] / 2.5
    seconds = estimate(plan, Store(tmp_path), 1).seconds
    ends: dict[str, float] = {}
    for address, spec in plan.steps.items():
        ends[address] = seconds[address] + max((ends[a] for a in spec.inputs.values()), default=0)
    assert times[-1] == pytest.approx(START_SECONDS + max(ends.values()))


def test_what_is_there_costs_nothing_and_tells_what_the_rest_takes(tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "store")
    fill(store, plan, plan.cells[:1])
    found = estimate(plan, store, workers=2)
    assert found.seconds.keys() == plan.steps.keys() - plan.needs(plan.cells[0])
    assert found.first_cell_seconds is None
    by_kind = {plan.steps[address].kind for address in found.measured}
    assert {"mix", "instruct", "evaluate"} <= by_kind
    # The other backbone was made from the same sizes, so its stages are known, too.
    assert {a for a in found.seconds if plan.steps[a].kind == "align"} <= found.measured


def test_other_sizes_are_not_judged_by_these(tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "store")
    fill(store, plan, plan.cells[:1])
    other = plan_of("backbones.primer.num_hidden_layers=3")
    found = estimate(other, store, workers=2)
    assert not {"text", "align", "instruct"} & {other.steps[a].kind for a in found.measured}


def test_nothing_left(tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "store")
    fill(store, plan, plan.cells)
    found = estimate(plan, store, workers=2)
    assert (found.total_seconds, found.seconds) == (0.0, {})
