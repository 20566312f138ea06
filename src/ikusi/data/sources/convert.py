"""A source's row -> its records, or a drop with all that is wrong with it.

Place: tables -> [convert] -> steps. Contract: each row gives one outcome for every view of its
source; what is wrong with a row is told, never raised; the same row at the same place gives the
same record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from ikusi.core.types import Image, ImageRef, Record, Text, Turn
from ikusi.data.sources.choices import LETTERS, find_correct, read_choices, read_literal
from ikusi.data.sources.conversation import Said, check_order, make_turns, read_conversation
from ikusi.data.sources.pictures import Pictures
from ikusi.data.sources.source import Fault, Fields, Row, RowFault, Source, Values, View
from ikusi.data.sources.tables import describe
from ikusi.data.steps import Drop, Outcome

SHOWN_CHARACTERS = 2000
"""Of a dropped row's longer texts, so many are kept in the ledger: the rest is in the source."""


class Converter:
    """Makes records of one source's rows."""

    def __init__(
        self,
        source: Source,
        pictures: Pictures,
        *,
        language: str = "",
        licence: str = "",
        prefix: str = "",
    ) -> None:
        """Convert with these.

        Args:
            source: says which column is what.
            pictures: takes the cells that mean pictures.
            language: of the records; where the source has several, make only this one's.
            licence: of the texts. Default: the source's.
            prefix: of ids. Default: the name of the set.
        """
        self.source = source
        self._pictures = pictures
        self._language = language
        self._licence = licence or source.licence
        self._prefix = prefix or source.base
        self._views = [
            view
            for view in source.views
            if not language or view.language in ("", language) or len(source.views) == 1
        ]
        self._made = {view.language for view in self._views}

    @property
    def num_views(self) -> int:
        """Outcomes of each row."""
        return len(self._views)

    def convert(self, row: Row) -> list[Outcome]:
        """Return one outcome for each view."""
        return [self._outcome(row, view) for view in self._views]

    def faults(self, row: Row) -> list[Fault]:
        """Return all that is wrong with a row, of every view."""
        if row.fault is not None:
            return [row.fault]
        found: dict[Fault, None] = {}
        for view in self._views:
            found |= dict.fromkeys(self._build(row, view)[1])
        return list(found)

    def _outcome(self, row: Row, view: View) -> Outcome:
        name = self._id(row, view.language)
        faults = [row.fault] if row.fault else []
        if not faults:
            record, faults = self._build(row, view)
            if record is not None:
                return record
        told = "; ".join(
            fault.detail if fault.reason == faults[0].reason else f"{fault.reason}: {fault.detail}"
            for fault in faults
        )
        detail = f"{row.place}: {told}" if told else row.place
        return Drop(faults[0].reason, None, detail, name, self.source.base, shown(row.values))

    def _id(self, row: Row, language: str) -> str:
        parts = [self._prefix]
        if row.split:
            parts.append(row.split)
        parts.append(f"{row.number:08d}")
        if len(self.source.views) > 1:
            parts.append(language)
        return "-".join(parts)

    def _build(self, row: Row, view: View) -> tuple[Record | None, list[Fault]]:
        maker = _Maker(row.values, view.fields, self._pictures)
        turns, images, choices, answers = maker.make()
        language = view.language or self._row_language(row, maker)
        ratings = maker.ratings(sum(turn.role == "user" for turn in turns))
        meta = {name: plain(row.values.get(name)) for name in view.fields.meta}
        if not language:
            maker.faults.append(Fault("language-missing", "the row does not say its language"))
        if maker.faults:
            return None, maker.faults
        name = self._id(row, view.language)
        parent = view.parent if view.parent in self._made else ""
        return Record(
            id=name,
            group=maker.group() or (images[0].url or images[0].sha256 if images else "") or name,
            turns=turns,
            language=language,
            task=self.source.task,
            source=self.source.base,
            images=images,
            choices=choices,
            answers=answers,
            licence=self._licence,
            provenance=view.provenance or self.source.provenance,
            parent=self._id(row, parent) if parent else None,
            ratings=ratings,
            meta={key: value for key, value in meta.items() if value is not None},
        ), []

    def _row_language(self, row: Row, maker: _Maker) -> str:
        if self.source.split_languages and row.split in self.source.split_languages:
            return self.source.split_languages[row.split]
        column = maker.fields.language
        told = maker.values.get(column) if column else None
        if isinstance(told, str) and told.strip() and not self.source.any_language:
            return told.strip()
        return self._language or self.source.language


