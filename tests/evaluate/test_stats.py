"""Scores and their intervals, against sums done by hand and against simulations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from ikusi.evaluate.stats import (
    Bootstrap,
    Sums,
    interval,
    majority_baselines,
    ratio_bounds,
    sum_by_group,
    tost,
)

Results = Callable[..., pa.Table]


def sums_of(right: np.ndarray, count: np.ndarray | None = None) -> Sums:
    """Sums of one measure: `right` is float[G, T]."""
    count = np.ones_like(right) if count is None else count
    return Sums(
        groups=tuple(f"g{i:05d}" for i in range(len(right))),
        tasks=tuple(f"t{i}" for i in range(right.shape[1])),
        right={"correct": right},
        count={"correct": count},
    )


def test_sums_agree_with_counting(results: Results) -> None:
    table = results(0.6, seed=3, per_task=20)
    by_place = sum_by_group(table)
    assert set(by_place) == {
        (language, split)
        for language in ("eu", "en")
        for split in ("main", "wording", "design", "probe", "blank", "shuffled", "text")
    }
    sums = by_place["eu", "main"]
    rows = [r for r in table.to_pylist() if r["language"] == "eu" and r["split"] == "main"]
    for task in sums.tasks:
        here = [row for row in rows if row["task"] == task]
        assert sums.n(task) == len(here) == 20
        for measure, of in (
            ("correct", lambda row: row["correct"]),
            ("right_elsewhere", lambda row: row["right_elsewhere"]),
            ("said_pivot", lambda row: row["said"] == "pivot"),
        ):
            assert sums.share(measure, task) == pytest.approx(sum(map(of, here)) / len(here))
    likely = [row["likely_correct"] for row in rows if row["likely_correct"] is not None]
    assert sums.n(measure="likely_correct") == len(likely) == 40
    assert sums.share("likely_correct") == pytest.approx(sum(likely) / len(likely))
    assert math.isnan(sums.share("likely_correct", "what"))


def test_macro_mean_counts_each_task_as_one() -> None:
    # Task 0: 1 of 1 right; task 1: 0 of 3; the mean over items would be 0.25.
    right = np.array([[1.0, 0.0], [0.0, 0.0]])
    count = np.array([[1.0, 2.0], [0.0, 1.0]])
    bootstrap = Bootstrap(["g00000", "g00001"], resamples=50)
    assert bootstrap.macro_draws(sums_of(right, count))[0] == 0.5


def test_same_seed_same_numbers() -> None:
    sums = sums_of(np.random.default_rng(0).random((50, 2)))
    one, same, other = (Bootstrap(sums.groups, 100, seed).macro_draws(sums) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert one[0] == other[0]
    assert not np.array_equal(one, other)


def test_groups_are_drawn_whole() -> None:
    """Ten equal items in each group say no more than one."""
    draw = np.random.default_rng(0)
    one = (draw.random((200, 1)) < 0.5).astype(float)
    bootstrap = Bootstrap(sums_of(one).groups, 500)
    single = bootstrap.macro_draws(sums_of(one))
    tenfold = bootstrap.macro_draws(sums_of(10 * one, np.full_like(one, 10)))
    assert np.allclose(single, tenfold)


@pytest.mark.parametrize(("n", "p"), [(60, 0.5), (300, 0.7), (300, 0.9)])
def test_interval_covers_binomial_truth(n: int, p: float) -> None:
    """Of 400 simulated evaluations, close to 95% have the truth inside their interval.

    Measured: 0.945 (n=60), 0.945, 0.9475; the percentile method is a little too narrow for few
    items. The bound is 3.5 standard errors below 0.94.
    """
    draw = np.random.default_rng(5)
    bootstrap = Bootstrap([f"g{i:05d}" for i in range(n)], 500)
    inside = 0
    for _ in range(400):
        sums = sums_of((draw.random((n, 1)) < p).astype(float))
        bounds = interval(bootstrap.macro_draws(sums))
        inside += bounds.lower <= p <= bounds.upper
    assert 0.90 <= inside / 400 <= 0.985


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_interval_covers_over_seeds(seeds: int) -> None:
    """With normal seed effects and few seeds the interval still covers; t quantiles are met."""
    bootstrap = Bootstrap(["g"], 2000)
    weights = bootstrap.seed_weights(seeds)
    assert np.allclose(weights.sum(axis=0), 1)
    assert np.allclose(weights[:, 0], 1 / seeds)
    draw = np.random.default_rng(1)
    inside = 0
    for _ in range(1500):
        effects = draw.standard_normal(seeds)
        bounds = interval((weights * effects[:, None]).sum(axis=0))
        inside += bounds.lower <= 0 <= bounds.upper
    assert inside / 1500 == pytest.approx(0.95, abs=0.02)


def test_seeds_widen_the_interval() -> None:
    draw = np.random.default_rng(0)
    items = [sums_of((draw.random((300, 1)) < p).astype(float)) for p in (0.5, 0.6, 0.7)]
    bootstrap = Bootstrap(items[0].groups, 1000)
    drawn = [bootstrap.macro_draws(sums) for sums in items]
    together = interval(bootstrap.over_seeds(drawn))
    alone = interval(drawn[1])
    assert together.value == pytest.approx(np.mean([d[0] for d in drawn]))
    assert together.upper - together.lower > 2 * (alone.upper - alone.lower)
    assert interval(bootstrap.over_seeds(drawn[:1])) == interval(drawn[0])


def test_pairing_cancels_the_items() -> None:
    """Two models that answer nearly the same items right differ by little, surely."""
    draw = np.random.default_rng(0)
    one = (draw.random((300, 1)) < 0.5).astype(float)
    other = one.copy()
    other[:6] = 1 - other[:6]
    bootstrap = Bootstrap(sums_of(one).groups, 1000)
    a, b = bootstrap.macro_draws(sums_of(one)), bootstrap.macro_draws(sums_of(other))
    difference, single = interval(a - b), interval(a)
    assert difference.value == pytest.approx(float((one - other).mean()))
    assert difference.upper - difference.lower < 0.4 * (single.upper - single.lower)


def test_ratio() -> None:
    draw = np.random.default_rng(0)
    above, below = (np.r_[p, p + 0.02 * draw.standard_normal(4000)] for p in (0.72, 0.8))
    bounds = ratio_bounds(above, below)
    # delta method: sd of the ratio is 0.9 sqrt((.02/.72)^2 + (.02/.8)^2) = 0.0336
    assert bounds.value == pytest.approx(0.9)
    assert bounds.lower == pytest.approx(0.9 - 1.645 * 0.0336, abs=0.005)
    assert bounds.upper == pytest.approx(0.9 + 1.645 * 0.0336, abs=0.005)


def test_ratio_to_nothing() -> None:
    nothing = ratio_bounds(np.full(100, 0.5), np.zeros(100))
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.lower)
    below = np.r_[0.5, np.zeros(20), np.full(79, 0.5)]  # a fifth of the draws have no divisor
    bounds = ratio_bounds(np.full(100, 0.5), below)
    assert bounds.value == 1
    assert (bounds.lower, bounds.upper) == (-math.inf, math.inf)


def test_tost_is_the_90_percent_interval() -> None:
    z = np.random.default_rng(0).standard_normal(20_000)
    gap = lambda mean, sd: np.r_[mean, mean + sd * z]  # noqa: E731
    assert tost(gap(0.0, 0.02), 0.05)
    assert tost(gap(0.016, 0.02), 0.05)  # 0.016 + 1.645 * 0.02 = 0.0489
    assert not tost(gap(0.018, 0.02), 0.05)  # 0.0509
    assert not tost(gap(-0.018, 0.02), 0.05)
    assert not tost(gap(0.0, 0.04), 0.05)


def test_tost_errs_at_its_level() -> None:
    """At a true gap of exactly the margin, equivalence is found in about 5% of the cases."""
    draw = np.random.default_rng(2)
    z = draw.standard_normal(2000)
    found = sum(
        tost(np.r_[g, g + 0.02 * z], 0.05) for g in 0.05 + 0.02 * draw.standard_normal(2000)
    )
    assert found / 2000 == pytest.approx(0.05, abs=0.02)


def test_majority_baseline(results: Results) -> None:
    rows = results(0.5, seed=1, per_task=4, splits=["main"]).to_pylist()
    for number, row in enumerate(rows):
        row["gold"], row["choices"] = f"word{number}", []
        if row["task"] == "choice":  # the right option is first in 3 of 4
            wrong, right = f"wrong{number}", row["gold"]
            first = row["sample_id"].split("/")[2] != "0"
            row["choices"] = [right, wrong] if first else [wrong, right]
        if row["task"] == "exists":
            row["gold"] = "bai" if row["sample_id"].split("/")[2] != "0" else "ez"
    table = pa.Table.from_pylist(rows, schema=results(0.5, seed=1, per_task=1).schema)
    found = majority_baselines(table)
    assert found["eu", "main", "choice"] == 0.75
    assert found["eu", "main", "exists"] == 0.75
    assert found["eu", "main", "what"] == 0.25


def test_tasks_without_items_in_a_draw_are_left_out() -> None:
    right = np.array([[1.0, 0.0], [1.0, 1.0]])
    count = np.array([[1.0, 0.0], [1.0, 1.0]])
    draws = Bootstrap(["g00000", "g00001"], 200).macro_draws(sums_of(right, count))
    assert not np.isnan(draws[~np.isnan(draws)]).any()
    assert set(draws[~np.isnan(draws)]) == {1.0}
    nothing = interval(np.full(10, np.nan))
    assert math.isnan(nothing.value)
    assert math.isnan(nothing.upper)


def test_fast_enough(results: Results) -> None:
    """A cell of 5000 rows, 1000 resamples: 48 of them must stay well under 20 s."""
    table = results(0.6, seed=1, per_task=90)
    assert table.num_rows > 5000
    start = time.process_time()
    by_place = sum_by_group(table)
    bootstrap = Bootstrap((g for s in by_place.values() for g in s.groups), 1000)
    for sums in by_place.values():
        for drawn in bootstrap.task_draws(sums):
            interval(drawn)
    majority_baselines(table)
    assert time.process_time() - start < 0.4  # measured: 0.08 s, the resamples included
