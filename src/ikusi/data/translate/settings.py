"""Settings of `ikusi translate`: the fields of the `translate:` block of a recipe, too."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from ikusi.backends.settings import BackendSettings
from ikusi.core.config import Settings
from ikusi.languages.parts import CODE


class VerifySettings(Settings):
    """When a translation is not taken."""

    length_ratio: float = Field(2.2, gt=1)
    """Most that one text may be longer than the other, besides `length_slack`. Characters are
    weighed by script. Of pairs of CLDR names in over a hundred languages (198,000, one to ten names
    joined), 99.96% keep to this."""
    length_slack: int = Field(20, ge=0)
    """Characters that one may have more than the ratio allows; short texts vary most."""
    language: bool = True
    """Whether the language is identified, where `ikusi languages check` finds that reliable."""
    language_score: float = Field(0.5, ge=0, le=1)
    """Least score of the identifier for another language to count as a fault."""


class BackTranslation(Settings):
    """Translating back and comparing: chrF++ with the source."""

    backend: BackendSettings
    """Who translates back: another one than who translated, if possible."""
    threshold: float = Field(ge=0, le=100)
    """Least chrF++, from 0 to 100. `ikusi translate --calibrate` shows precision and recall."""


class Comet(Settings):
    """Quality estimation by a command in an environment of its own."""

    command: str = Field(min_length=1)
    """Reads a line of JSON with `src` and `mt`, and answers with a line that holds a number; for
    each, until its input ends. No shell."""
    threshold: float
    """Least score."""


class Quality(Settings):
    """Estimates of the quality; each is left out unless it is set."""

    back_translation: BackTranslation | None = None
    """chrF++ of the back-translation."""
    comet: Comet | None = None
    """Such as COMET-QE."""


class TranslateSettings(Settings):
    """How records are translated."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "target": "to",
        "target_language": "to",
        "tgt_lang": "to",
        "source_language": "source",
        "src_lang": "source",
        "pivot": "via",
    }

    to: str
    """Language to translate into: the code of a pack."""
    backend: BackendSettings
    """Who translates."""
    fallback: BackendSettings | None = None
    """Who is asked when all that `backend` says has a fault."""
    source: str | None = None
    """Records in other languages are dropped. Left out: each is translated from its own."""
    via: str | None = None
    """A language in between: there first, then from there."""
    via_backend: BackendSettings | None = None
    """Who translates into `via`. Left out: `backend`."""
    mode: Literal["translate", "describe"] = "translate"
    """`describe`: what the assistant says is written anew, from the picture."""
    glossary: Path | None = None
    """TSV without a header: a name or term, and its translation; without one it stays as it is."""
    units: Literal["auto", "conversation", "sentence", "text"] = "auto"
    """What is translated together: `auto` gives a chat backend the conversation, a model of
    sentences each sentence, and a translation memory each text."""
    max_characters: int = Field(6000, gt=0)
    """A conversation longer than this is translated in several requests, of which each sees the
    ones before."""
    max_text: int = Field(30_000, gt=0)
    """A single text longer than this, in characters, is dropped."""
    max_tokens: int = Field(4096, gt=0)
    """Longest answer, in tokens; shorter for short texts."""
    licence: str = ""
    """What the translator's licence asks of its output (SPDX). Joined with that of the source."""
    verify: VerifySettings = VerifySettings()
    """When a translation is not taken."""
    quality: Quality = Quality()
    """Estimates of the quality."""

    @field_validator("to", "source", "via")
    @classmethod
    def _check_code(cls, code: str | None) -> str | None:
        if code is not None and not CODE.fullmatch(code):
            raise ValueError("a language code is written like eu, quz or pt-BR (BCP-47)")
        return code

    @model_validator(mode="after")
    def _check_way(self) -> Self:
        if self.via is not None and self.via in (self.to, self.source):
            raise ValueError("`via` is a third language, between the two others")
        if self.via_backend is not None and self.via is None:
            raise ValueError("`via_backend` has no effect without `via`; name the language")
        if self.mode == "describe" and self.via is not None:
            raise ValueError("`describe` writes in the target language: leave out `via`")
        if self.mode == "describe" and (self.quality.back_translation or self.quality.comet):
            raise ValueError("`quality` compares with the source, which `describe` does not keep")
        return self