class _Maker:
    """Reads the cells of one row; collects what is wrong instead of stopping at the first."""

    def __init__(self, values: Values, fields: Fields, pictures: Pictures) -> None:
        self.values = values
        self.fields = fields
        self.faults: list[Fault] = []
        self._pictures = pictures

    def make(
        self,
    ) -> tuple[tuple[Turn, ...], tuple[ImageRef, ...], tuple[str, ...], tuple[str, ...]]:
        """Return turns, images, choices and answers."""
        fields = self.fields
        images = self._images()
        choices, answers = self._choices_and_answers()
        every = tuple(Image(index) for index in range(len(images)))
        if fields.text:
            return (Turn("assistant", (Text(self._text(fields.text)),)),), (), choices, answers
        if fields.caption:
            text = self._text(fields.caption)
            return (
                (Turn("user", every), Turn("assistant", (Text(text),))),
                images,
                choices,
                answers,
            )
        if not fields.question and not fields.conversation:  # the picture is all that is given
            return (Turn("user", every),), images, choices, answers
        said = self._said()
        if not said:  # which has been told
            return (), images, choices, answers
        turns = make_turns(said, len(images), fields.marks, self.faults)
        return turns, images, choices, answers

    def _said(self) -> list[Said]:
        fields = self.fields
        said: list[Said] = []
        if fields.conversation:
            cell = self._cell(fields.conversation)
            if fields.conversation not in self.values:
                return []
            said = read_conversation(cell, self.faults)
            check_order(said, self.faults)
        else:
            question = self._text(fields.question)
            hint = self.values.get(fields.hint) if fields.hint else None
            if isinstance(hint, str) and hint.strip():
                question = f"{hint.strip()}\n{question}"
            said = [("user", question)]
            if fields.answer:
                said.append(("assistant", self._text(fields.answer)))
            if not all(text for _, text in said):
                return []
        system = self.values.get(fields.system) if fields.system else None
        if isinstance(system, str) and system.strip():
            said.insert(0, ("system", system))
        return said

    def _cell(self, column: str) -> Any:
        if column not in self.values:
            self.faults.append(Fault("column-missing", f"there is no {column!r}"))
        return self.values.get(column)

    def _text(self, column: str) -> str:
        """Return a text that has to be there; an empty one if it is not, with a fault."""
        cell = self._cell(column)
        if isinstance(cell, str):
            if not cell.strip():
                self.faults.append(Fault("text-empty", f"{column!r} is empty"))
                return ""
            return cell
        if column in self.values:
            told = "is empty" if cell is None else f"is {describe(cell)}, no text"
            reason = "text-empty" if cell is None else "column-type"
            self.faults.append(Fault(reason, f"{column!r} {told}"))
        return ""

    def _images(self) -> tuple[ImageRef, ...]:
        fields = self.fields
        if not fields.images:
            return ()
        cell = self.values.get(fields.images)
        if cell is None or cell == "":
            if not fields.conversation:  # a conversation may be about no picture
                self.faults.append(Fault("image-none", f"{fields.images!r} is empty"))
            return ()
        sha256 = self.values.get(fields.sha256) if fields.sha256 else None
        made: list[ImageRef] = []
        for item in cell if isinstance(cell, list | tuple) else [cell]:
            try:
                known = sha256 if isinstance(sha256, str) else None
                made.append(self._pictures.take(item, fields.pictures, known))
            except RowFault as error:
                self.faults.append(error.fault)
                made.append(ImageRef())  # so that marks are still counted against them
        return tuple(made)

    def _choices_and_answers(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        fields = self.fields
        choices: tuple[str, ...] = ()
        answers: tuple[str, ...] = ()
        try:
            letters = list(LETTERS)
            if isinstance(fields.choices, tuple):
                cells = [(name, self.values.get(name)) for name in fields.choices]
                given = [(n, c.strip()) for n, c in cells if isinstance(c, str) and c.strip()]
                choices = tuple(cell for _, cell in given)
                letters = [name.upper() for name, _ in given]
            elif fields.choices:
                choices = read_choices(self._cell(fields.choices))
            if fields.answers:
                answers = _answers(self._cell(fields.answers))
            if fields.correct and (choices or not fields.choices):
                cell = self._cell(fields.correct) if choices else self.values.get(fields.correct)
                answers = self._with_reference(cell, choices, letters, answers)
        except RowFault as error:
            self.faults.append(error.fault)
        else:
            if (fields.correct or fields.answers) and not answers:
                self.faults.append(Fault("answer-missing", "there is no accepted answer"))
        return choices, answers

    def _with_reference(
        self, cell: Any, choices: tuple[str, ...], letters: list[str], answers: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return the accepted answers, the one that `cell` tells first."""
        if choices:
            return (find_correct(cell, self.fields.correct_is, choices, letters),)
        if not isinstance(cell, str) or not cell.strip():
            return answers
        # All that people said is kept, as often as they said it: scores count how many agree.
        first = [answer for answer in answers if answer == cell]
        return tuple(first or [cell]) + tuple(answer for answer in answers if answer != cell)

    def group(self) -> str:
        """Return the source's own key, or nothing."""
        cell = self.values.get(self.fields.group) if self.fields.group else None
        return str(cell).strip() if isinstance(cell, str | int) else ""

    def ratings(self, num_exchanges: int) -> dict[str, tuple[int | None, ...]]:
        """Return the ratings of each exchange."""
        made: dict[str, tuple[int | None, ...]] = {}
        for name, column in self.fields.ratings.items():
            cell = self.values.get(column)
            if cell is None:
                continue
            values = cell if isinstance(cell, list | tuple) else [cell]
            if not all(value is None or type(value) is int for value in values):
                self.faults.append(Fault("ratings-type", f"{column!r} holds no whole numbers"))
            elif len(values) != num_exchanges:
                told = f"{column!r}: {len(values)} ratings for {num_exchanges} questions"
                self.faults.append(Fault("ratings-count", told))
            elif any(value is not None and abs(value) >= 2**31 for value in values):
                self.faults.append(Fault("ratings-type", f"{column!r}: a number is too large"))
            else:
                made[name] = tuple(values)
        return made


def _answers(cell: Any) -> tuple[str, ...]:
    """Return the texts in a list of texts or of {answer: ...}; empty ones are left out."""
    if isinstance(cell, Mapping) and isinstance(cell.get("answer"), list | tuple):
        cell = cell["answer"]  # a list of structs as older versions of `datasets` turn it around
    if isinstance(cell, str):
        cell = read_literal(cell) or [cell]
    if cell is None:
        return ()
    if not isinstance(cell, list | tuple):
        raise RowFault("column-type", f"{describe(cell)} is no list of answers")
    items = [item.get("answer") if isinstance(item, Mapping) else item for item in cell]
    return tuple(item for item in items if isinstance(item, str) and item.strip())


def plain(value: Any) -> Any:
    """Return a cell as JSON data; what is none as its text."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return f"<{type(value).__name__}>" if isinstance(value, bytes) else str(value)


def shown(value: Any) -> Any:
    """Return a row for the ledger: texts cut, bytes named by their number."""
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str) and len(value) > SHOWN_CHARACTERS:
        return f"{value[:SHOWN_CHARACTERS]}… ({len(value)} characters)"
    if isinstance(value, Mapping):
        return {str(key): shown(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [shown(item) for item in value]
    return value


def strings(value: Any) -> Iterable[str]:
    """Yield all texts in a cell or row."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings(item)
