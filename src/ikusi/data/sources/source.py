"""What a source is, as data: its columns, and which column is what in a record.

Place: tables -> [source] -> convert. Contract: a source is declared, not programmed: the published
ones in `captions.py`, `instructions.py` and `benchmarks.py`, one's own in a mapping (`mapping.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from ikusi.core.config import Settings

Kind = Literal["text", "int", "number", "list", "struct", "image", "any"]
"""What the cells of a column are."""
Values = dict[str, Any]
"""Column -> cell."""

_ACCEPTED = {
    "text": {"text"},
    "int": {"int"},
    "number": {"int", "number"},
    "list": {"list"},
    "struct": {"struct"},
    "image": {"image", "text"},  # bytes, a path or a url
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a source has."""

    name: str
    kind: Kind = "any"
    optional: bool = False
    """Read where it is there."""

    def accepts(self, found: str) -> bool:
        """Return whether a column whose cells are of the kind `found` can be this one."""
        return self.kind == "any" or found in ("null", "any") or found in _ACCEPTED[self.kind]

    def __str__(self) -> str:
        """Return it as an error shows it."""
        return f"{self.name} ({self.kind}{', optional' if self.optional else ''})"


def columns(text: str) -> tuple[Column, ...]:
    """Return the columns that `image_url text, transcripts list?` means; `?` marks optional."""
    made = []
    for item in text.split(","):
        name, _, kind = item.strip().partition(" ")
        made.append(Column(name, kind.rstrip("?") or "any", kind.endswith("?")))  # type: ignore[arg-type]  # tested
    return tuple(made)


class Fields(Settings):
    """Which column is what; the names of columns are the source's. Empty: there is none."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "image": "images",
        "url": "images",
        "prompt": "question",
        "response": "answer",
        "messages": "conversation",
        "conversations": "conversation",
        "id": "group",
        "label": "correct",
    }

    group: str = ""
    """What belongs together across languages. Default: the first picture's url or sha256, and where
    there is no picture, the record itself."""
    images: str = ""
    """A picture or a list of them: a path, a url, bytes, or base64."""
    pictures: Literal["any", "url", "base64"] = "any"
    """How the cells of `images` are read; `any` tells paths, urls and bytes apart by themselves."""
    sha256: str = ""
    """The published sha256 of the picture behind the url."""
    caption: str = ""
    """A text that describes the picture."""
    text: str = ""
    """A text without a picture, to be learned as it stands."""
    question: str = ""
    """What the user says."""
    hint: str = ""
    """Stands before the question, on a line of its own, where a row has one."""
    answer: str = ""
    """What the assistant says."""
    conversation: str = ""
    """A list of turns: {role, content} or {from, value}, {user, assistant}, or texts by turns."""
    system: str = ""
    """What the system says before the conversation."""
    marks: bool = False
    """Whether `<image>` in a user's text stands for a picture. If not, it is only text, and the
    pictures stand before the first question."""
    choices: str | tuple[str, ...] = ""
    """Options of a multiple-choice question: one column with all, or one column for each."""
    correct: str = ""
    """Which of the choices is right."""
    correct_is: Literal["index", "letter", "text"] = "index"
    """What `correct` holds: a number from 0, a letter from A, or the option's own text."""
    answers: str = ""
    """Accepted answers: a list of texts or of {answer: ...}."""
    language: str = ""
    """BCP-47 code of the row."""
    ratings: dict[str, str] = {}  # noqa: RUF012  # a field of pydantic, copied for each
    """Name of a rating -> column with a list of whole numbers, one for each question."""
    meta: tuple[str, ...] = ()
    """Columns to keep beside the record."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        said = [k for k in ("caption", "text", "question", "conversation") if getattr(self, k)]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)}: a row is one of them; keep one")
        if not said and not self.answers:
            raise ValueError("name the column of the caption, text, question or conversation")
        if self.answer and not self.question:
            raise ValueError("an answer needs a question; a description is a caption")
        if self.caption and not self.images:
            raise ValueError("a caption needs images; text without pictures is text")
        return self

    def columns(self) -> tuple[str, ...]:
        """Return the names of the columns that are read, each once."""
        names = [self.group, self.images, self.sha256, self.caption, self.text, self.question]
        names += [self.hint, self.answer, self.conversation, self.system, self.correct]
        names += [self.answers, self.language]
        names += [self.choices] if isinstance(self.choices, str) else self.choices
        return tuple(dict.fromkeys(n for n in (*names, *self.ratings.values(), *self.meta) if n))


@dataclass(frozen=True, kw_only=True)
class View:
    """One record of a row."""

    fields: Fields
    language: str = ""
    """BCP-47; empty: the source's only one, the row's, or the one that is asked for."""
    provenance: str = ""
    """Empty: the source's."""
    parent: str = ""
    """Language of the view that this one was translated from."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row becomes no record."""

    reason: str
    """A short name that is counted."""
    detail: str = ""


