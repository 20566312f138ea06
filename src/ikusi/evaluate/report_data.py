"""The numbers of a report, as rows: what is written to CSV is what is drawn and printed.

Place: results, stats, verdicts -> [report_data] -> CSV, plots, pages. Contract: no number of the
report is computed anywhere else, so each can be found in, or computed from, the CSV files.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ikusi.evaluate.cells import TEXT_BEFORE, Cell
from ikusi.evaluate.results import SAID
from ikusi.evaluate.stats import (
    Array,
    Bootstrap,
    Interval,
    Sums,
    interval,
    mean_over_tasks,
    ratio_bounds,
)
from ikusi.evaluate.verdicts import Verdict, VerdictRules, grid_of, judge_claims

Row = dict[str, Any]
MACRO = "macro"
"""In place of a task: the mean over tasks, or over all items where a column says so."""

_SHARES = ("right_elsewhere", *(f"said_{name}" for name in SAID))


@dataclass(frozen=True, kw_only=True)
class Sample:
    """An evaluation item to look at, with what each cell answered."""

    picture: bytes
    """PNG or JPEG; empty for a text-only item."""
    task: str
    group: str
    """The same for the same item in another language."""
    question: str
    gold: str
    language: str
    answers: Mapping[str, tuple[str, bool]]
    """`Cell.label` -> answer, and whether it is right."""


@dataclass(frozen=True)
class Cost:
    """What the steps of one kind took, and how far the cells of the study shared them."""

    kind: str
    before_cells: bool = False
    """Whether they belong to the encoder and the backbones, which come before any cell."""
    steps: int = 0
    done: int = 0
    """How many of them the store has."""
    users: int = 0
    """Cells that need each step, summed over the steps: how many there would be unshared."""
    seconds: float = 0.0
    """What the steps that are done took."""
    unshared_seconds: float = 0.0
    """What they would have taken, had each cell done all of its steps by itself."""


@dataclass(frozen=True, kw_only=True)
class StudySummary:
    """Everything a report tells about a study."""

    title: str
    target: str
    """Code of the language that was taught."""
    pivot: str
    """Code of the language that the data came from."""
    cells: Sequence[Cell]
    """Those that are evaluated by now."""
    expected_cells: int
    """How many there will be."""
    rules: VerdictRules
    language_names: Mapping[str, str] = field(default_factory=dict)
    """Code -> name for people."""
    recipe: str = ""
    """The resolved recipe, as YAML."""
    costs: Sequence[Cost] = ()
    """One a kind of step, in the order of the chain."""
    peak_memory_bytes: int | None = None
    """Of the step that took most."""
    samples: Sequence[Sample] = ()
    reproduce: Sequence[str] = ()
    """Command lines that make this report again."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the libraries, the interpreter and the platform."""
    notes: Sequence[str] = ()
    """What a reader must know, such as the tasks left out for lack of wordings."""
    vocabulary: str = ""
    """The world and its vocabulary in words."""
    long_answers_by: str = ""
    """What judges the language of answers too long for the lexicon: `lexicon`, if it is this too,
    or `identification`; empty where it is not known."""
    confusion: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """`target`, `pivot` -> how many of its accepted long answers identification took for which."""
    protocol: str = ""
    """On what the recipe was chosen, and on what the study reports, in words."""

    def language_name(self, code: str) -> str:
        """Return the name of a language for people, its code where it has none."""
        return self.language_names.get(code, code)


Key = tuple[str, float, str]
"""Backbone, share, control (empty in the grid): what a point of a curve stands for."""


@dataclass(frozen=True)
class ReportData:
    """The rows of the four CSV files, and the verdicts."""

    cells: list[Row]
    """One a cell."""
    tasks: list[Row]
    """One a cell, language, split and task: what `cells` and `curves` are means of."""
    curves: list[Row]
    """One a point of a plot: seeds put together, with bounds."""
    verdicts: list[Verdict]
    languages: list[str]
    """Target first."""
    task_names: list[str]

    def pick(self, **wanted: Any) -> list[Row]:
        """Return the rows of `curves` with these values, in order."""
        return [row for row in self.curves if all(row[k] == v for k, v in wanted.items())]

    def backbones(self) -> list[str]:
        """Return the backbones, in the order of the cells."""
        return list(dict.fromkeys(row["backbone"] for row in self.cells))


