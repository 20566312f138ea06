"""The dataset card: what is in a published set, under what licence, and how it came about.

Place: survey, history -> [card] -> README.md. Contract: every number is counted, none is claimed;
nothing of the data can end a block or become markup.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ikusi.data.history import History, measured_numbers
from ikusi.data.licences import UNKNOWN, parse_licence
from ikusi.data.survey import NATIVE, Survey, conversation
from ikusi.pages.markdown import fence, md, md_table

_ROWS = 40  # of a table: a card is read, and the data have the rest
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
_MORE_SIZES = ((1e7, "1M<n<10M"), (1e8, "10M<n<100M"), (1e9, "100M<n<1B"))
COLUMNS = (
    ("id", "unique within the set that the row came from"),
    ("group", "what belongs together: the same in all languages"),
    ("language", "BCP-47"),
    ("task", "what is asked; `chat` for a conversation"),
    ("images", "pictures of the row, {images}"),
    ("messages", "turns: `role`, and `content` as a list of parts; `index` points into `images`"),
    ("choices", "options of a multiple-choice question, in order"),
    ("answers", "accepted answers, the reference one first"),
    ("source", "name of the set that the row came from"),
    ("licence", "of the row, as an SPDX expression"),
    ("provenance", "who or what wrote the text: `native`, or the model and its revision"),
    ("parent", "id of the row that this one was translated from"),
    ("meta", "other columns of the source, as JSON"),
)


@dataclass(frozen=True)
class Facts:
    """All that a card says."""

    name: str
    called: str
    """What `load_dataset` is told."""
    survey: Survey
    history: History
    licence: str
    images: str
    """`embed` or `reference`."""
    splits: Mapping[str, tuple[int, list[tuple[str, bool]]]]
    """Split -> rows, and the (language, reviewed) in it."""


def card(facts: Facts) -> str:
    """Return the text of README.md."""
    parts = [
        _front_matter(facts),
        f"# {md(facts.name)}",
        _opening(facts),
        _usage(facts),
        _licences(facts),
        _writers(facts),
        _steps(facts),
        _drops(facts),
        _quality(facts),
        _samples(facts),
        _limits(facts),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(facts: Facts) -> str:
    found = facts.survey
    sizes = (*_SIZES, *_MORE_SIZES)
    size = next((name for limit, name in sizes if found.rows < limit), "n>1T")
    data: dict[str, object] = {
        "pretty_name": facts.name,
        "language": found.languages,
        **_licence_tags(facts.licence),
        "task_categories": _categories(found),
        "size_categories": [size],
        "tags": ["ikusi", "multimodal"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [
                    {"split": name, "path": f"data/{name}-*.parquet"} for name in facts.splits
                ],
            }
        ],
    }
    # Values as JSON, which is YAML whatever its version: in 1.1, which the hub reads, a bare `no`
    # is a boolean and not Norwegian.
    lines = [f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items()]
    return "\n".join(["---", *lines, "---"])


def _licence_tags(expression: str) -> dict[str, object]:
    """Return the hub's `license` fields for an expression."""
    options = parse_licence(expression)
    if expression == UNKNOWN or not options[0][0].known:
        return {"license": UNKNOWN}
    if len(options) == 1 and len(options[0]) == 1 and options[0][0].hub:
        return {"license": options[0][0].hub}
    if len(options) == 1 and all(term.hub for term in options[0]):
        return {"license": [term.hub for term in options[0]]}
    return {"license": "other", "license_name": expression.lower().replace(" ", "-")}


def _categories(found: Survey) -> list[str]:
    if not found.pictured:
        return ["text-generation"]
    if found.benchmark:
        return ["visual-question-answering"]
    return ["image-to-text" if set(found.by_task) == {"caption"} else "image-text-to-text"]


def _opening(facts: Facts) -> str:
    found = facts.survey
    sources = dict.fromkeys(source for source, _, _ in found.by_source)
    kind = "A benchmark" if any(name != "train" for name in facts.splits) else "Training data"
    how = (
        "The pictures are in the rows."
        if facts.images == "embed"
        else "The pictures are not in it: a row has their addresses and the hashes of their bytes."
    )
    rows = [
        [name, f"{count:,}", ", ".join(dict.fromkeys(language for language, _ in keys))]
        for name, (count, keys) in facts.splits.items()
    ]
    return "\n\n".join(
        [
            f"{kind} of {found.rows:,} rows in {md(', '.join(found.languages))}, "
            f"{found.pictured:,} of them with pictures, made from {md(', '.join(sources))}. "
            + (how if found.pictured else ""),
            md_table(["split", "rows", "languages"], rows),
        ]
    )


