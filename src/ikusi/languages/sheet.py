"""A language pack as a spreadsheet, for people who do not edit YAML.

Place: between a teacher's spreadsheet program and `pack.py`. Contract: a sheet may be filled in as
far as one likes; one sentence of `what` is enough. What cannot be used is refused with the number
of its row. The keys say what a row is, so rows may be moved or left out.

    ikusi languages sheet qu > qu.csv      # then fill in the column "translation"
    ikusi languages import qu.csv
"""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ikusi.core.errors import ConfigError, suggest
from ikusi.languages import rules
from ikusi.languages.pack import TASKS, Pack
from ikusi.languages.parts import COLOURS, KINDS, MAX_NUMBER, SIDES, Pools
from ikusi.languages.rules import POOLS, TASK_HELP

COLUMNS = ("key", "what it is", "English", "translation")
"""The third column is named after the reference language."""

EMPTY_ROWS = 3
"""Rows a task for sentences that the reference does not have."""

_TEXT_HELP: Mapping[str, str] = {
    "code": "Code of the language (BCP-47); leave it as it is",
    "names.own": "The language's name in the language itself",
    "names.en": "The language's name in English",
    "script": "Four letters such as Latn, Cyrl or Arab; may stay empty",
    "checked_by": "Who read all this and found it right",
    "ids.cldr": "Name in the Unicode CLDR, if it is not the code",
    "ids.langid": "Label of the language identifier, if it is not the code",
    "ids.marian": "Name in OPUS-MT models, if there is one",
    "ids.nllb": "Name in NLLB-200, such as eus_Latn, if there is one",
    "ids.madlad": "Name in MADLAD-400, if there is one",
    "scene": "How a scene is written down; keep {cells} and {colour}",
    "caption_answer": "How a description looks; keep {names} and {colour}",
    "prompts.describe": "Instruction: describe a picture",
    "prompts.short_answer": "Instruction: answer briefly",
    "prompts.letter": "Instruction: answer with a letter",
}
_FORMS_HELP: Mapping[str, str] = {
    "yes_no.yes": "Word for yes; several with / between them, the one to write first",
    "yes_no.no": "Word for no; several with / between them, the one to write first",
    "articles": "Words to ignore in an answer, such as: a / the; may stay empty",
    "unwanted": "Words of pornography and spam, with * for any ending; several with / between them",
    "answer_phrases": "How people wrap an answer; keep {answer}; several with / between them",
    "translation.abbreviations": "What ends in a full stop inside a sentence, such as: Dr. / e.g.",
    "translation.preambles": "How a translation is introduced, such as: Translation: / Here it is",
    "translation.guidelines": "In English: which standard a translator should write",
    **{
        f"numbers.{value}": f"Number word {value}; several forms with / between them"
        for value in range(MAX_NUMBER + 1)
    },
}
_TERMS_HELP: Mapping[str, str] = {
    **{f"terms.colours.{key}": "Colour, as the answer to: which colour?" for key in COLOURS},
    **{f"terms.sides.{key}": "Side, as the answer to: on which side?" for key in SIDES},
    **{f"terms.kinds.{key}": "Kind of thing, one word, each another one" for key in KINDS},
}
_OPEN_HELP: Mapping[str, str] = {
    "terms.languages": "Name of a language, in the form that the translate sentences need",
    "translation.examples": "A text to show to a translating model: translate it well",
    "variants": "A standard or dialect, described in a few words",
}
FORMS_SEPARATOR = "/"


@dataclass(frozen=True, slots=True)
class _Row:
    number: int
    key: str
    text: str


def write_sheet(pack: Pack | str, reference: Pack) -> str:
    """Return the sheet of a language as CSV text, its lines ending as spreadsheets expect.

    Args:
        pack: what there is already, or only the code of a language that has no pack.
        reference: pack whose words and sentences stand beside the empty cells.
    """
    code = pack if isinstance(pack, str) else pack.code
    mine = {} if isinstance(pack, str) else dict(_flat(pack))
    theirs = dict(_flat(reference))
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow((*COLUMNS[:2], reference.names.en or reference.names.own, COLUMNS[3]))
    open_keys = sorted(
        key for key in {*mine, *theirs, f"terms.languages.{code}"} if _open_group(key)
    )
    keys = [*_FORMS_HELP, *_TERMS_HELP, *open_keys, *_TEXT_HELP]
    first = ["code", "names.own", "names.en"]
    # the sentences stand right below the name: one of them is all that is needed
    for key in first:
        own = code if key == "code" else mine.get(key, "")
        writer.writerow((key, _help(key), theirs.get(key, ""), own))
    for task in ("what", *(task for task in TASKS if task != "what")):
        for key, english, own in _task_rows(pack, reference, task):
            writer.writerow((key, TASK_HELP[task], english, own))
    for key in keys:
        # the reference's dialects are not this language's
        if key not in first and (key in mine or not key.startswith("variants.")):
            writer.writerow((key, _help(key), theirs.get(key, ""), mine.get(key, "")))
    return stream.getvalue()


