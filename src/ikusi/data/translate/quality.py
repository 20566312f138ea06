"""How good is a translation? Estimates that say so without a reference, and what they are worth.

Place: hop -> [quality] -> kept or dropped. Back-translation: who translates back is compared with
the source by chrF++ (sacrebleu, word order 2). COMET-QE and its like: a command in an environment
of its own, since its dependencies do not live with ours.

A threshold means nothing by itself: `calibrate` shows how many good pairs each would keep, and how
many bad ones it would let through, on a parallel sample of the languages in question.
"""

from __future__ import annotations

import contextlib
import json
import random
import shlex
import subprocess
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ikusi.core.errors import ConfigError, DataError, first_line
from ikusi.core.types import Record
from ikusi.data.steps import Drop, Outcome
from ikusi.data.translate.faults import MAX_DETAIL
from ikusi.data.translate.settings import Comet

CHRF_SIGNATURE = "chrF++ (nc:6, nw:2, sacrebleu)"


@cache
def _chrf() -> Any:
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ImportError:
        raise ConfigError(
            "Back-translation is compared by sacrebleu, which is not installed. "
            "Install it: pip install 'ikusi[data]'"
        ) from None
    return CHRF(word_order=2)


def chrf(text: str, reference: str) -> float:
    """Return the chrF++ of a text, 0 to 100.

    Raises:
        ConfigError: sacrebleu is not installed.
    """
    score: float = _chrf().sentence_score(text, [reference]).score
    return score


def text_of(record: Record) -> str:
    """Return all texts of a record that are translated, a line each."""
    lines = [turn.text for turn in record.turns] + [*record.choices, *record.answers]
    return "\n".join(line.strip() for line in lines if line.strip())


class Scorer:
    """A command that answers lines of `{"src": ..., "mt": ...}` with lines that hold a number."""

    def __init__(self, command: str) -> None:
        """Prepare; the command is started with the first question."""
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the command."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None and process.stdout is not None:
            if kind is not None:
                process.kill()
            with contextlib.suppress(OSError):
                process.stdin.close()
            process.stdout.close()
            process.wait()

    def score(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return a number for each (source, translation).

        Raises:
            DataError: the command cannot be started, ended early, or said something else.
        """
        process = self._started()
        assert process.stdin is not None and process.stdout is not None
        lines = [json.dumps({"src": one, "mt": other}) + "\n" for one, other in pairs]

        def write() -> None:  # beside the reading: pipes hold little, and it may answer late
            try:
                process.stdin.writelines(lines)  # type: ignore[union-attr]  # it is a pipe
                process.stdin.flush()  # type: ignore[union-attr]  # the same
            except (OSError, ValueError):
                return  # it ended: reading tells

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        scores = []
        for _ in pairs:
            line = process.stdout.readline()
            try:
                scores.append(float(line))
            except ValueError:
                said = f"said {line.strip()[:80]!r}" if line else f"ended with {process.wait()}"
                raise DataError(
                    f"quality.comet.command: {said} instead of a number. Run it by hand: "
                    f"{self._command[:200]}"
                ) from None
        writer.join()
        return scores

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            try:
                self._process = subprocess.Popen(
                    shlex.split(self._command),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                    encoding="utf-8",
                    bufsize=1 << 16,
                )
            except (OSError, ValueError) as error:
                raise DataError(
                    f"quality.comet.command: cannot be started ({first_line(error)})."
                ) from None
        return self._process


class Estimate:
    """The command that estimates quality, if one is set, and its threshold."""

    def __init__(self, comet: Comet | None) -> None:
        """Prepare."""
        self._comet = comet
        self._scorer = Scorer(self._comet.command) if self._comet else None

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *error: Any) -> None:
        """End the command."""
        if self._scorer is not None:
            self._scorer.__exit__(*error)

    def judge(self, records: Sequence[Record], outcomes: list[Outcome]) -> list[Outcome]:
        """Return outcomes, those that score too low as drops."""
        if self._scorer is None or self._comet is None:
            return outcomes
        made = [(n, one) for n, one in enumerate(outcomes) if isinstance(one, Record)]
        pairs = [(text_of(records[number]), text_of(one)) for number, one in made]
        judged = list(outcomes)
        scores = self._scorer.score(pairs)
        for (number, _), (_, told), score in zip(made, pairs, scores, strict=True):
            if not score >= self._comet.threshold:  # what is no number (nan) does not pass
                detail = f"{score:.4f} of {self._comet.threshold:g}: {told!r}"
                judged[number] = Drop("quality-estimate", records[number], detail[:MAX_DETAIL])
        return judged


# -- calibrating


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and a translation of it, good or bad."""

    source: str
    target: str
    is_good: bool


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold does."""

    threshold: float
    kept: int
    """Pairs that pass, good or bad."""
    precision: float
    """Share of the kept ones that are good."""
    recall: float
    """Share of the good ones that are kept."""


def read_pairs(path: Path, seed: int = 0) -> list[Pair]:
    """Return the pairs of a parallel sample; where it has no bad ones, they are made.

    Args:
        path: TSV without a header: source, target, and perhaps `good` or `bad`. Without the third
            column, each source also gets the target of another row, and the first half of its own:
            two ways in which translations go wrong.
        seed: of which other row.

    Raises:
        ConfigError: the file is no such TSV; names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({first_line(error)}).") from None
    pairs: list[Pair] = []
    judged: set[bool] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) not in (2, 3) or not all(cells):
            raise ConfigError(
                f"{path}, line {number}: has no source and target with a tab between them."
            )
        if len(cells) == 3 and cells[2] not in ("good", "bad"):
            raise ConfigError(f"{path}, line {number}: {cells[2]!r} is neither `good` nor `bad`.")
        judged.add(len(cells) == 3)
        pairs.append(Pair(cells[0], cells[1], len(cells) == 2 or cells[2] == "good"))
    if len(pairs) < 2 or len(judged) > 1:
        raise ConfigError(f"{path}: needs two pairs or more, all of them judged or none.")
    if judged == {True}:
        return pairs
    rng = random.Random(seed)
    order = list(range(len(pairs)))
    rng.shuffle(order)
    bad = []
    for place, number in enumerate(order):
        source, own = pairs[number].source, pairs[number].target
        other = pairs[order[place - 1]].target
        words = own.split()
        half = " ".join(words[: len(words) // 2]) if len(words) > 3 else own[: len(own) // 2]
        bad += [Pair(source, text, False) for text in (other, half) if text and text != own]
    return pairs + bad


def judge_thresholds(
    scored: Sequence[tuple[float, bool]], thresholds: Sequence[float]
) -> list[Point]:
    """Return what each threshold does to pairs of (score, whether it is good)."""
    good = sum(is_good for _, is_good in scored)
    points = []
    for threshold in thresholds:
        kept = [is_good for score, is_good in scored if score >= threshold]
        points.append(
            Point(
                threshold,
                len(kept),
                sum(kept) / len(kept) if kept else 1.0,
                sum(kept) / good if good else 0.0,
            )
        )
    return points
