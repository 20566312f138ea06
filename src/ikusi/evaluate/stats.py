"""Scores with intervals: macro means, a bootstrap over items and seeds, ratios, differences, TOST.

Place: results -> [stats] -> verdicts, report. Contract: numpy only; the same results and the same
`seed` give the same numbers; every statistic of a study is drawn with the same resamples, so any
two of them are paired.

Notation: item i of task t in group g (a scene with all its questions) is right (1) or not (0).

- Score: `acc_t = sum_i right_i / n_t`, and the macro mean `score = mean_t acc_t`: a task counts as
  one whatever its number of items.
- Items are drawn by group: in resample r group g counts `w_gr` times,
  `w_r ~ Multinomial(G; 1/G, ..., 1/G)`, and `acc_tr = sum_g w_gr right_gt / sum_g w_gr n_gt`.
- Seeds are the outer level. Drawing three seeds out of three with replacement would give intervals
  that cover the truth 0.76 of the time at a nominal 0.95 (measured, normal seed effects), so seeds
  are drawn with Student weights: `score_r = sum_s v_sr score_sr`,
  `v_sr = 1/S + (z_sr - mean_s z_sr) / sqrt(S chi2_r)`, `z ~ N(0, 1)`, `chi2_r ~ ChiSquare(S - 1)`.
  Then `score_r - score` is distributed as `t(S - 1) * sd(seeds) / sqrt(S)`, the exact law for
  normal seed effects, while one weight for all statistics keeps them paired. With one seed,
  `v = 1`: the interval is about items only, and says nothing about another training run.
- An interval is a pair of quantiles of these draws (percentile method).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ikusi.evaluate.results import SAID

Array = npt.NDArray[np.float64]

MEASURES = ("correct", "likely_correct", "right_elsewhere", *(f"said_{name}" for name in SAID))
"""What can be averaged over items. `likely_correct` is over the items that have it."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its bounds."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Sums:
    """Items of one language and split, summed by group and task."""

    groups: tuple[str, ...]
    tasks: tuple[str, ...]
    right: Mapping[str, Array]
    """Measure -> float[G, T], sum over the items of a group and task."""
    count: Mapping[str, Array]
    """Measure -> float[G, T], how many items it was taken over."""

    def n(self, task: str | None = None, measure: str = "correct") -> int:
        """Number of items, of one task or of all."""
        count = self.count[measure]
        return int(count.sum() if task is None else count[:, self.tasks.index(task)].sum())

    def share(self, measure: str, task: str | None = None) -> float:
        """Mean of `measure` over all items, of one task or pooled; nan without items."""
        right, count = self.right[measure], self.count[measure]
        if task is not None:
            column = self.tasks.index(task)
            right, count = right[:, column], count[:, column]
        return float(right.sum() / count.sum()) if count.sum() else math.nan


def sum_by_group(table: pa.Table) -> dict[tuple[str, str], Sums]:
    """Return the sums of a results table by (language, split)."""
    keys = ["language", "split", "group", "task"]
    measured = table.select([*keys, *(name for name in MEASURES if name in table.column_names)])
    for name in SAID:
        said = pc.equal(table.column("said"), pa.scalar(name))
        measured = measured.append_column(f"said_{name}", said)
    summed = measured.group_by(keys).aggregate(
        [(measure, how) for measure in MEASURES for how in ("sum", "count")]
    )
    result: dict[tuple[str, str], Sums] = {}
    places = zip(*(summed.column(key).to_pylist() for key in keys[:2]), strict=True)
    for language, split in sorted(set(places)):
        part = summed.filter((pc.field("language") == language) & (pc.field("split") == split))
        groups, row = np.unique(part.column("group").to_numpy(), return_inverse=True)
        tasks, column = np.unique(part.column("task").to_numpy(), return_inverse=True)
        arrays: dict[str, Array] = {}
        for name in summed.column_names[len(keys) :]:
            arrays[name] = np.zeros((len(groups), len(tasks)))
            arrays[name][row, column] = np.nan_to_num(part.column(name).to_numpy())
        result[language, split] = Sums(
            groups=tuple(groups.tolist()),
            tasks=tuple(tasks.tolist()),
            right={measure: arrays[f"{measure}_sum"] for measure in MEASURES},
            count={measure: arrays[f"{measure}_count"] for measure in MEASURES},
        )
    return result


