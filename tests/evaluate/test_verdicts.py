"""The two claims are judged by the rule, and by nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from ikusi.core.errors import ConfigError
from ikusi.evaluate.cells import Cell
from ikusi.evaluate.report_data import StudySummary, analyse
from ikusi.evaluate.stats import Array, Bootstrap
from ikusi.evaluate.verdicts import CLAIMS, Verdict, VerdictRules, judge_claims

Scores = dict[tuple[str, float, int], float]
NOISE = 0.005
RULES = VerdictRules()


def judge(cell: Callable[..., Cell], scores: Scores, rules: VerdictRules = RULES) -> list[Verdict]:
    """Judge cells whose scores are given, each with item noise of sd `NOISE`."""
    cells = [cell(*place, 0.5, per_task=1, splits=("main",)) for place in scores]
    draw = np.random.default_rng(0)
    drawn: dict[int, Array] = {}
    for made, score in zip(cells, scores.values(), strict=True):
        drawn[id(made)] = np.r_[score, score + NOISE * draw.standard_normal(rules.resamples)]
    bootstrap = Bootstrap(["g"], rules.resamples)
    return judge_claims(cells, rules, bootstrap, lambda made: drawn.get(id(made)))


def one_backbone(at_20: tuple[float, ...], at_100: tuple[float, ...]) -> Scores:
    return {("a", 0.2, seed): score for seed, score in enumerate(at_20)} | {
        ("a", 1.0, seed): score for seed, score in enumerate(at_100)
    }


@pytest.mark.parametrize(
    ("at_20", "outcome"),
    [
        ((0.79, 0.80, 0.79), "supported"),
        ((0.60, 0.61, 0.60), "contradicted"),
        ((0.72, 0.73, 0.72), "undecided here"),
        ((0.60, 0.79, 0.85), "undecided here"),
    ],
)
def test_enough(cell: Callable[..., Cell], at_20: tuple[float, ...], outcome: str) -> None:
    [verdict] = judge(cell, one_backbone(at_20, (0.80, 0.81, 0.80)))
    assert (verdict.claim, verdict.subject, verdict.seeds) == ("enough", "a", 3)
    assert verdict.outcome == outcome
    assert verdict.value == pytest.approx(sum(at_20) / 2.41)
    assert (verdict.lower >= 0.9) == (outcome == "supported")
    assert (verdict.upper < 0.9) == (outcome == "contradicted")


@pytest.mark.parametrize(
    ("gap", "outcome"),
    [
        ((0.0, 0.01, 0.0), "supported"),
        ((0.2, 0.21, 0.2), "contradicted"),
        ((-0.2, -0.21, -0.2), "contradicted"),
        ((0.05, 0.06, 0.05), "undecided here"),
        ((-0.05, 0.06, 0.0), "undecided here"),
    ],
)
def test_backbone(cell: Callable[..., Cell], gap: tuple[float, ...], outcome: str) -> None:
    scores = {("a", 0.2, seed): 0.7 + g for seed, g in enumerate(gap)}
    scores |= {("b", 0.2, seed): 0.7 for seed in range(3)}
    verdict = judge(cell, scores)[-1]
    assert (verdict.claim, verdict.subject) == ("backbone", "a − b")
    assert verdict.outcome == outcome


@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_one_seed_decides_nothing(cell: Callable[..., Cell], gap: float) -> None:
    scores = {("a", s, 0): 0.8 for s in (0.2, 1.0)} | {("b", s, 0): 0.8 - gap for s in (0.2, 1.0)}
    verdicts = judge(cell, scores)
    assert [v.claim for v in verdicts] == ["enough", "enough", "backbone"]
    for verdict in verdicts:
        assert verdict.outcome == "undecided here"
        assert "one seed" in verdict.reason
        assert math.isfinite(verdict.lower)


def test_only_common_seeds_are_compared(cell: Callable[..., Cell]) -> None:
    scores = one_backbone((0.79, 0.80, 0.79), (0.80, 0.81))
    [verdict] = judge(cell, scores)
    assert verdict.seeds == 2
    del scores["a", 1.0, 1]
    assert judge(cell, scores)[0].outcome == "undecided here"


def test_missing_cells(cell: Callable[..., Cell]) -> None:
    verdicts = judge(cell, {("a", 0.2, 0): 0.7, ("b", 0.5, 0): 0.7})
    assert [v.outcome for v in verdicts] == ["undecided here"] * 3
    assert verdicts[0].reason == "no seed has both 20% and 100%"
    assert verdicts[2].reason == "no seed has both at 20%"
    assert judge(cell, {}) == []


def test_nothing_right_at_100(cell: Callable[..., Cell]) -> None:
    cells = [cell("a", share, s, 0.5, per_task=1) for share in (0.2, 1.0) for s in (0, 1)]
    zero = np.zeros(1 + RULES.resamples)
    [verdict] = judge_claims(cells, RULES, Bootstrap(["g"], RULES.resamples), lambda _: zero)
    assert verdict.outcome == "undecided here"
    assert "no ratio" in verdict.reason


def test_controls_are_not_the_grid(cell: Callable[..., Cell]) -> None:
    made = cell("a", 0.2, 0, 0.5, "target_alone_equal_steps", per_task=1)
    assert judge_claims([made], RULES, Bootstrap(["g"]), lambda _: None) == []


def test_three_backbones_give_three_pairs(cell: Callable[..., Cell]) -> None:
    verdicts = judge(cell, {(name, 0.2, 0): 0.7 for name in "abc"})
    assert [v.subject for v in verdicts[3:]] == ["a − b", "a − c", "b − c"]


def test_rules_are_settings() -> None:
    rules = VerdictRules.parse({"enough_ratio": 0.8, "enough_share": 0.25}, "recipe")
    assert "score(25%) / score(100%)" in rules.words("enough")
    assert "at least 0.8" in rules.words("enough")
    assert "±0.05" in rules.words("backbone")
    assert set(CLAIMS) == {"enough", "backbone"}
    with pytest.raises(ConfigError, match="equivalence_margin"):
        VerdictRules.parse({"equivalence_margn": 0.1}, "recipe")
    with pytest.raises(ConfigError, match="min_seeds"):
        VerdictRules.parse({"min_seeds": 1}, "recipe")


def test_on_results(study_of: Callable[..., StudySummary]) -> None:
    """From rows to verdict: 20% clearly not enough, the backbones clearly apart."""
    study = study_of(shares=(0.05, 0.2, 1.0), gap=0.25, controls=False, splits=("main",))
    lowered = [c for c in study.cells if c.backbone == "adapted" or c.target_share != 0.2]
    verdicts = analyse(study).verdicts
    assert len(verdicts) == 3
    assert analyse(StudySummary(**{**vars(study), "cells": lowered})).verdicts[0].seeds == 0
