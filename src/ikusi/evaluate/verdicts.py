"""The paper's two claims, and the rules that judge them.

Place: stats -> [verdicts] -> report. Contract: the rules are data (`VerdictRules`, part of the
recipe), fixed before any cell runs; with one seed nothing is decided, because the spread between
training runs is then unknown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from pydantic import Field

from ikusi.core.config import Settings
from ikusi.evaluate.cells import Cell
from ikusi.evaluate.results import show_share
from ikusi.evaluate.stats import Array, Bootstrap, Interval, interval, ratio_bounds, tost

Outcome = Literal["supported", "contradicted", "undecided here"]

CLAIMS: Mapping[str, str] = {
    "enough": "About {share} of the multimodal data in the target language is enough",
    "backbone": "A backbone adapted to the target language is not needed",
}


class VerdictRules(Settings):
    """When a claim counts as supported or contradicted."""

    enough_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of target-language samples that the first claim is about; arXiv:2511.09396 says 0.2."""
    enough_ratio: float = Field(default=0.9, gt=0, le=1)
    """Least score(enough_share) / score(1) in the target language that counts as enough."""
    equivalence_margin: float = Field(default=0.05, gt=0, lt=1)
    """Largest gap between two backbones' scores, in accuracy, that does not matter."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every bound; one-sided for the ratio and for each of the two one-sided tests."""
    min_seeds: int = Field(default=2, ge=2)
    """Fewest seeds with which anything is decided."""
    split: str = "main"
    """Evaluation items that the claims are judged on."""
    resamples: int = Field(default=2000, ge=100)
    """Bootstrap resamples."""
    bootstrap_seed: int = 0
    """Seed of the resamples."""

    def words(self, claim: str) -> str:
        """Return the rule of `claim` in words."""
        level, share = f"{self.confidence:.0%}", show_share(self.enough_share)
        if claim == "enough":
            return (
                f"Supported if the lower {level} bound of score({share}) / score(100%) in the "
                f"target language is at least {self.enough_ratio:g}; contradicted if the upper "
                f"{level} bound is below {self.enough_ratio:g}; else undecided. Fewer than "
                f"{self.min_seeds} seeds: undecided here."
            )
        alpha = 1 - self.confidence
        return (
            f"Supported if the gap between two backbones at {share}, in the target language, lies "
            f"within ±{self.equivalence_margin:g} by two one-sided tests (its {1 - 2 * alpha:.0%} "
            f"interval is inside); contradicted if its {level} interval lies wholly outside "
            f"±{self.equivalence_margin:g}; else undecided. Fewer than {self.min_seeds} seeds: "
            "undecided here."
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """One claim judged on one backbone, or on one pair of them."""

    claim: str
    """Key of `CLAIMS`."""
    subject: str
    quantity: str
    """What `value` is, in words."""
    value: float
    lower: float
    upper: float
    bounds: str
    """What the bounds are, in words."""
    seeds: int
    outcome: Outcome
    reason: str


Score = Callable[[Cell], Array | None]
"""Gives the draws of a cell's macro score in the target language, None where it has no items."""


def grid_of(cells: Iterable[Cell]) -> dict[tuple[str, float], dict[int, Cell]]:
    """Return (backbone, share) -> seed -> cell, controls left out."""
    grid: dict[tuple[str, float], dict[int, Cell]] = {}
    for cell in cells:
        if cell.control is None:
            grid.setdefault((cell.backbone, round(cell.target_share, 6)), {})[cell.seed] = cell
    return grid


def judge_claims(
    cells: Sequence[Cell], rules: VerdictRules, bootstrap: Bootstrap, score: Score
) -> list[Verdict]:
    """Return the verdicts on both claims: one a backbone, then one a pair of backbones.

    Only seeds that both sides have are compared, so an incomplete study gives verdicts on what is
    there, and says how many seeds that was.
    """
    grid = grid_of(cells)
    backbones = list(dict.fromkeys(backbone for backbone, _ in grid))
    share = round(rules.enough_share, 6)
    judged = []
    for backbone in backbones:
        pair = _paired(grid.get((backbone, share)), grid.get((backbone, 1.0)), bootstrap, score)
        judged.append(_judge_enough(backbone, pair, rules))
    for one, other in combinations(backbones, 2):
        pair = _paired(grid.get((one, share)), grid.get((other, share)), bootstrap, score)
        judged.append(_judge_gap(one, other, pair, rules))
    return judged


_Pair = tuple[Array, Array, int] | None


def _paired(
    one: Mapping[int, Cell] | None,
    other: Mapping[int, Cell] | None,
    bootstrap: Bootstrap,
    score: Score,
) -> _Pair:
    pairs = []
    for seed in sorted(set(one or {}) & set(other or {})):
        left, right = score((one or {})[seed]), score((other or {})[seed])
        if left is not None and right is not None:
            pairs.append((left, right))
    if not pairs:
        return None
    lefts, rights = zip(*pairs, strict=True)
    return bootstrap.over_seeds(lefts), bootstrap.over_seeds(rights), len(pairs)


def _judge_enough(backbone: str, pair: _Pair, rules: VerdictRules) -> Verdict:
    share = show_share(rules.enough_share)
    quantity = f"score({share}) / score(100%)"
    bounds = f"one-sided {rules.confidence:.0%} bounds"
    if pair is None:
        return _nothing("enough", backbone, quantity, bounds, f"no seed has both {share} and 100%")
    ratio = ratio_bounds(pair[0], pair[1], rules.confidence)
    outcome: Outcome = "undecided here"
    if math.isnan(ratio.value):
        reason = "the 100% cell scores nothing, so there is no ratio"
    elif pair[2] < rules.min_seeds:
        reason = _too_few(pair[2], rules)
    elif ratio.lower >= rules.enough_ratio:
        outcome = "supported"
        reason = f"the lower bound, {ratio.lower:.3f}, reaches {rules.enough_ratio:g}"
    elif ratio.upper < rules.enough_ratio:
        outcome = "contradicted"
        reason = f"the upper bound, {ratio.upper:.3f}, is below {rules.enough_ratio:g}"
    else:
        reason = f"{rules.enough_ratio:g} lies between the bounds"
    return Verdict("enough", backbone, quantity, *_three(ratio), bounds, pair[2], outcome, reason)


def _judge_gap(one: str, other: str, pair: _Pair, rules: VerdictRules) -> Verdict:
    share, margin = show_share(rules.enough_share), rules.equivalence_margin
    subject, quantity = f"{one} − {other}", f"gap at {share}"
    bounds = f"{rules.confidence:.0%} interval"
    if pair is None:
        return _nothing("backbone", subject, quantity, bounds, f"no seed has both at {share}")
    gap = pair[0] - pair[1]
    wide = interval(gap, rules.confidence)
    narrow = interval(gap, 1 - 2 * (1 - rules.confidence))
    shown = f"{1 - 2 * (1 - rules.confidence):.0%} interval {narrow.lower:+.3f} to "
    shown += f"{narrow.upper:+.3f}"
    outcome: Outcome = "undecided here"
    if pair[2] < rules.min_seeds:
        reason = _too_few(pair[2], rules)
    elif tost(gap, margin, rules.confidence):
        outcome, reason = "supported", f"the {shown} lies inside ±{margin:g}"
    elif wide.lower > margin or wide.upper < -margin:
        outcome, reason = "contradicted", f"the {bounds} lies wholly outside ±{margin:g}"
    else:
        reason = f"the {shown} is neither inside ±{margin:g} nor is the {bounds} wholly outside"
    return Verdict("backbone", subject, quantity, *_three(wide), bounds, pair[2], outcome, reason)


def _three(found: Interval) -> tuple[float, float, float]:
    return found.value, found.lower, found.upper


def _too_few(seeds: int, rules: VerdictRules) -> str:
    had = "one seed" if seeds == 1 else f"{seeds} seeds"
    return f"{had}: the spread between training runs is not known (the rule asks {rules.min_seeds})"


def _nothing(claim: str, subject: str, quantity: str, bounds: str, reason: str) -> Verdict:
    nan = math.nan
    return Verdict(claim, subject, quantity, nan, nan, nan, bounds, 0, "undecided here", reason)