def _task_rows(pack: Pack | str, reference: Pack, task: str) -> Iterator[tuple[str, str, str]]:
    """Yield (key, reference's sentence, own sentence) for one task.

    A task that is dealt to pools already keeps them; all other rows bear the task's name only, so
    that reading the sheet deals them.
    """
    pools = Pools() if isinstance(pack, str) else pack.tasks.get(task, Pools())
    keep_pools = bool(pools.held_out)
    left: dict[str, list[str]]
    if keep_pools:
        left = {pool: list(getattr(pools, pool)) for pool in POOLS}
    else:
        shared = [text for _, text in pools.each()]
        left = {pool: shared for pool in POOLS}
    examples = reference.tasks.get(task, Pools()).each()
    for pool, english in examples:
        own = left[pool].pop(0) if left[pool] else ""
        pooled = keep_pools and own
        yield (f"tasks.{task}.{pool}" if pooled else f"tasks.{task}", english, own)
    for pool, texts in left.items():
        while texts:
            own = texts.pop(0)
            yield (f"tasks.{task}.{pool}" if keep_pools else f"tasks.{task}", "", own)
    for _ in range(EMPTY_ROWS):
        yield (f"tasks.{task}", "", "")


def _flat(pack: Pack) -> Iterator[tuple[str, str]]:
    """Yield (key, text) for everything in a pack but its sentences."""
    data = pack.model_dump(mode="json", exclude={"tasks"})
    for key in (*_TEXT_HELP, *_FORMS_HELP, *_TERMS_HELP):
        value = _get(data, key)
        if value:
            yield key, value if isinstance(value, str) else f" {FORMS_SEPARATOR} ".join(value)
    for group in _OPEN_HELP:
        for name, text in _get(data, group).items():
            yield f"{group}.{name}", text


def _get(data: Any, key: str) -> Any:
    for part in key.split("."):
        if isinstance(data, list):
            data = data[int(part)] if int(part) < len(data) else ""
        else:
            data = data.get(part, "")
    return data


def _open_group(key: str) -> str:
    return next((group for group in _OPEN_HELP if key.startswith(group + ".")), "")


def _help(key: str) -> str:
    texts = {**_TEXT_HELP, **_FORMS_HELP, **_TERMS_HELP}
    return texts.get(key) or _OPEN_HELP[_open_group(key)]


def read_sheet(path: Path) -> Pack:
    """Return the pack that a filled-in sheet holds; cells may be empty.

    UTF-8 with or without a byte order mark, and UTF-16 as Excel's "Unicode text"; commas,
    semicolons or tabs.

    Raises:
        ConfigError: the file is no sheet, or a row of it cannot be used; names the row as the
            spreadsheet program counts it.
    """
    rows = [row for row in _rows(path) if row.text]
    data: dict[str, Any] = {}
    for row in sorted(rows, key=lambda row: row.key != "code"):
        _put(data, row, path)
    if "code" not in data:
        raise ConfigError(f"{path}: no language. Fill in the row `code`, such as qu.")
    data.setdefault("names", {}).setdefault("own", data["code"])
    what = data.get("tasks", {}).get("what")
    if not what:
        raise ConfigError(f"{path}: no sentence. Fill in one row `tasks.what`; that is enough.")
    try:
        return Pack.parse(_dealt(data), str(path))
    except ConfigError as error:
        raise _blame(rows, path, error) from None


def _put(data: dict[str, Any], row: _Row, path: Path) -> None:
    """Lay one row into plain `data`; sentences are collected as (pool, sentence)."""
    where = f"{path}, row {row.number}"
    group = _open_group(row.key)
    if row.key.startswith("tasks."):
        task, _, pool = row.key.removeprefix("tasks.").partition(".")
        if task not in TASKS:
            raise ConfigError(f"{where}: unknown task {task!r}. {suggest(task, TASKS)}")
        if pool and pool not in POOLS:
            raise ConfigError(f"{where}: unknown pool {pool!r}. {suggest(pool, POOLS)}")
        data.setdefault("tasks", {}).setdefault(task, []).append((pool, row.text))
        return
    if not group and row.key not in {**_TEXT_HELP, **_FORMS_HELP, **_TERMS_HELP}:
        known = [*_TEXT_HELP, *_FORMS_HELP, *_TERMS_HELP, *(f"tasks.{task}" for task in TASKS)]
        raise ConfigError(f"{where}: unknown key {row.key!r}. {suggest(row.key, known)}")
    value: Any = row.text
    if row.key in _FORMS_HELP:
        value = [form.strip() for form in row.text.split(FORMS_SEPARATOR) if form.strip()]
    outer, _, inner = row.key.rpartition(".")
    if group:  # a name in an open group may hold dots
        outer, inner = group, row.key.removeprefix(group + ".")
    target: Any = data
    place: Any = inner
    if outer == "numbers":
        target = data.setdefault("numbers", [[] for _ in range(MAX_NUMBER + 1)])
        place = int(inner)
    else:
        for part in outer.split(".") if outer else ():
            target = target.setdefault(part, {})
    old = target[place] if outer == "numbers" else target.get(place)
    if old:
        raise ConfigError(f"{where}: {row.key!r} is filled in twice. Keep one of the two rows.")
    target[place] = value


