"""What a report is told about a study: read from the store, whole or half done."""

from __future__ import annotations

import dataclasses
import io
import shutil
from pathlib import Path

import pytest
from PIL import Image
from tests.study.fabricated import SUPERVISED_TOKENS, fill, plan_of

from ikusi.core.store import Store
from ikusi.study.plan import Plan
from ikusi.study.summary import RESULTS, SAMPLES_PER_TASK, Summariser
from ikusi.world.scene import SIDE_PX


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Store]:
    """The cells of the first backbone, and of it alone."""
    plan, store = plan_of(), Store(tmp_path_factory.mktemp("half") / "store")
    fill(store, plan, [cell for cell in plan.cells if cell.backbone == "pivot"])
    return plan, store


def test_half_a_study(half: tuple[Plan, Store]) -> None:
    plan, store = half
    summary = Summariser(plan, store, ["ikusi study tiny"]).summary()
    assert (len(summary.cells), summary.expected_cells) == (3, 6)
    assert summary.title == "How much Basque does a multimodal model need?"
    assert summary.language_names == {"eu": "Basque", "en": "English"}
    assert summary.reproduce == ("ikusi study tiny",)
    assert summary.peak_memory_bytes is not None
    assert summary.peak_memory_bytes >= 100 << 20
    for cell in summary.cells:
        assert cell.backbone == "pivot"
        assert cell.supervised_tokens == sum(SUPERVISED_TOKENS.values())
        assert cell.text_before is not None
        assert set(cell.text_before.column("split").to_pylist()) == {"text"}
        spec = plan.steps[store.open(cell.address).address]
        stages = (cell.address, spec.inputs["model"])
        results = next(c.results for c in plan.cells if c.model == cell.address)
        seconds = sum(store.open(a).manifest.seconds for a in (*stages, results))
        assert cell.seconds == pytest.approx(seconds)


def test_samples_are_items_in_both_languages_with_every_cells_answer(
    half: tuple[Plan, Store],
) -> None:
    plan, store = half
    summary = Summariser(plan, store, []).summary()
    assert len(summary.samples) == 2 * SAMPLES_PER_TASK * len({s.task for s in summary.samples})
    right = {
        (row["prompt"], row["gold"], row["answer"], row["correct"])
        for cell in summary.cells
        for row in cell.results.to_pylist()
    }
    for sample in summary.samples:
        assert Image.open(io.BytesIO(sample.picture)).size == (SIDE_PX, SIDE_PX)
        assert sample.answers.keys() == {cell.label for cell in summary.cells}
        for said in sample.answers.values():
            assert (sample.question, sample.gold, *said) in right
    groups = {
        s.group: {t.language for t in summary.samples if t.group == s.group}
        for s in summary.samples
    }
    assert all(languages == {"eu", "en"} for languages in groups.values())


def test_costs_count_a_shared_step_once_and_for_all_its_cells(half: tuple[Plan, Store]) -> None:
    plan, store = half
    costs = {(c.kind, c.before_cells): c for c in Summariser(plan, store, []).summary().costs}
    assert sum(cost.steps for cost in costs.values()) == len(plan.steps)
    assert (costs["encoder", True].steps, costs["encoder", True].users) == (1, 6)
    assert (costs["text", True].done, costs["text", True].steps) == (2, 3)
    assert (costs["instruct", False].done, costs["instruct", False].users) == (3, 6)
    align = costs["align", False]
    assert (align.done, align.steps, align.users) == (1, 2, 6)
    assert align.unshared_seconds == pytest.approx(3 * align.seconds)


def test_the_best_cell_is_of_the_grid(tmp_path: Path) -> None:
    plan, store = plan_of("study.controls=true"), Store(tmp_path / "store")
    summariser = Summariser(plan, store, [])
    assert summariser.best() is None
    fill(store, plan, [cell for cell in plan.cells if cell.control])
    assert summariser.best() is None
    fill(store, plan, [cell for cell in plan.cells if cell.backbone == "adapted"])
    scores = {c: summariser.score(c, "eu") for c in plan.cells if c.backbone == "adapted"}
    best = max((c for c in scores if c.control is None), key=lambda cell: scores[cell])
    assert summariser.best() == best


def test_damaged_results_are_not_used(tmp_path: Path) -> None:
    plan, store = plan_of(), Store(tmp_path / "store")
    fill(store, plan, plan.cells[:1])
    path = store.open(plan.cells[0].results).path / RESULTS
    path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    summariser = Summariser(plan, Store(tmp_path / "store"), [])
    assert summariser.summary().cells == []
    assert summariser.best() is None
    shutil.rmtree(path.parent)
    fill(store, plan, plan.cells[:1])
    assert len(summariser.summary().cells) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed=0", "had no part in the choice"),
        ("study.seeds=[100]", "Careful"),
        ("world.eval_seed=0", "Careful"),
    ],
)
def test_a_study_on_the_seeds_it_was_chosen_on_is_told(
    override: str, words: str, tmp_path: Path
) -> None:
    summary = Summariser(plan_of(override), Store(tmp_path), []).summary()
    assert words in summary.protocol


def test_a_summary_is_the_same_again(half: tuple[Plan, Store]) -> None:
    one, other = (Summariser(*half, []).summary() for _ in range(2))
    for field in dataclasses.fields(one):
        if field.name != "cells":
            assert getattr(one, field.name) == getattr(other, field.name)