def _usage(facts: Facts) -> str:
    split = next(iter(facts.splits))
    code = (
        "from datasets import load_dataset\n\n"
        f"rows = load_dataset({facts.called!r}, split={split!r})\n"
        'print(rows[0]["messages"])'
    )
    images = "decoded on reading" if facts.images == "embed" else "as `url` and `sha256`"
    columns = [f"- `{name}`: {what.format(images=images)}" for name, what in COLUMNS]
    return "\n\n".join(["## Use", fence(code, "python"), "\n".join(columns)])


def _licences(facts: Facts) -> str:
    rows = [
        [source, licence or UNKNOWN, language, f"{count:,}"]
        for (source, licence, language), count in facts.survey.by_source.most_common(_ROWS)
    ]
    terms = {t.id: t for _, licence, _ in facts.survey.by_source for t in parse_licence(licence)[0]}
    links = [f"- {md(t.id)}: {t.kind}{f', <{t.url}>' if t.url else ''}" for t in terms.values()]
    words = (
        "Some rows have no licence that is known, so nothing is promised about the whole."
        if facts.licence == UNKNOWN
        else f"The whole may be used under **{md(facts.licence)}**; each row keeps its own."
    )
    table = md_table(["source", "licence", "language", "rows"], rows)
    return "\n\n".join(["## Sources and licences", words, table, "\n".join(links)])


def _writers(facts: Facts) -> str:
    rows = [
        [writer, language, f"{count:,}"]
        for (writer, language), count in facts.survey.by_writer.most_common(_ROWS)
    ]
    intro = f"`{NATIVE}` is text as its source has it; everything else was written by a model."
    return "\n\n".join(["## Who wrote the text", intro, md_table(["by", "language", "rows"], rows)])


def _steps(facts: Facts) -> str:
    if not facts.history.steps:
        return ""
    rows = [
        [
            step.name,
            "–" if step.read is None else f"{step.read:,}",
            "–" if step.kept is None else f"{step.kept:,}",
            f"{sum(step.dropped.values()):,}",
            step.artifact.hash,
        ]
        for step in facts.history.steps
    ]
    parts = ["## How it was made", md_table(["step", "read", "kept", "dropped", "hash"], rows)]
    if facts.history.gone:
        parts.append(f"Not known any more: {md(', '.join(facts.history.gone))}.")
    return "\n\n".join(parts)


def _drops(facts: Facts) -> str:
    rows = [
        [step.name, reason, f"{count:,}"]
        for step in facts.history.steps
        for reason, count in sorted(step.dropped.items(), key=lambda pair: -pair[1])[:_ROWS]
    ]
    table = md_table(["step", "reason", "rows"], rows)
    return "\n\n".join(["## What was dropped, and why", table]) if rows else ""


def _quality(facts: Facts) -> str:
    rows = [
        [step.name, name, value]
        for step in facts.history.steps
        for name, value in list(measured_numbers(step).items())[:_ROWS]
    ]
    table = md_table(["step", "measure", "value"], rows)
    return "\n\n".join(["## Quality, as far as it was measured", table]) if rows else ""


def _samples(facts: Facts) -> str:
    parts = ["## Samples", "The first rows of each split, not chosen."]
    for name, (_, keys) in facts.splits.items():
        for key in keys:
            for record in facts.survey.samples.get(key, []):
                parts.append(f"`{name}`, {md(record.id)}:\n\n{fence(conversation(record), 'text')}")
    return "\n\n".join(parts)


def _limits(facts: Facts) -> str:
    found = facts.survey
    written = sum(n for (writer, _), n in found.by_writer.items() if writer != NATIVE)
    reviewed = sum(n for (_, by_people), n in found.by_split.items() if by_people)
    lines = []
    if written:
        lines.append(
            f"{written:,} of {found.rows:,} rows were written by a model, and can be wrong, "
            "unidiomatic or biased as that model is."
        )
    lines.append(
        f"{reviewed:,} of {found.rows:,} rows were reviewed by people."
        if reviewed
        else "No row was reviewed by people as far as this card knows."
    )
    if facts.images == "reference" and found.pictured:
        lines.append("Pictures stay where they are on the web: some will be gone or changed.")
    if facts.licence == UNKNOWN:
        lines.append("The licence of some rows is not known: ask before using them.")
    lines.append(
        "What was checked automatically is listed above by its reasons; what no check looks for "
        "(facts, tone, harmful content) was not looked for."
    )
    return "\n\n".join(["## Limits", "\n".join(f"- {line}" for line in lines)])
