"""What is filtered, and how strictly: the settings of `ikusi filter`.

ikusi filter cc3m --set length.max_tokens=200 --set duplicates.by=text
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from ikusi.core.config import Settings
from ikusi.data.filters.near import MAX_DISTANCE

Share = Annotated[float, Field(gt=0, le=1)]


class LanguageFilter(Settings):
    """Drops what is in another language than it says (`wrong-language`).

    Only where the identifier is known to tell the language from those of the other packs
    (`ikusi languages check`), which often takes 20 words; of shorter texts, only those are dropped
    that are in a language known from single sentences (English is). What cannot be judged is told.
    """

    on: bool = True
    """Whether to look at all."""
    min_words: int = Field(default=5, ge=1)
    """Shortest turn that is judged, in words."""
    min_confidence: float = Field(default=0.7, ge=0, le=1)
    """How sure the identifier must be of the other language, 0 to 1. Of the 521 sentences of 5
    words or more in the five packs, none is dropped at 0.7 (at 0.5: 2), nor any of their 133
    passages of 20 words."""


class LengthFilter(Settings):
    """Drops the very short and the very long (`too-short`, `too-long`, `empty-turn`).

    A token is a run of letters and digits here, or one character of a script without spaces.
    """

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "cutoff_len": "max_tokens",
        "max_length": "max_tokens",
    }

    min_characters: int = Field(default=3, ge=0)
    """Fewest characters in all turns together."""
    max_characters: int = Field(default=40_000, ge=1)
    """Most characters in all turns together."""
    min_tokens: int = Field(default=1, ge=0)
    """Fewest tokens in all turns together."""
    max_tokens: int = Field(default=8_000, ge=1)
    """Most tokens in all turns together."""


class RepetitionFilter(Settings):
    """Drops texts that go in circles (`repetition`), as models that lost the thread write them."""

    ngram: int = Field(default=3, ge=1)
    """Length of the runs of tokens that are counted."""
    max_share: Share = 0.4
    """Largest share of a turn's runs that are repeats of others; 1 switches this off."""
    min_tokens: int = Field(default=30, ge=1)
    """Shortest turn that is judged by its runs, in tokens."""
    max_run: int = Field(default=40, ge=1)
    """Longest run of one character; rules and dots of tables do not count."""


class MarkupFilter(Settings):
    """Drops texts with left-over HTML (`html`) or broken encoding (`mojibake`).

    What stands in code (between back-quotes) does not count.
    """

    max_html_share: float = Field(default=0.02, ge=0, le=1)
    """Largest share of a turn's characters in HTML tags and entities; 1 switches this off."""
    mojibake: bool = True
    """Whether UTF-8 that was read as Latin-1 ("Ã©") and replacement characters are looked for."""


class WordsFilter(Settings):
    """Drops texts with unwanted words (`unwanted-word`): those of the language's pack and these."""

    pack: bool = True
    """Whether the pack's list (`unwanted`) counts."""
    more: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Language code -> further words. `*` at the end stands for any ending."""


class ImagesFilter(Settings):
    """Drops records by the size of their pictures (`image-small`, `image-narrow`).

    Needs the manifest of `--images`, which also drops `image-dead`, `image-broken` and
    `image-missing`.
    """

    min_side: int = Field(default=32, ge=1)
    """Shortest side allowed, in pixels."""
    max_aspect: float = Field(default=8.0, ge=1)
    """Largest ratio of the longer side to the shorter."""


class DuplicatesFilter(Settings):
    """Keeps the first of equal records (`duplicate`) and of nearly equal ones (`near-duplicate`).

    Only records in one language are compared, so the versions of one record are no duplicates of
    each other; where one is dropped, the others go with it (`parallel-duplicate`).
    """

    by: Literal["both", "text", "image", "off"] = "both"
    """What must be the same in records with pictures. `both`: text and pictures, since many
    questions are asked of many pictures. `text`: the text alone. `image`: the pictures alone, which
    leaves one record a picture. Records without pictures are always compared by text. `off`: none
    are."""
    text_similarity: float = Field(default=0.85, ge=0.7, le=1)
    """Smallest Jaccard similarity of the pieces of 5 characters, estimated by MinHash, for texts to
    be nearly equal. 1: only equal ones, apart from case and punctuation, count."""
    min_tokens: int = Field(default=25, ge=1)
    """Shortest text for which nearly equal counts, in tokens: two short questions of one picture
    differ in a word."""
    image_distance: int = Field(default=4, ge=0, le=MAX_DISTANCE)
    """Most bits of the 64 of a perceptual hash that differ in pictures that are the same."""


class ContaminationFilter(Settings):
    """Drops what meets a benchmark of `--against`: by picture (`contaminated-image`) or text.

    Where a record was translated, its original's text counts too; and all versions of a record go
    together (`parallel-contaminated`).
    """

    image_distance: int = Field(default=4, ge=0, le=MAX_DISTANCE)
    """Most bits of the 64 of a perceptual hash that differ in pictures that are the same."""
    min_tokens: int = Field(default=13, ge=1)
    """Shortest text of a benchmark that is looked for, in tokens: shorter questions are asked of
    many pictures. How many are shorter is told."""
    ngram: int = Field(default=8, ge=1)
    """Length of the runs of tokens that are looked for. At most `min_tokens`."""
    min_overlap: Share = 0.5
    """Share of a benchmark text's runs that a turn must hold (`contaminated-text`)."""
    text_similarity: float = Field(default=0.8, ge=0.7, le=1)
    """Or: the similarity of a turn to it, as for duplicates."""
    max_common: int = Field(default=10, ge=1)
    """A run of tokens, or a whole text, that stands in more records of a benchmark than this is
    part of its form and is not looked for."""


class FilterSettings(Settings):
    """All of them; what is left out has the defaults below."""

    language: LanguageFilter = LanguageFilter()
    """Is it in the language that it says?"""
    length: LengthFilter = LengthFilter()
    """Is it neither empty nor endless?"""
    repetition: RepetitionFilter = RepetitionFilter()
    """Does it go in circles?"""
    markup: MarkupFilter = MarkupFilter()
    """Is it free of left-over HTML and broken encoding?"""
    ratings: dict[
        Literal["relevance", "visual_dependency", "image_correspondence", "formatting"],
        Annotated[int, Field(ge=1, le=5)],
    ] = Field(default_factory=dict)
    """FineVision's rating -> the lowest that each exchange may have, 1 to 5 (`low-rating`).
    Default: none. What was not rated passes."""
    words: WordsFilter = WordsFilter()
    """Has it no unwanted words?"""
    images: ImagesFilter = ImagesFilter()
    """Are its pictures there, and large enough?"""
    duplicates: DuplicatesFilter = DuplicatesFilter()
    """Is it said for the first time?"""
    contamination: ContaminationFilter = ContaminationFilter()
    """Is it in no benchmark?"""