def _dealt(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `data` with the collected sentences of each task in pools, or as a plain list."""
    tasks: dict[str, Any] = {}
    for task, pairs in data["tasks"].items():
        if not any(pool for pool, _ in pairs):
            tasks[task] = [text for _, text in pairs]
            continue
        pools: dict[str, list[str]] = {pool: [] for pool in POOLS}
        for pool, text in pairs:
            pools[pool or "train"].append(text)
        tasks[task] = pools
    return {**data, "tasks": tasks}


def _blame(rows: list[_Row], path: Path, error: ConfigError) -> ConfigError:
    """Return `error` with the number of the first row without which the rest is fine.

    The pack's own rules know no rows, so rows are laid in one after the other until they object.
    """
    script = rules.guess_script(row.text for row in rows if row.key.startswith("tasks."))
    so_far: dict[str, Any] = {}
    for row in sorted(rows, key=_heads_first):
        _put(so_far, row, path)
        names = {"own": "?", **so_far.get("names", {})}
        tasks = so_far.get("tasks", {})
        # a sentence without letters is one in every script
        tasks = {**tasks, "what": [("train", "1?"), *tasks.get("what", [])]}
        try:
            Pack.parse(
                _dealt({"script": script, **so_far, "names": names, "tasks": tasks}),
                f"{path}, row {row.number} ({row.key})",
            )
        except ConfigError as found:
            return found
    return error


def _heads_first(row: _Row) -> int:
    """Sort what other rows are judged by to the front: the code, then the script."""
    return {"code": 0, "script": 1}.get(row.key, 2)


def _rows(path: Path) -> Iterator[_Row]:
    """Yield the filled-in rows of a sheet, numbered as a spreadsheet program shows them."""
    lines = list(io.StringIO(_text(path), newline=""))  # as csv wants them: ends kept
    skipped = 0
    delimiters = ",;\t"
    if lines and lines[0].lower().startswith("sep="):  # Excel's own hint, which it does not show
        delimiters, skipped = lines[0].strip()[4:5] or delimiters, 1
    for delimiter in delimiters:
        header = next(csv.reader(lines[skipped:], delimiter=delimiter), [])
        names = [cell.strip().lower() for cell in header]
        if "key" in names and "translation" in names:
            break
    else:
        raise ConfigError(
            f"{path}, row 1: no columns `key` and `translation`. Start from the sheet that "
            "`ikusi languages sheet CODE` writes, and keep its first row."
        )
    key_column, text_column = names.index("key"), names.index("translation")
    reader = csv.reader(lines[skipped:], delimiter=delimiter, strict=True)
    number = 0
    try:
        for number, cells in enumerate(reader, start=1):
            key = _cell(cells, key_column, path, number)
            text = _cell(cells, text_column, path, number)
            if number == 1:
                continue
            if text and not key:
                raise ConfigError(
                    f"{path}, row {number}: {text!r} has no key. Copy the key of a row like it."
                )
            if text:
                yield _Row(number, key, text)
    except csv.Error as error:
        raise ConfigError(
            f"{path}, row {number + 1}: cannot be read ({error}). Save the sheet as CSV again."
        ) from None


def _cell(cells: list[str], column: int, path: Path, number: int) -> str:
    """Return a cell's text in NFC on one line, or "" where the row is too short."""
    text = cells[column] if column < len(cells) else ""
    try:
        return rules.normalise(" ".join(text.split()))  # a line break typed into a cell is a space
    except ValueError as error:
        raise ConfigError(f"{path}, row {number}: {error}.") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    if data[:4] == b"PK\x03\x04":
        raise ConfigError(f"{path}: is a workbook. Save it as 'CSV UTF-8' and import that file.")
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}, row {row}: is not UTF-8 text. Save the sheet as 'CSV UTF-8'."
        ) from None
