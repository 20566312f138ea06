"""What may be published under which licence, from the licences that the rows carry.

Place: import and translate write them -> [licences] -> publish. Contract: a row's licence is an
SPDX expression of all that it was made from: its source's, its translator's (`CC-BY-4.0 AND
CC-BY-NC-4.0`). What is not known permits nothing. This is a check against mistakes and no legal
advice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from ikusi.core.errors import DataError, suggest


@dataclass(frozen=True, slots=True)
class Licence:
    """What a licence asks of those who pass a work on."""

    id: str
    """SPDX identifier, or `LicenseRef-...` where SPDX has none."""
    url: str = ""
    hub: str = ""
    """The hub's tag for it; empty where the hub has none."""
    attribution: bool = True
    share_alike: str = ""
    """Family whose licence adapted works must have; empty where they are free to choose."""
    version: float = 0.0
    """Within its family: works may go on under a later version."""
    non_commercial: bool = False
    no_derivatives: bool = False
    own_terms: bool = False
    """Has terms that no other licence keeps, so it has to be named."""
    known: bool = True

    @property
    def kind(self) -> str:
        """In words, for messages and cards."""
        if not self.known:
            return "unknown: permits nothing"
        words = [
            word
            for word, holds in (
                ("no derivatives", self.no_derivatives),
                ("non-commercial", self.non_commercial),
                ("share-alike", bool(self.share_alike)),
                ("terms of its own", self.own_terms),
            )
            if holds
        ]
        return ", ".join(words) or ("open, with attribution" if self.attribution else "open")

    def covers(self, other: Licence) -> bool:
        """Return whether publishing under this one keeps all that `other` asks for."""
        if self.id == other.id:
            return self.known
        if not (self.known and other.known) or self.own_terms or other.own_terms:
            return False
        if other.share_alike:
            return self.share_alike == other.share_alike and self.version >= other.version
        return (
            self.attribution >= other.attribution
            and self.non_commercial >= other.non_commercial
            and self.no_derivatives >= other.no_derivatives
        )


UNKNOWN = "unknown"
"""Licence of an output of which something permits nothing that is known."""


def _creative_commons() -> Iterator[Licence]:
    site = "https://creativecommons.org/licenses"
    for number in ("1.0", "2.0", "2.5", "3.0", "4.0"):
        for terms in ("BY", "BY-SA", "BY-NC", "BY-ND", "BY-NC-SA", "BY-NC-ND"):
            tagged = number == "4.0" or (number, terms) in (("3.0", "BY-SA"), ("2.0", "BY"))
            yield Licence(
                f"CC-{terms}-{number}",
                f"{site}/{terms.lower()}/{number}/",
                f"cc-{terms}-{number}".lower() if tagged else "",
                share_alike=f"CC-{terms}" if terms.endswith("SA") else "",
                version=float(number),
                non_commercial="NC" in terms,
                no_derivatives="ND" in terms,
            )