class _Evaluated:
    """A cell and its macro draws."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.sums = cell.sums
        self.majority = cell.majority
        self.macro: dict[tuple[str, str], Array] = {}

    @property
    def key(self) -> Key:
        return self.cell.backbone, round(self.cell.target_share, 6), self.cell.control or ""


def analyse(study: StudySummary) -> ReportData:
    """Return every number of the report on `study`; the same study gives the same numbers."""
    cells = [_Evaluated(cell) for cell in study.cells if cell.results.num_rows]
    bootstrap = Bootstrap(
        (group for cell in cells for sums in cell.sums.values() for group in sums.groups),
        resamples=study.rules.resamples,
        seed=study.rules.bootstrap_seed,
    )
    points: dict[Key, list[_Evaluated]] = {}
    for cell in cells:
        points.setdefault(cell.key, []).append(cell)
    backbones = list(dict.fromkeys(key[0] for key in points))
    tasks: list[Row] = []
    curves: list[Row] = []
    for key in sorted(points, key=lambda key: (backbones.index(key[0]), key[2], key[1])):
        group = sorted(points[key], key=lambda cell: cell.cell.seed)
        _score_point(key, group, bootstrap, study, tasks, curves)
    by_cell = {id(cell.cell): cell for cell in cells}

    def target_score(cell: Cell) -> Array | None:
        return by_cell[id(cell)].macro.get((study.target, study.rules.split))

    kept = [cell.cell for cell in cells]
    curves += _compare(kept, study, bootstrap, target_score)
    curves += _compare_controls(points, study, bootstrap)
    languages = list(
        dict.fromkeys([study.target, study.pivot, *(row["language"] for row in tasks)])
    )
    there = {row["language"] for row in tasks}
    return ReportData(
        cells=[_cell_row(cell, study, tasks) for cell in cells],
        tasks=tasks,
        curves=curves,
        verdicts=judge_claims(kept, study.rules, bootstrap, target_score),
        languages=[language for language in languages if language in there],
        task_names=list(dict.fromkeys(row["task"] for row in tasks if row["task"] != MACRO)),
    )


def _score_point(
    key: Key,
    group: Sequence[_Evaluated],
    bootstrap: Bootstrap,
    study: StudySummary,
    tasks: list[Row],
    curves: list[Row],
) -> None:
    """Append the rows of one backbone, share and control: each cell's, and the seeds together."""
    confidence = study.rules.confidence
    for language, split in sorted({place for cell in group for place in cell.sums}):
        there = [cell for cell in group if (language, split) in cell.sums]
        draws: dict[str, list[Array]] = {}
        for cell in there:
            sums = cell.sums[language, split]
            by_task = bootstrap.task_draws(sums)
            cell.macro[language, split] = mean_over_tasks(by_task)
            likely = bootstrap.task_draws(sums, "likely_correct")[:, 0]
            named = [
                *zip(sums.tasks, by_task, likely, strict=True),
                (MACRO, cell.macro[language, split], float(mean_over_tasks(likely[:, None])[0])),
            ]
            for task, drawn, likelihood in named:
                draws.setdefault(task, []).append(drawn)
                found = interval(drawn, confidence, share=True)
                row = _task_row(cell, study.target, language, split, task, found)
                tasks.append(row | {"likelihood_score": _number(likelihood)})
        for task, drawn_by_seed in draws.items():
            found = interval(bootstrap.over_seeds(drawn_by_seed), confidence, share=True)
            sums_of = [cell.sums[language, split] for cell in there]
            n = sum(s.n(None if task == MACRO else task) for s in sums_of if _has(s, task))
            majority = _mean(_majority(cell, language, split, task) for cell in there)
            curves.append(
                _curve_row(key, language, split, "score", task, len(drawn_by_seed), found)
                | {"n": n, "majority": majority}
            )
        for measure in _SHARES if split == "main" else ():
            share = _mean(cell.sums[language, split].share(measure) for cell in there)
            found = Interval(math.nan if share is None else share, math.nan, math.nan)
            curves.append(_curve_row(key, language, split, measure, MACRO, len(there), found))
    for measure, after, before in (
        ("gain_over_blank", "main", "blank"),
        ("gain_over_shuffled", "main", "shuffled"),
        ("text_change", "text", TEXT_BEFORE),
    ):
        for language in sorted({language for cell in group for language, _ in cell.sums}):
            pairs = [
                cell.macro[language, after] - cell.macro[language, before]
                for cell in group
                if (language, after) in cell.macro and (language, before) in cell.macro
            ]
            if pairs:
                found = interval(bootstrap.over_seeds(pairs), confidence)
                curves.append(_curve_row(key, language, after, measure, MACRO, len(pairs), found))


