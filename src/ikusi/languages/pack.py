"""Language packs: everything that ikusi says and understands in one language, as one YAML file.

Place: core <- [languages] <- everything else. Contract: a pack is complete or partial; one sentence
of the task `what` is enough, what is missing is listed in words, and what is wrong is refused.

    ikusi languages check eu
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from ikusi.core.config import Settings, read_yaml
from ikusi.core.errors import ConfigError, suggest
from ikusi.languages import rules
from ikusi.languages.parts import (
    CODE,
    COLOURS,
    KINDS,
    MAX_NUMBER,
    SIDES,
    Ids,
    Names,
    Pools,
    Prompts,
    Terms,
    Translation,
    Words,
    YesNo,
    check_distinct,
)
from ikusi.languages.rules import PLACEHOLDERS, POOLS

TASKS = tuple(PLACEHOLDERS)
ENVIRONMENT = "IKUSI_LANGUAGES"
_GOT = re.compile(r" \(got (\[.*\]|\{.*\})\)")


class Pack(Settings):
    """One language; every field but `code`, `names.own` and a sentence of `what` is optional."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "language": "code",
        "lang": "code",
        "name": "names",
        "questions": "tasks",
        "wordings": "tasks",
    }

    code: str
    """BCP-47, and the file's name."""
    names: Names
    """What the language is called."""
    script: str = ""
    """ISO 15924 code of the script, such as Latn. Default: the script of the sentences."""
    checked_by: str = "unreviewed"
    """Who read it and found it right; `unreviewed` when nobody has."""
    ids: Ids = Ids()
    """What other people's data and models call the language."""
    variants: dict[str, str] = Field(default_factory=dict)
    """Standards and dialects: id -> short description."""
    yes_no: YesNo = YesNo()
    """The words for yes and no."""
    numbers: tuple[Words, ...] = ()
    """Index = value, from 0; of each, the first word is what we write, all are understood."""
    answer_phrases: Words = ()
    """Ways in which people wrap an {answer}; used to read answers."""
    articles: Words = ()
    """Words to ignore when answers are compared (kept where nothing else would be left)."""
    unwanted: Words = ()
    """Words that no text to learn from should have, such as those of pornography and spam; `*` at
    the end stands for any ending."""
    prompts: Prompts = Prompts()
    """Generic instructions for real data."""
    translation: Translation = Translation()
    """What translating from or into it needs."""
    terms: Terms = Terms()
    """Words that the embedded world answers with."""
    scene: str = "{cells}."
    """How a scene is written down as text; {cells} is its three rows with " / " between, {colour}
    optional."""
    caption_answer: str = "{names}."
    """The fixed form of a caption; {names} is a comma-separated list, {colour} optional."""
    tasks: dict[str, Pools]
    """Task -> its sentences."""

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Validate plain `data` and return the pack.

        Raises:
            ConfigError: says in one line which key is wrong, where, and what would be right.
        """
        try:
            return super().parse(data, where)
        except ConfigError as error:
            # our messages quote the sentence that is wrong; all the others beside it are no help
            raise ConfigError(_GOT.sub("", str(error))) from None

    @model_validator(mode="before")
    @classmethod
    def _prepare(cls, data: Any) -> Any:
        """Normalise all text, drop empty values, and fill what follows from the rest."""
        if not isinstance(data, Mapping):
            raise ValueError("a pack is a mapping that begins with `code:`")
        data = _without_empty(rules.normalise_all(data))
        for key in ("names", "tasks"):  # so that the message names what is missing in them
            data.setdefault(key, {})
        code, ids = data.get("code"), data.get("ids", {})
        if isinstance(code, str) and isinstance(ids, Mapping):
            data["ids"] = {"cldr": code, "langid": code.split("-")[0], **ids}
        data.setdefault("script", rules.guess_script(_strings(data["tasks"])))
        return data

    @field_validator("code")
    @classmethod
    def _check_code(cls, code: str) -> str:
        if not CODE.fullmatch(code):
            raise ValueError("a language code is written like eu, quz or pt-BR (BCP-47)")
        return code

    @field_validator("script")
    @classmethod
    def _check_script(cls, script: str) -> str:
        if not re.fullmatch(r"[A-Z][a-z]{3}", script):
            raise ValueError("a script is four letters such as Latn, Cyrl or Arab (ISO 15924)")
        return script

    @field_validator("numbers")
    @classmethod
    def _check_numbers(cls, numbers: tuple[Words, ...]) -> tuple[Words, ...]:
        if len(numbers) > MAX_NUMBER + 1:
            raise ValueError(f"has {len(numbers)} numbers; give 0 to {MAX_NUMBER}, in order")
        check_distinct({str(value): forms for value, forms in enumerate(numbers)})
        return numbers

    @field_validator("answer_phrases")
    @classmethod
    def _check_phrases(cls, phrases: Words) -> Words:
        for phrase in phrases:
            rules.check_marks(phrase, ("answer",))
        return phrases

    @field_validator("unwanted")
    @classmethod
    def _check_unwanted(cls, words: Words) -> Words:
        for word in words:
            if "*" in word[:-1] or len(word.rstrip("*")) < 2:
                raise ValueError(f"{word!r}: give a word, with `*` at its end for any ending")
        return words

    @field_validator("scene")
    @classmethod
    def _check_scene(cls, scene: str) -> str:
        rules.check_marks(scene, ("cells",), ("colour",))
        return scene

    @field_validator("caption_answer")
    @classmethod
    def _check_caption_answer(cls, caption: str) -> str:
        rules.check_marks(caption, ("names",), ("colour",))
        return caption

    @field_validator("tasks")
    @classmethod
    def _check_tasks(cls, tasks: dict[str, Pools], info: ValidationInfo) -> dict[str, Pools]:
        seen: dict[str, str] = {}
        for task, pools in tasks.items():
            if task not in PLACEHOLDERS:
                raise ValueError(f"unknown task {task!r}. {suggest(task, PLACEHOLDERS)}")
            for pool, wording in pools.each():
                place = f"{task}.{pool}"
                try:
                    rules.check_wording(task, wording, info.data.get("script", ""))
                    rules.check_script(wording, info.data.get("script", ""))
                except ValueError as error:
                    raise ValueError(f"{place}: {error}") from None
                key = wording.casefold()
                if key in seen:
                    raise ValueError(f"{wording!r} stands in {seen[key]} and in {place}; keep one")
                seen[key] = place
        if "what" not in tasks or not tasks["what"].each():
            raise ValueError('add one sentence to `what` ("What is this?"); a pack needs that one')
        return {task: tasks[task] for task in TASKS if task in tasks}

    def wordings(self, task: str, pool: str) -> tuple[str, ...]:
        """Return the sentences of a task in a pool; an empty `text` pool falls back to `train`.

        Raises:
            ConfigError: there is no such task or pool.
        """
        if task not in PLACEHOLDERS:
            raise ConfigError(f"Unknown task {task!r}. {suggest(task, PLACEHOLDERS)}")
        if pool not in POOLS:
            raise ConfigError(f"Unknown pool {pool!r}. {suggest(pool, POOLS)}")
        pools = self.tasks.get(task, Pools())
        found: tuple[str, ...] = getattr(pools, pool)
        return pools.train if pool == "text" and not found else found

    def word(self, group: str, key: str) -> str:
        """Return the word that is written for `key`: a side, colour, kind, number, yes or no.

        Args:
            group: `sides`, `colours`, `kinds`, `numbers` or `yes_no`.
            key: such as `left`, `red`, `animal`, `3` or `yes`.

        Raises:
            ConfigError: the pack lacks the word; `tasks_ready` tells which tasks have all theirs.
        """
        forms: tuple[str, ...] | str = ()
        if group == "numbers":
            forms = self.numbers[int(key)] if int(key) < len(self.numbers) else ()
        elif group == "yes_no":
            forms = getattr(self.yes_no, key)
        else:
            forms = getattr(self.terms, group).get(key, ())
        if not forms:
            raise ConfigError(f"The pack {self.code!r} has no word for {group}.{key}. Add it.")
        return forms if isinstance(forms, str) else forms[0]

    def name_of_language(self, other: Pack) -> str:
        """Return what this language calls another one, or what that one calls itself."""
        return self.terms.languages.get(other.code) or other.names.own

    def tasks_ready(self) -> tuple[str, ...]:
        """Return the tasks that have a sentence to train on and all the words they need."""
        return tuple(
            task for task in TASKS if self.wordings(task, "train") and not self._missing_words(task)
        )

    def missing(self) -> tuple[str, ...]:
        """Return lines for people: what to add to get which task; none when all is there."""
        lines = []
        for task in TASKS:
            needs = self._missing_words(task)
            count = len(self.tasks.get(task, Pools()).each())
            if not count:
                needs = ["3 sentences", *needs]
            elif not self.wordings(task, "train"):
                needs = ["a sentence in the pool `train`", *needs]
            if needs:
                lines.append(f"add {' and '.join(needs)} to get `{task}`")
            elif count < 3:
                more = "1 more sentence" if count == 2 else "2 more sentences"
                lines.append(f"add {more} to `{task}` to hold one out for evaluation")
        return tuple(lines)

    def _missing_words(self, task: str) -> list[str]:
        """Return what `task` lacks besides sentences, in words."""
        if task == "where":
            return _absent("the words", SIDES, self.terms.sides)
        if task == "colour" or (task == "caption" and "{colour}" in self.caption_answer):
            return _absent("the colours", COLOURS, self.terms.colours)
        if task in {"kind", "kind_of"}:
            return _absent("the kinds", KINDS, self.terms.kinds)
        if task == "count":
            known = [str(value) for value, forms in enumerate(self.numbers) if forms]
            return _absent("the numbers", [str(n) for n in range(MAX_NUMBER + 1)], known)
        if task == "exists":
            given = {"yes": self.yes_no.yes, "no": self.yes_no.no}
            return _absent("the words", given, [key for key, forms in given.items() if forms])
        if task == "translate" and not set(self.terms.languages) - {self.code}:
            return ["the name of another language (terms.languages)"]
        return []

    def known_words(self) -> frozenset[str]:
        """Return the words of all sentences that something is trained on."""
        pools = ((pool, wording) for task in self.tasks.values() for pool, wording in task.each())
        return frozenset(w for pool, text in pools if pool != "held_out" for w in rules.words(text))

    def unknown_words(self) -> dict[str, tuple[str, ...]]:
        """Return held-out sentences and fixed forms -> their words that no other sentence has.

        Such a sentence tests a word that was never seen, and not a new wording.
        """
        known = self.known_words()
        texts = [
            text for task in self.tasks.values() for pool, text in task.each() if pool == "held_out"
        ]
        found = {
            text: tuple(word for word in rules.words(text) if word not in known)
            for text in (*texts, self.scene, self.caption_answer)
        }
        return {text: unknown for text, unknown in found.items() if unknown}


def _absent(what: str, needed: Any, given: Any) -> list[str]:
    names = [name for name in needed if name not in given]
    return [f"{what} {', '.join(names)}"] if names else []


def _without_empty(data: Any) -> Any:
    """Drop what a template leaves blank, so that `red:` and `train: []` mean "not yet"."""
    if isinstance(data, Mapping):
        cleaned = {
            # a number's place is its value, so a blank one must not move the others
            key: _numbers(value) if key == "numbers" else _without_empty(value)
            for key, value in data.items()
        }
        return {key: value for key, value in cleaned.items() if value not in (None, "", [], {})}
    if isinstance(data, list):
        return [item for item in map(_without_empty, data) if item not in (None, "")]
    return data


def _numbers(data: Any) -> Any:
    if not isinstance(data, list):
        return _without_empty(data)
    kept = [[] if item in (None, "") else item for item in data]
    while kept and kept[-1] == []:
        kept.pop()
    return kept


def _strings(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list | tuple):
        for value in data.values() if isinstance(data, Mapping) else data:
            yield from _strings(value)


def folders() -> tuple[Path, ...]:
    """Return where packs are looked for, first match wins: ./languages, IKUSI_LANGUAGES, ours."""
    extra = [Path(part) for part in os.environ.get(ENVIRONMENT, "").split(os.pathsep) if part]
    return (Path("languages"), *extra, Path(__file__).parent)


def available() -> tuple[str, ...]:
    """Return the codes of all packs that can be loaded, sorted."""
    files = (path for folder in folders() for path in folder.glob("*.yaml"))
    return tuple(sorted({path.stem for path in files if CODE.fullmatch(path.stem)}))


def find_pack(code: str) -> Path | None:
    """Return the file of a language's pack, or None."""
    files = [folder / f"{code}.yaml" for folder in folders()] if CODE.fullmatch(code) else []
    return next((path for path in files if path.is_file()), None)


def load_pack(code: str) -> Pack:
    """Return the pack of a language.

    Raises:
        ConfigError: there is no such pack (names those that exist and how to make one), or it is
            wrong (names the file and the key).
    """
    path = find_pack(code)
    if path:
        return read_pack(path)
    known = available()
    near = suggest(code, known)
    hint = f"{near} " if near.startswith("Did you mean") else ""
    raise ConfigError(
        f"There is no language pack {code!r}. {hint}There are: {', '.join(known)}. "
        f"To add one: ikusi languages new {code if CODE.fullmatch(code) else 'CODE'}"
    )


def read_pack(path: Path) -> Pack:
    """Return the pack in a file.

    Raises:
        ConfigError: the file cannot be read, is not YAML, or not a pack; names the key.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    return _read_pack(path.absolute(), str(path), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _read_pack(path: Path, shown: str, mtime_ns: int, size: int) -> Pack:
    """Read a pack once per version of its file: reading YAML takes most of a check's time."""
    pack = Pack.parse(read_yaml(path), shown)
    if pack.code != path.stem:
        raise ConfigError(f"{shown}: code is {pack.code!r}; name the file {pack.code}.yaml.")
    return pack
