"""Plans: equal work is one step, and an address depends on what the work is and on nothing else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ikusi.core.errors import ConfigError, DataError
from ikusi.study.plan import Plan, plan_study
from ikusi.study.recipe import read_recipe

TINY = str(Path(__file__).parent.parent / "tiny.yaml")
SHARES = "study.axes.instruct.mixture.multimodal.target_share"


def plan_of(*overrides: str, recipe: str = TINY) -> Plan:
    return plan_study(read_recipe(recipe, overrides)[1], recipe)


def kinds(plan: Plan, addresses: Any = None) -> Counter[str]:
    return Counter(plan.steps[a].kind for a in (plan.steps if addresses is None else addresses))


def test_cells_share_every_equal_step() -> None:
    plan = plan_of()
    counted = kinds(plan)
    assert len(plan.cells) == 6
    assert counted["encoder"] == counted["tokenizer"] == 1
    assert counted["text"] == 3  # the primer, and the two that go on from it
    assert counted["align"] == 2
    assert counted["instruct"] == 6
    assert counted["evaluate"] == 6 + 2  # and each backbone's own, before
    assert counted["mix"] == 3 + 1 + 3  # both backbones' instruct mixtures are the same
    assert len({cell.results for cell in plan.cells}) == 6


def test_a_models_folder_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    def models(place: str) -> list[str]:
        where = str(tmp_path / place)
        one_llm = f"study.axes.model.llm=['{where}/']"
        return [cell.model for cell in plan_of(one_llm, f"model.vision={where}").cells]

    for place, content in (("a", "x"), ("b/ç (2)", "x"), ("d", "y")):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "config.json").write_text(content, encoding="utf-8")
    hashes = {
        place: [model.rpartition("-")[2] for model in models(place)]
        for place in ("a", "b/ç (2)", "d")
    }
    assert hashes["a"] == hashes["b/ç (2)"]
    assert not set(hashes["a"]) & set(hashes["d"])


def test_controls_refuse_another_axis() -> None:
    with pytest.raises(ConfigError, match=r"align\.train\.learning_rate is an axis"):
        plan_of("study.controls=true", "study.axes.align.train.learning_rate=[0.001, 0.002]")


def test_steps_stand_after_what_they_are_made_from() -> None:
    plan, seen = plan_of("study.controls=true"), set[str]()
    for address, spec in plan.steps.items():
        assert set(spec.inputs.values()) <= seen
        seen.add(address)


def test_the_first_cells_steps_are_queued_first() -> None:
    plan = plan_of("study.seeds=[0, 1]")
    order = plan.queue_order()
    first = plan.needs(plan.cells[0])
    assert max(order[a] for a in first) == len(first) - 1


def test_an_added_share_adds_only_its_own_steps() -> None:
    before, after = plan_of(), plan_of(f"{SHARES}=[0.2, 1.0, 0.0, 0.5]")
    added = after.steps.keys() - before.steps.keys()
    assert before.steps.keys() < after.steps.keys()
    assert kinds(after, added) == {"mix": 1, "instruct": 2, "evaluate": 2}


def test_an_added_seed_shares_pictures_words_and_encoder() -> None:
    before, after = plan_of(), plan_of("study.seeds=[0, 7]")
    added = kinds(after, after.steps.keys() - before.steps.keys())
    assert before.steps.keys() < after.steps.keys()
    assert added.keys() == {"mix", "text", "align", "instruct", "evaluate"}


@pytest.mark.parametrize(
    "override", ["name=other", "title=Another", "study.rules.enough_ratio=0.8", "seed=0"]
)
def test_what_cannot_change_a_result_changes_no_address(override: str) -> None:
    assert plan_of(override).steps.keys() == plan_of().steps.keys()


def test_the_recipes_place_changes_no_address(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(Path(TINY).read_text(encoding="utf-8"), encoding="utf-8")
    assert plan_of(recipe=str(copy)).steps.keys() == plan_of().steps.keys()


@pytest.mark.parametrize(
    ("override", "changed"),
    [
        ("align.train.learning_rate=1.0e-4", {"align", "instruct", "evaluate"}),
        ("evaluate.max_new_tokens=7", {"evaluate"}),
        ("tokenizer.vocab_size=500", {"tokenizer", "text", "align", "instruct", "evaluate"}),
    ],
)
def test_a_setting_changes_what_it_is_about_and_what_follows(
    override: str, changed: set[str]
) -> None:
    before, after = plan_of(), plan_of(override)
    assert set(kinds(after, after.steps.keys() - before.steps.keys())) == changed


def test_controls_train_on_the_target_part_of_the_claims_share() -> None:
    plan = plan_of("study.controls=true")
    grid = {c.backbone: c for c in plan.cells if c.control is None and c.target_share == 0.2}
    controls = [c for c in plan.cells if c.control is not None]
    assert Counter(c.backbone for c in controls) == {"pivot": 2, "adapted": 2}
    for cell in controls:
        spec, mixed = plan.steps[cell.model], plan.steps[grid[cell.backbone].model]
        assert spec.inputs["model"] == mixed.inputs["model"]  # the same stage 1
        assert cell.target_share == 0.2
        assert plan.steps[spec.inputs["mixture"]].config["mixture"]["only"] == "target"
        steps = spec.config["train"]["max_steps"]
        if cell.control == "target_alone_equal_steps":
            train = mixed.config["train"]
            samples = plan.steps[mixed.inputs["mixture"]].config["mixture"]["budget"]["samples"]
            batches = -(-samples // train["per_device_train_batch_size"])
            assert steps == round(batches * train["num_train_epochs"])
        else:
            assert steps is None


def test_another_axis_names_its_cells() -> None:
    plan = plan_of("study.axes.model.connector=[linear, mlp]")
    assert {c.backbone for c in plan.cells} == {
        f"{backbone} connector={kind}"
        for backbone in ("pivot", "adapted")
        for kind in ("linear", "mlp")
    }


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "instruct.mixture.budget.samples=2000",
            r"instruct\.mixture: multimodal: 1,600 .* makes 300\. Set world\.instruct_scenes=1600 ",
        ),
        ("world.text_scenes=10", r"text: .* world\.text_scenes makes 10"),
        ("world.probe_scenes=1", r"pivot_only: .* world\.probe_scenes makes 1"),
        ("world.probe=0", r"Set instruct\.mixture\.pivot_only\.share to 0"),
        ("align.mixture.text.share=0.5", r"Set align\.mixture\.text\.share to 0"),
        ("world.backbone_scenes=399", r"backbones\.pivot\.mixture: text: 400 .* makes 399"),
        ("instruct.mixture.text.share=0.99", "add up to more than 1"),
        ("target=xx", "no language pack 'xx'"),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_runs(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(override)


def test_a_world_without_enough_names_is_refused() -> None:
    with pytest.raises(DataError, match="usable names"):
        plan_of("world.kinds=[music]")
