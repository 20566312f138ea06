"""Published sets of pictures with captions, and texts without pictures.

The columns of those that are called `assumed` were not seen in a published description; a mapping
overrides them. A licence or a translator that is not known is left empty, never guessed.
"""

from __future__ import annotations

from typing import Any

from ikusi.data.sources.source import Fields, RowFault, Source, Values, View, columns
from ikusi.data.sources.tables import describe


def _wikimedia(values: Values, language: str) -> Values | None:
    """Return the row with the caption that Wikipedia in `language` has; None if it has none."""
    told = values.get("wit_features")
    items: list[Any] = []
    if isinstance(told, dict):  # lists side by side, as `datasets` stores a sequence of structs
        names = [name for name, column in told.items() if isinstance(column, list | tuple)]
        rows = zip(*(told[name] for name in names), strict=False)
        items = [dict(zip(names, row, strict=True)) for row in rows]
    elif isinstance(told, list | tuple):
        items = [item for item in told if isinstance(item, dict)]
    else:
        raise RowFault("column-type", f"wit_features is {describe(told)}")
    for item in items:
        if item.get("language") == language:
            return {**values, "caption": item.get("caption_reference_description")}
    return None


def _wit(values: Values, language: str) -> Values | None:
    return values if values.get("language") == language else None


_CC3M = "LicenseRef-CC3M (free use; naming Google as the source is asked for)"

CAPTIONS: tuple[Source, ...] = (
    Source(
        name="cc3m",
        about="Conceptual Captions: 3.3M pictures of the web by url, with their alt texts",
        hub="google-research-datasets/conceptual_captions",
        subset="unlabeled",
        columns=columns("image_url text, caption text"),
        views=(View(fields=Fields(images="image_url", pictures="url", caption="caption")),),
        language="en",
        task="caption",
        licence=_CC3M,
        provenance="native",
    ),
    Source(
        name="cc3m-tsv",
        set="cc3m",
        about="the same, as Google publishes it: Train_GCC-training.tsv, without a header",
        columns=columns("caption text, url text"),
        header=("caption", "url"),
        quoted=False,
        views=(View(fields=Fields(images="url", pictures="url", caption="caption")),),
        language="en",
        task="caption",
        licence=_CC3M,
        provenance="native",
    ),
    Source(
        name="cc3m-wds",
        set="cc3m",
        about="the same with the pictures that were still there, as a webdataset",
        hub="pixparse/cc3m-wds",
        columns=columns("jpg image, txt text, json struct?, __key__ text?"),
        views=(View(fields=Fields(images="jpg", caption="txt", group="url")),),
        reshape=lambda values, language: (
            {**values, "url": (values.get("json") or {}).get("url")}
            if isinstance(values.get("json"), dict | None)
            else values
        ),
        language="en",
        task="caption",
        licence=_CC3M,
        provenance="native",
    ),
    Source(
        name="cc3m-eu",
        set="cc3m",
        about="Conceptual Captions in Basque and English: two records of one row, by url",
        hub="HiTZ/ConceptualCaptions_eu",
        columns=columns("id any?, url text, caption_en text, caption_eu text"),
        views=(
            View(
                fields=Fields(images="url", pictures="url", caption="caption_en"),
                language="en",
                provenance="native",
            ),
            View(
                fields=Fields(images="url", pictures="url", caption="caption_eu"),
                language="eu",
                provenance="HiTZ/mt-hitz-en-eu",
                parent="en",
            ),
        ),
        task="caption",
        licence=_CC3M,
    ),
    Source(
        name="pixmo-cap",
        about="PixMo-cap: long descriptions that people spoke",
        hub="allenai/pixmo-cap",
        columns=columns("image_url text, caption text, transcripts list?"),
        views=(View(fields=Fields(images="image_url", pictures="url", caption="caption")),),
        language="en",
        task="caption",
        licence="ODC-BY-1.0",
        provenance="allenai/pixmo-cap",
    ),
    Source(
        name="wit",
        about="Wikipedia-based Image Text: captions that Wikipedia's people wrote, 108 languages",
        hub="google/wit",
        schema="assumed",
        columns=columns(
            "language text, image_url text, caption_reference_description text, page_url text?, "
            "page_title text?, mime_type text?"
        ),
        views=(
            View(
                fields=Fields(
                    images="image_url",
                    pictures="url",
                    caption="caption_reference_description",
                    language="language",
                    meta=("page_url",),
                )
            ),
        ),
        any_language=True,
        reshape=_wit,
        task="caption",
        licence="CC-BY-SA-3.0",
        provenance="native",
    ),
    Source(
        name="wikimedia-captions",
        about="WIT as Wikimedia publishes it, with the pictures",
        hub="wikimedia/wit_base",
        schema="assumed",
        columns=columns("image image, image_url text, wit_features any"),
        views=(View(fields=Fields(images="image", caption="caption", group="image_url")),),
        any_language=True,
        reshape=_wikimedia,
        task="caption",
        licence="CC-BY-SA-3.0",
        provenance="native",
    ),
    Source(
        name="ocr-eu",
        about="Basque text in pictures, with its transcription",
        hub="HiTZ/ocr-eu",
        columns=columns("image image, transcription text"),
        views=(View(fields=Fields(images="image", caption="transcription")),),
        language="eu",
        task="ocr",
    ),
    Source(
        name="text",
        about="a corpus of plain text: one text a row (column `text`) or a line",
        is_format=True,
        columns=columns("text text"),
        views=(View(fields=Fields(text="text")),),
        task="text",
    ),
)