_TABLE: tuple[Licence, ...] = (
    *_creative_commons(),
    Licence(
        "CC0-1.0",
        "https://creativecommons.org/publicdomain/zero/1.0/",
        "cc0-1.0",
        attribution=False,
    ),
    Licence("PDDL-1.0", "https://opendatacommons.org/licenses/pddl/1-0/", "pddl", False),
    Licence(
        "LicenseRef-Public-Domain",
        "https://creativecommons.org/publicdomain/mark/1.0/",
        attribution=False,
    ),
    Licence("ODC-By-1.0", "https://opendatacommons.org/licenses/by/1-0/", "odc-by"),
    Licence(
        "ODbL-1.0", "https://opendatacommons.org/licenses/odbl/1-0/", "odbl", share_alike="ODbL"
    ),
    Licence("CDLA-Permissive-1.0", "https://cdla.dev/permissive-1-0/", "cdla-permissive-1.0"),
    Licence("CDLA-Permissive-2.0", "https://cdla.dev/permissive-2-0/", "cdla-permissive-2.0"),
    Licence(
        "CDLA-Sharing-1.0", "https://cdla.dev/sharing-1-0/", "cdla-sharing-1.0", share_alike="CDLA"
    ),
    Licence("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0", "apache-2.0"),
    Licence("MIT", "https://opensource.org/license/mit", "mit"),
    Licence("BSD-2-Clause", "https://opensource.org/license/bsd-2-clause", "bsd-2-clause"),
    Licence("BSD-3-Clause", "https://opensource.org/license/bsd-3-clause", "bsd-3-clause"),
    Licence("Unicode-3.0", "https://www.unicode.org/license.txt"),
    Licence("Unicode-DFS-2016", "https://www.unicode.org/copyright.html"),
    Licence("OFL-1.1", "https://openfontlicense.org/", "ofl-1.1", share_alike="OFL"),
    Licence(
        "GFDL-1.3-or-later", "https://www.gnu.org/licenses/fdl-1.3.html", "", share_alike="GFDL"
    ),
    Licence(
        "GPL-2.0-only",
        "https://www.gnu.org/licenses/old-licenses/gpl-2.0.html",
        "gpl-2.0",
        share_alike="GPL-2.0",
    ),
    Licence(
        "GPL-3.0-or-later",
        "https://www.gnu.org/licenses/gpl-3.0.html",
        "gpl-3.0",
        share_alike="GPL-3.0",
    ),
    Licence(
        "LicenseRef-Conceptual-Captions",
        "https://github.com/google-research-datasets/conceptual-captions/blob/master/LICENSE",
    ),
    Licence(
        "LicenseRef-Llama-3.1",
        "https://www.llama.com/llama3_1/license/",
        "llama3.1",
        own_terms=True,
    ),
    Licence(
        "LicenseRef-Llama-3.2",
        "https://www.llama.com/llama3_2/license/",
        "llama3.2",
        own_terms=True,
    ),
    Licence(
        "LicenseRef-Llama-3.3",
        "https://www.llama.com/llama3_3/license/",
        "llama3.3",
        own_terms=True,
    ),
    Licence("LicenseRef-Gemma", "https://ai.google.dev/gemma/terms", "gemma", own_terms=True),
)

LICENCES: Mapping[str, Licence] = {licence.id: licence for licence in _TABLE}
"""The licences that are known, by their identifier."""

_ALIASES = {
    **{licence.id.lower(): licence.id for licence in _TABLE},
    **{licence.hub: licence.id for licence in _TABLE if licence.hub},
    "public-domain": "LicenseRef-Public-Domain",
    "odc-by-1.0": "ODC-By-1.0",
    "gpl-2.0": "GPL-2.0-only",
    "gpl-3.0": "GPL-3.0-or-later",
    "gpl-3.0-only": "GPL-3.0-or-later",
    "gfdl": "GFDL-1.3-or-later",
    "apache 2.0": "Apache-2.0",
}
# Said where there is no licence, or none of ours: the hub's `other`, and blanks.
_NO_LICENCE = {"", UNKNOWN, "other", "none", "noassertion"}


def licence(name: str) -> Licence:
    """Return what is known of one licence: an SPDX identifier or the hub's tag, in any case."""
    found = _ALIASES.get(name.strip().lower())
    if found is not None:
        return LICENCES[found]
    given = name.strip()
    return Licence(UNKNOWN if given.lower() in _NO_LICENCE else given, known=False)


@lru_cache(maxsize=4096)
def parse_licence(expression: str) -> tuple[tuple[Licence, ...], ...]:
    """Return the alternatives of an SPDX expression, each with the licences that hold together.

    `A AND (B OR C)` gives `((A, B), (A, C))`. What is no expression, or has more alternatives than
    anybody means, is one licence that is not known.
    """
    tokens = re.findall(r"\(|\)|[^\s()]+", expression)
    whole = ((licence(expression),),)
    if not tokens or whole[0][0].known:
        return whole
    try:
        alternatives, rest = _parse_or(tokens)
    except (_NoExpression, RecursionError):
        return whole
    unique = tuple(dict.fromkeys(_simplify(terms) for terms in alternatives))
    return whole if rest else unique


class _NoExpression(Exception):
    """The text is something else."""


_Options = list[tuple[Licence, ...]]
_MAX_OPTIONS = 64


def _parse_or(tokens: list[str]) -> tuple[_Options, list[str]]:
    found, rest = _parse_and(tokens)
    while rest and rest[0].upper() == "OR":
        more, rest = _parse_and(rest[1:])
        found = found + more
    return found, rest


def _parse_and(tokens: list[str]) -> tuple[_Options, list[str]]:
    found, rest = _parse_one(tokens)
    while rest and rest[0].upper() == "AND":
        more, rest = _parse_one(rest[1:])
        if len(found) * len(more) > _MAX_OPTIONS:
            raise _NoExpression
        found = [left + right for left in found for right in more]
    return found, rest


