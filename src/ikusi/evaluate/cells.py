"""One evaluated model of a study, and what is counted in its results.

Place: results, stats -> [cells] -> verdicts, report. Contract: a cell does not change, so its sums
are taken once, however often a report is written while its study goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from ikusi.evaluate.results import Control, show_share
from ikusi.evaluate.stats import Sums, majority_baselines, sum_by_group

TEXT_BEFORE = "text_before"
"""In place of a split: the text-only items, answered by the backbone."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One evaluated model of a study: where it stands in the grid, and its results."""

    backbone: str
    target_share: float
    """Share of stage 2's pictured records that exist in both languages which were in the target's,
    0 to 1."""
    seed: int
    control: Control | None = None
    """None for a cell of the grid itself."""
    address: str
    """Address of the checkpoint in the store."""
    results: pa.Table
    """Rows of `RESULT_SCHEMA`."""
    text_before: pa.Table | None = None
    """The text-only items answered by the backbone, before it learned to see."""
    seconds: float = 0.0
    """What training and evaluating this cell took."""
    supervised_tokens: int = 0
    """Tokens under the loss in its training, both stages, each pass counted."""
    target_token_share: float | None = None
    """Share of the supervised tokens of stage 2's mixture that are in the target language."""

    @property
    def label(self) -> str:
        """Name for people: `adapted 20% seed 0`."""
        control = f" ({self.control.replace('_', ' ')})" if self.control else ""
        return f"{self.backbone} {show_share(self.target_share)} seed {self.seed}{control}"

    @cached_property
    def sums(self) -> dict[tuple[str, str], Sums]:
        """(language, split) -> its sums; `TEXT_BEFORE` is the split that the backbone answered."""
        found = sum_by_group(self.results)
        if self.text_before is not None:
            for (language, split), sums in sum_by_group(self.text_before).items():
                if split == "text":
                    found[language, TEXT_BEFORE] = sums
        return found

    @cached_property
    def majority(self) -> dict[tuple[str, str, str], float]:
        """(language, split, task) -> accuracy of always giving the most frequent answer."""
        found = majority_baselines(self.results)
        if self.text_before is not None:
            for (language, split, task), share in majority_baselines(self.text_before).items():
                if split == "text":
                    found[language, TEXT_BEFORE, task] = share
        return found
