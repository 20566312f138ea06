"""The parts of a language pack, as settings that refuse what cannot be meant.

Place: under `pack.py`, which puts them together. Contract: every part may be empty; what is given
is checked (known keys, words that can be told apart).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from ikusi.core.config import Settings
from ikusi.core.errors import suggest
from ikusi.languages import rules
from ikusi.languages.rules import POOLS

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "grey", "white")
SIDES = ("left", "right", "top", "bottom")
KINDS = (
    *("animal", "food", "plant", "vehicle", "building", "clothing"),
    *("tool", "music", "sport", "sky", "object"),
)
MAX_NUMBER = 10
"""Highest number that a pack names."""

CODE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
"""BCP-47, as far as a file name needs it."""


def check_distinct(groups: Mapping[str, tuple[str, ...]]) -> None:
    """Check that no word of `groups` stands for two keys.

    Raises:
        ValueError: names the word and both keys.
    """
    owners: dict[str, str] = {}
    for key, forms in groups.items():
        for form in forms:
            other = owners.setdefault(form.casefold(), key)
            if other != key:
                raise ValueError(f"{form!r} stands for both {other!r} and {key!r}; use two words")


def as_list(value: Any) -> Any:
    """Return a lone string as a list of one, and anything else as it is.

    Raises:
        ValueError: a bare number or true/false, which YAML reads as no text.
    """
    if isinstance(value, bool | int | float):
        raise ValueError("is no text; put it in quotes")
    return [value] if isinstance(value, str) else value


Words = Annotated[tuple[str, ...], BeforeValidator(as_list)]
"""One word or several for one thing: the first is what we write, all are understood."""


class Names(Settings):
    """What the language is called."""

    own: str
    """In the language itself."""
    en: str = ""
    """In English."""


class Ids(Settings):
    """What other people's data and models call the language; empty where they do not know it."""

    cldr: str = ""
    """Locale of the Unicode CLDR, the source of the embedded world's names. Default: the code."""
    langid: str = ""
    """Label of the language identifier (fastText lid.176). Default: the code without its region."""
    marian: str = ""
    """In the names of OPUS-MT and other Marian models."""
    nllb: str = ""
    """NLLB-200 and FLORES-200, such as eus_Latn."""
    madlad: str = ""
    """MADLAD-400."""


class YesNo(Settings):
    """The words for yes and no."""

    yes: Words = ()
    """The first is what we write, all are understood."""
    no: Words = ()
    """The first is what we write, all are understood."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        check_distinct({"yes": self.yes, "no": self.no})
        return self


class Prompts(Settings):
    """Generic instructions for real data, where the question comes from the data set."""

    describe: str = ""
    """Asks for a description of a picture."""
    short_answer: str = ""
    """Added to a question that wants a word or a short phrase."""
    letter: str = ""
    """Added to a multiple-choice question."""


class Translation(Settings):
    """What translating into or from the language needs beside the rest; all of it is optional."""

    abbreviations: Words = ()
    """What ends in a full stop that ends no sentence, such as `Dr.`."""
    preambles: Words = ()
    """How a model introduces a translation instead of only giving it, such as "Translation:"."""
    guidelines: Words = ()
    """For the prompt, in English: which standard to write, what to avoid."""
    examples: dict[str, str] = Field(default_factory=dict)
    """Name -> a text that is the same in every pack: chat models are shown it in both languages."""


class Terms(Settings):
    """Words that the embedded world answers with; each of a group's words is another one."""

    colours: dict[str, str] = Field(default_factory=dict)
    """English colour -> the word, as the answer to "what colour is the background?"."""
    sides: dict[str, str] = Field(default_factory=dict)
    """left, right, top, bottom -> the word, as the answer to "on which side is it?"."""
    kinds: dict[str, str] = Field(default_factory=dict)
    """English kind -> the word, as the answer to "what kind of thing is it?"."""
    languages: dict[str, str] = Field(default_factory=dict)
    """Language code -> its name, in the form that the `translate` sentences need."""

    @field_validator("colours", "sides", "kinds", "languages")
    @classmethod
    def _check(cls, group: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        known = {"colours": COLOURS, "sides": SIDES, "kinds": KINDS}.get(str(info.field_name))
        for key in group:
            if known and key not in known:
                raise ValueError(f"unknown word {key!r}. {suggest(key, known)}")
            if not known and not CODE.fullmatch(key):
                raise ValueError(f"{key!r} is not a language code such as eu")
        check_distinct({key: (word,) for key, word in group.items()})
        return group


class Pools(Settings):
    """The sentences of a task, in three pools that share none."""

    text: Words = ()
    """For text pretraining."""
    train: Words = ()
    """For training on pictures."""
    held_out: Words = ()
    """For evaluation only: new sentences made of words that other sentences have taught."""

    @model_validator(mode="before")
    @classmethod
    def _deal(cls, data: Any) -> Any:
        data = as_list(data)
        if isinstance(data, list | tuple) and all(isinstance(item, str) for item in data):
            return rules.deal(data)
        return data

    def each(self) -> tuple[tuple[str, str], ...]:
        """Return (pool, sentence) for every sentence."""
        return tuple((pool, wording) for pool in POOLS for wording in getattr(self, pool))
