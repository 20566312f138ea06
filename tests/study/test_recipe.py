"""Recipes: what they inherit, how they are changed, and what is refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ikusi.core.errors import ConfigError
from ikusi.study.recipe import names, read_recipe

TINY = str(Path(__file__).parent.parent / "tiny.yaml")


@pytest.mark.parametrize("name", names())
def test_the_packaged_recipes_are_valid(name: str) -> None:
    recipe, _ = read_recipe(name)
    assert recipe.name == name
    # What they were chosen on has no part in what they report.
    assert not set(recipe.study.seeds) & set(recipe.study.chosen_on.seeds)
    assert recipe.world.eval_seed not in recipe.study.chosen_on.eval_seeds


def test_a_recipe_extends_another_and_changes_only_what_it_says(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: quickstart\nworld: {paired: 40}\n")
    (tmp_path / "own.yaml").write_text("extends: base\nworld: {probe: 5}\n")
    recipe, _ = read_recipe(str(tmp_path / "own.yaml"))
    quickstart, _ = read_recipe("quickstart")
    assert (recipe.world.paired, recipe.world.probe) == (40, 5)
    assert recipe.name == "own"
    assert recipe.study.axes == quickstart.study.axes
    assert recipe.backbones == quickstart.backbones


def test_recipes_that_extend_each_other_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b\n")
    (tmp_path / "b.yaml").write_text("extends: a\n")
    with pytest.raises(ConfigError, match="extends itself"):
        read_recipe(str(tmp_path / "a.yaml"))


def test_overrides_are_read_as_yaml_and_come_last() -> None:
    recipe, _ = read_recipe(
        TINY,
        [
            "world.paired=30",
            "align.train.learning_rate=1.0e-4",
            "study.axes.instruct.mixture.multimodal.target_share=[0.3, 1]",
            "study.seeds=[3, 4]",
        ],
    )
    assert recipe.world.paired == 30
    assert recipe.align.train.learning_rate == 1e-4
    assert recipe.study.axes["instruct.mixture.multimodal.target_share"] == (0.3, 1)
    assert recipe.study.axes["model.llm"] == ("world/pivot", "world/adapted")
    assert recipe.study.seeds == (3, 4)


def test_marks_are_codes_in_settings_and_names_in_the_title() -> None:
    recipe, _ = read_recipe(TINY, ["target=cy", "model.llm='{target}-{pivot}/{name}'"])
    assert recipe.model.llm == "cy-en/{name}"
    assert recipe.title == "How much Welsh does a multimodal model need?"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("instruct.train.epochs=3", "Here it is called 'num_train_epochs'"),
        ("align.mixture.budget.sample=3", "Did you mean 'samples'"),
        ("study.seeds=[]", "seeds is empty"),
        ("study.seeds=[1, 2, 1]", "seeds has 1 twice"),
        ("study.axes.model.llm=[]", "axes.model.llm is empty"),
        ("study.rules.enough_ratio=2", "study.rules.enough_ratio"),
        ("world.kinds=[anmal]", "no kind 'anmal'. Did you mean 'animal'"),
        ("backbones.pivot.until=0.9", "until needs `train.lr_scheduler_type: warmup_stable_decay"),
        ("pivot=eu", "target and pivot are both 'eu'"),
        ("model.llm=world/adopted", "Did you mean 'adapted'"),
    ],
)
def test_wrong_settings_are_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_recipe(TINY, [override])


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'quickstart'"):
        read_recipe("quikstart")