def macro_accuracy(table: pa.Table, language: str, split: str) -> float:
    """Return the mean over tasks of the accuracy in `language` on `split`; nan without items."""
    here = (pc.field("language") == language) & (pc.field("split") == split)
    by_task = table.select(["language", "split", "task", "correct"]).filter(here)
    means = by_task.group_by("task").aggregate([("correct", "mean")]).column("correct_mean")
    return float(np.mean(means.to_numpy())) if len(means) else math.nan


class Bootstrap:
    """The resamples of a study, drawn once and used for everything.

    A statistic is a float[1 + R] array of draws: entry 0 is the estimate itself, the others are the
    resamples. Arithmetic on such arrays gives draws again, paired.
    """

    def __init__(self, groups: Iterable[str], resamples: int = 2000, seed: int = 0) -> None:
        """Prepare resamples.

        Args:
            groups: every group of every table that will be asked about.
            resamples: R, how many are drawn.
            seed: same groups and same seed, same resamples.
        """
        self.resamples = resamples
        self.seed = seed
        self._index = {name: number for number, name in enumerate(sorted(set(groups)))}
        self._seed_weights: dict[int, Array] = {}

    @cached_property
    def _weights_GR(self) -> npt.NDArray[np.float32]:
        G, R = len(self._index), self.resamples
        weights = np.ones((G, 1 + R), dtype=np.float32)  # entry 0: the sample itself
        draw = np.random.default_rng([self.seed, 1])
        for r in range(1, 1 + R):
            weights[:, r] = np.bincount(draw.integers(0, G, G), minlength=G)
        return weights

    def seed_weights(self, seeds: int) -> Array:
        """Return float[S, 1 + R], the weight of each seed in each resample (module docstring)."""
        if seeds not in self._seed_weights:
            weights = np.full((seeds, 1 + self.resamples), 1 / seeds)
            if seeds > 1:
                # Stratified (64 draws stand for one) and mirrored: the heavy tails of a few seeds
                # would else make bounds from 2000 resamples uncertain by several percent.
                draw = np.random.default_rng([self.seed, 2, seeds])
                half = -(-self.resamples // 2)
                chi2 = draw.chisquare(seeds - 1, (2, 64 * half))
                lengths = np.sqrt(np.sort(chi2[0] / chi2[1])[32::64] / seeds)
                z = draw.standard_normal((seeds, half))
                z -= z.mean(axis=0)
                away = lengths * z / np.linalg.norm(z, axis=0)
                weights[:, 1:] += np.hstack([away, -away])[:, : self.resamples]
            self._seed_weights[seeds] = weights
        return self._seed_weights[seeds]

    def task_draws(self, sums: Sums, measure: str = "correct") -> Array:
        """Return float[T, 1 + R], the accuracy of each task; nan where a draw has no item of it."""
        weights = self._weights_GR[[self._index[group] for group in sums.groups]]
        right = sums.right[measure].T.astype(np.float32) @ weights
        count = sums.count[measure].T.astype(np.float32) @ weights
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(right / count, dtype=float)

    def macro_draws(self, sums: Sums, measure: str = "correct") -> Array:
        """Return float[1 + R], the macro mean over the tasks that have items."""
        return mean_over_tasks(self.task_draws(sums, measure))

    def over_seeds(self, draws: Sequence[Array]) -> Array:
        """Return the mean of one statistic over seeds, drawn as the outer level.

        Args:
            draws: one array of draws a seed, in the order of the seeds.
        """
        stacked = np.stack(list(draws))
        weights = self.seed_weights(len(draws))
        if stacked.ndim == 3:
            weights = weights[:, None, :]
        return np.asarray((weights * stacked).sum(axis=0))


def mean_over_tasks(draws_TR: Array) -> Array:
    """Return the mean over tasks of each draw, tasks without items left out."""
    there = ~np.isnan(draws_TR)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(there, draws_TR, 0.0).sum(axis=0) / there.sum(axis=0))