def _parse_one(tokens: list[str]) -> tuple[_Options, list[str]]:
    if not tokens or tokens[0].upper() in ("AND", "OR", ")"):
        raise _NoExpression
    if tokens[0] == "(":
        found, rest = _parse_or(tokens[1:])
        if not rest or rest[0] != ")":
            raise _NoExpression
        return found, rest[1:]
    return [(licence(tokens[0]),)], tokens[1:]


def _simplify(terms: Iterable[Licence]) -> tuple[Licence, ...]:
    """Return the licences without repetitions, sorted."""
    return tuple(sorted(dict.fromkeys(terms), key=lambda term: term.id.lower()))


def join_licences(*expressions: str) -> str:
    """Return the expression of what was made from works under all of these.

        join_licences("CC-BY-4.0", "CC-BY-NC-4.0")    # "CC-BY-4.0 AND CC-BY-NC-4.0"

    An alternative (`A OR B`) stays open; one that is not known stays in it.
    """
    together: tuple[tuple[Licence, ...], ...] = ((),)
    for expression in dict.fromkeys(expressions):
        options = parse_licence(expression)
        together = tuple(left + right for left in together for right in options)
    texts = list(dict.fromkeys(_to_text(_simplify(terms)) for terms in together))
    if len(texts) == 1:
        return texts[0]
    return " OR ".join(f"({text})" if " AND " in text else text for text in texts)


def _to_text(terms: Iterable[Licence]) -> str:
    return " AND ".join(term.id for term in terms)


@dataclass(frozen=True, slots=True)
class RowsUnder:
    """Some rows of one licence, one origin."""

    licence: str
    """The rows' expression."""
    source: str
    provenance: str
    derived: bool
    """Whether they are an adaptation, such as a translation."""
    count: int
    example: str
    """Id of the first of them."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Under what rows are published, or why not."""

    licence: str
    """The expression for the whole; `unknown` when some rows have none that is known."""
    refusals: tuple[str, ...]
    """Sentences that say which rows may not go out like that, and why; empty when all may."""


def judge_licence(rows: Iterable[RowsUnder], wanted: str | None) -> Verdict:
    """Return the joint licence of `rows`, and what speaks against publishing them under `wanted`.

    Args:
        rows: all rows, by licence and origin.
        wanted: an expression, or None for the joint licence of the rows.

    Raises:
        DataError: `wanted` names a licence that is not known.
    """
    listed = list(rows)
    total = sum(group.count for group in listed)
    joint = _joint(listed)
    target: tuple[tuple[Licence, ...], ...] = ()
    if wanted is not None and wanted.strip().lower() != UNKNOWN:
        target = parse_licence(wanted)
        for term in (term for terms in target for term in terms):
            if not term.known:
                raise DataError(f"licence {term.id!r} is not known. {suggest(term.id, LICENCES)}")
    refusals = []
    for group in listed:
        if why := _refusal(group, target):
            refusals.append(
                f"{group.count:,} of {total:,} rows ({group.source}, {group.provenance or 'native'}"
                f", such as {group.example}) {why}"
            )
    return Verdict(join_licences(wanted) if target and wanted else joint, tuple(refusals))


def _joint(rows: Iterable[RowsUnder]) -> str:
    """Return what holds for all rows together; of alternatives the first is taken."""
    terms = [term for group in rows for term in parse_licence(group.licence)[0]]
    if not terms or not all(term.known for term in terms):
        return UNKNOWN
    kept = [
        term
        for term in dict.fromkeys(terms)
        if not any(o != term and o.covers(term) and not term.covers(o) for o in terms)
    ]
    return _to_text(_simplify(kept or terms))


def _refusal(rows: RowsUnder, target: tuple[tuple[Licence, ...], ...]) -> str:
    """Return why the rows may not be published under `target`, nothing when they may."""
    options = parse_licence(rows.licence)
    if rows.derived:
        options = tuple(o for o in options if not any(t.no_derivatives for t in o))
        if not options:
            return f"are translated, which {rows.licence} forbids (no derivatives)"
    if not target:
        return ""
    missed: list[Licence] = []
    for terms in options:
        for promised in target:  # whoever takes the set may choose any of them
            open_ = [t for t in terms if not any(p.covers(t) for p in promised)]
            if open_:
                missed = missed or open_
                break
        else:
            return ""
    reason = "; ".join(f"{t.id}, {t.kind}" for t in missed)
    return f"are under {rows.licence or UNKNOWN} ({reason})"