class RowFault(Exception):
    """Something in a row is wrong."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.fault = Fault(reason, detail)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a source, or what is wrong with it."""

    number: int
    """From 0, in its split."""
    place: str
    """For people: the line of a text file, or the row of another."""
    values: Values
    """Of a broken row, what can be shown of it."""
    fault: Fault | None = None
    split: str = ""


Reshape = Callable[[Values, str], Values | None]
"""A row and the wanted language in; a flat row out, or None where it is in no such language."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A set of data, or a format that many sets have."""

    name: str
    """What a person types."""
    about: str
    columns: tuple[Column, ...]
    """As they are published."""
    views: tuple[View, ...]
    """The records that one row makes."""
    task: str
    """`Record.task`; for an evaluation set, its name."""
    schema: Literal["published", "assumed"] = "published"
    """Whether the columns are those of the published files, or what they are assumed to be."""
    set: str = ""
    """`Record.source`: the set that this is a version of. Default: the name."""
    hub: str = ""
    """Id on the hub."""
    subset: str = ""
    """Configuration on the hub, where it needs one."""
    splits: tuple[str, ...] = ("train",)
    """Splits on the hub that are read when none is asked for."""
    split_languages: Mapping[str, str] | None = None
    """Split -> language, where each split is in another one."""
    language: str = ""
    """BCP-47, where all rows are in one. Else see `views`, `split_languages`, `any_language`."""
    any_language: bool = False
    """Whether its rows are in many languages, of which one has to be asked for."""
    licence: str = ""
    """Of the texts; empty: not known."""
    provenance: str = ""
    """Who or what wrote the texts; empty: not known."""
    evaluates: bool = False
    """Whether its rows are evaluation items: the answers are not among the turns."""
    is_format: bool = False
    """Whether it is a format of many sets, so that its language has to be told."""
    header: tuple[str, ...] = ()
    """Names of the columns, where the table has no header."""
    quoted: bool = True
    """Whether a table's cells may stand in quotation marks."""
    reshape: Reshape | None = None
    prepare: Callable[[Iterator[Row]], Iterator[Row]] | None = None
    """Reads rows in order, where one refers to another."""

    @property
    def base(self) -> str:
        """The set that this is a version of."""
        return self.set or self.name

    @property
    def languages(self) -> tuple[str, ...]:
        """The languages that it is published in; empty: it has to be told, or asked for."""
        if self.split_languages:
            return tuple(dict.fromkeys(self.split_languages.values()))
        if self.language:
            return (self.language,)
        return tuple(view.language for view in self.views if view.language)

    def selected(
        self, rows: Iterator[Row], language: str, passed: Counter[str] | None = None
    ) -> Iterator[Row]:
        """Yield the rows as `views` read them; those in other languages are counted in `passed`."""
        for row in self.prepare(rows) if self.prepare else rows:
            if self.reshape is None or row.fault is not None:
                yield row
                continue
            try:
                values = self.reshape(row.values, language)
            except RowFault as error:
                yield replace(row, fault=error.fault)
                continue
            if values is not None:
                yield replace(row, values=values)
            elif passed is not None:
                passed["other-language"] += 1

    def uses(self) -> tuple[str, ...]:
        """Return the columns to read."""
        if self.reshape:
            return tuple(column.name for column in self.columns)
        return tuple(dict.fromkeys(n for view in self.views for n in view.fields.columns()))