def interval(draws: Array, confidence: float = 0.95, *, share: bool = False) -> Interval:
    """Return the two-sided percentile interval of draws.

    Args:
        draws: float[1 + R]; entry 0 is the estimate.
        confidence: share of the draws inside.
        share: the statistic lies in 0 to 1; bounds outside are cut.
    """
    tail = (1 - confidence) / 2
    kept = draws[1:][~np.isnan(draws[1:])]
    value = float(draws[0])
    if math.isnan(value) or not kept.size:
        return Interval(value, math.nan, math.nan)
    lower, upper = (float(bound) for bound in np.quantile(kept, [tail, 1 - tail]))
    if share:
        lower, upper = max(0.0, lower), min(1.0, upper)
    return Interval(value, lower, upper)


def ratio_draws(above: Array, below: Array) -> Array:
    """Return draws of `above / below`; nan where `below` is not positive."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(below > 0, above / below, np.nan)


def ratio_bounds(above: Array, below: Array, confidence: float = 0.95) -> Interval:
    """Return `above / below` with its one-sided lower and one-sided upper bound.

    Each bound alone holds with `confidence`: the quantiles `1 - confidence` and `confidence` of
    `above_r / below_r`. A draw whose divisor is not positive counts against both bounds.
    """
    ratio = ratio_draws(above, below)
    if math.isnan(ratio[0]):
        return Interval(math.nan, math.nan, math.nan)
    low, high = (np.where(np.isnan(ratio[1:]), edge, ratio[1:]) for edge in (-np.inf, np.inf))
    return Interval(
        float(ratio[0]),
        float(np.quantile(low, 1 - confidence, method="lower")),
        float(np.quantile(high, confidence, method="higher")),
    )


def tost(gap: Array, margin: float, confidence: float = 0.95) -> bool:
    """Return whether the gap lies within `+-margin` by two one-sided tests.

    Rejecting both `gap <= -margin` and `gap >= margin` at level `alpha = 1 - confidence` is the
    same as the two-sided `1 - 2 alpha` interval (0.90 for 0.95) lying inside `+-margin`.
    """
    bounds = interval(gap, 1 - 2 * (1 - confidence))
    return -margin < bounds.lower and bounds.upper < margin


def majority_baselines(table: pa.Table) -> dict[tuple[str, str, str], float]:
    """Return (language, split, task) -> accuracy of always giving the most frequent answer.

    Where every item of a task has options, always giving the option at the most frequent place is
    such an answer, too; the better of the two counts.
    """
    place = ["language", "split", "task"]
    counts = (
        table.select([*place, "gold"]).group_by([*place, "gold"]).aggregate([([], "count_all")])
    )
    best: dict[tuple[str, str, str], int] = {}
    total: Counter[tuple[str, str, str]] = Counter()
    for row in counts.to_pylist():
        key = (row["language"], row["split"], row["task"])
        total[key] += row["count_all"]
        best[key] = max(best.get(key, 0), row["count_all"])
    optional = table.filter(pc.list_value_length(pc.field("choices")) > 0)
    positions: dict[tuple[str, str, str], Counter[int]] = {}
    for language, split, task, gold, choices in zip(
        *(optional.column(name).to_pylist() for name in (*place, "gold", "choices")), strict=True
    ):
        if gold in choices:
            counter = positions.setdefault((language, split, task), Counter())
            counter[choices.index(gold)] += 1
    for key, counter in positions.items():
        if counter.total() == total[key]:
            best[key] = max(best[key], counter.most_common(1)[0][1])
    return {key: count / total[key] for key, count in best.items()}