def _compare(
    cells: Sequence[Cell], study: StudySummary, bootstrap: Bootstrap, score: Any
) -> Iterator[Row]:
    """Yield each share's ratio to 100% by backbone, and its gap by pair of backbones."""
    grid = grid_of(cells)
    backbones = list(dict.fromkeys(backbone for backbone, _ in grid))
    shares = sorted({share for _, share in grid})
    rules = study.rules

    def paired(one: tuple[str, float], other: tuple[str, float]) -> tuple[Array, Array, int] | None:
        left, right = grid.get(one, {}), grid.get(other, {})
        both = [
            (score(left[seed]), score(right[seed]))
            for seed in sorted(set(left) & set(right))
            if score(left[seed]) is not None and score(right[seed]) is not None
        ]
        if not both:
            return None
        lefts, rights = zip(*both, strict=True)
        return bootstrap.over_seeds(lefts), bootstrap.over_seeds(rights), len(both)

    for backbone in backbones:
        for share in shares:
            pair = paired((backbone, share), (backbone, 1.0))
            if pair is not None and pair[1][0] > 0:
                found = ratio_bounds(pair[0], pair[1], rules.confidence)
                key = (backbone, share, "")
                yield _curve_row(
                    key, study.target, rules.split, "ratio_to_full", MACRO, pair[2], found
                )
    for one, other in combinations(backbones, 2):
        for share in shares:
            pair = paired((one, share), (other, share))
            if pair is not None:
                found = interval(pair[0] - pair[1], rules.confidence)
                key = (f"{one} − {other}", share, "")
                yield _curve_row(key, study.target, rules.split, "gap", MACRO, pair[2], found)


def _compare_controls(
    points: Mapping[Key, Sequence[_Evaluated]], study: StudySummary, bootstrap: Bootstrap
) -> Iterator[Row]:
    """Yield what the rest of the mixture added to each control, on the seeds that both have."""
    place = (study.target, "main")
    for key, group in points.items():
        backbone, share, control = key
        if not control:
            continue
        mixed = {cell.cell.seed: cell for cell in points.get((backbone, share, ""), ())}
        pairs = [
            mixed[cell.cell.seed].macro[place] - cell.macro[place]
            for cell in sorted(group, key=lambda cell: cell.cell.seed)
            if cell.cell.seed in mixed
            and place in cell.macro
            and place in mixed[cell.cell.seed].macro
        ]
        if pairs:
            found = interval(bootstrap.over_seeds(pairs), study.rules.confidence)
            yield _curve_row(key, *place, "mixture_minus_control", MACRO, len(pairs), found)


def _task_row(
    cell: _Evaluated, target: str, language: str, split: str, task: str, found: Interval
) -> Row:
    sums = cell.sums[language, split]
    name = None if task == MACRO else task
    said = {f"said_{who}": _number(sums.share(f"said_{who}", name)) for who in SAID}
    return {
        **_place(cell),
        "language": language,
        "split": split,
        "task": task,
        "n": sums.n(name),
        "score": _number(found.value),
        "lower": _number(found.lower),
        "upper": _number(found.upper),
        "likelihood_score": None,
        "majority": _majority(cell, language, split, task),
        "right_elsewhere": _number(sums.share("right_elsewhere", name)),
        "wrong_language": said["said_pivot" if language == target else "said_target"],
        **said,
    }


def _place(cell: _Evaluated) -> Row:
    backbone, share, control = cell.key
    return {"backbone": backbone, "share": share, "seed": cell.cell.seed, "control": control}


def _curve_row(
    key: Key, language: str, split: str, measure: str, task: str, seeds: int, found: Interval
) -> Row:
    return {
        "backbone": key[0],
        "share": key[1],
        "control": key[2],
        "language": language,
        "split": split,
        "measure": measure,
        "task": task,
        "seeds": seeds,
        "n": None,
        "value": _number(found.value),
        "lower": _number(found.lower),
        "upper": _number(found.upper),
        "majority": None,
    }


def _cell_row(cell: _Evaluated, study: StudySummary, tasks: Iterable[Row]) -> Row:
    place = _place(cell)
    row = place | {
        "address": cell.cell.address,
        "seconds": round(cell.cell.seconds, 1),
        "supervised_tokens": cell.cell.supervised_tokens,
        "target_token_share": _mean([cell.cell.target_token_share]),
        "items": sum(sums.n() for (_, split), sums in cell.sums.items() if split != TEXT_BEFORE),
    }
    score = {
        (other["language"], other["split"]): other["score"]
        for other in tasks
        if other["task"] == MACRO and all(other[name] == place[name] for name in place)
    }
    for who, language in (("target", study.target), ("pivot", study.pivot)):
        for split in ("main", "wording", "design", "probe", "blank", "shuffled"):
            row[f"{who}_{split}"] = score.get((language, split))
        row[f"{who}_text_before"] = score.get((language, TEXT_BEFORE))
        row[f"{who}_text_after"] = score.get((language, "text"))
    return row


def _has(sums: Sums, task: str) -> bool:
    return task == MACRO or task in sums.tasks


def _majority(cell: _Evaluated, language: str, split: str, task: str) -> float | None:
    if task != MACRO:
        return _number(cell.majority[language, split, task])
    tasks = cell.sums[language, split].tasks
    return _mean(cell.majority[language, split, task] for task in tasks)


def _mean(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return _number(float(np.mean(there))) if there else None


def _number(value: float) -> float | None:
    """Round as the CSV does, so that what is drawn is what is written; None for no number."""
    return round(float(value), 6) if math.isfinite(value) else None
