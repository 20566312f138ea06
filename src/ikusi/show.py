"""`ikusi show`: a look at any artifact of the store.

Place: over the store and the readers of what it holds. What is shown follows from what there is
(records, pictures, a mixture's counts, a training's loss, results), not from the kind's name; the
payload is checked first, so nothing that is damaged is shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ikusi.core.artifact import Artifact
from ikusi.core.errors import DataError
from ikusi.core.files import show_bytes
from ikusi.core.records import count_records, read_records
from ikusi.core.store import Store
from ikusi.core.types import Record, Text
from ikusi.data.dataset import find_artifact, records_of
from ikusi.data.images import ImageReader, decode
from ikusi.data.ledger import find_drops, passages, texts_of
from ikusi.data.mix import MixtureSettings, count_parts
from ikusi.study.parts import IMAGES
from ikusi.study.summary import RESULTS

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console
    from rich.table import Table

_BARS = "▁▂▃▄▅▆▇█"
_SPARKS = 60
_TILE_PX = 192
_SHEET_TILES = 4  # in a row
_SHOWN_REASONS = 5  # of an earlier step
_SHOWN = (
    "read",
    "kept",
    "dropped",
    "records",
    "pictures",
    "counts",
    "sources",
    "unpaired",
    "unequal",
    "parts",
    "by_language",
    "loss",
)
"""Stats that have a place of their own."""


def show(
    name: str, *, limit: int, store: Path, runs: Path | None = None, dropped: str | None = None
) -> None:
    """Print a look at an artifact.

    Args:
        name: an address, the beginning of one, a link or its name, or a folder.
        limit: how many records, pictures or answers.
        store: where addresses are looked up.
        runs: where the links of data sets are.
        dropped: show records that were dropped for this reason instead.

    Raises:
        StoreError: there is no such artifact.
        CorruptArtifact: it is not what was written.
        DataError: nothing was dropped for this reason.
    """
    from rich.console import Console

    artifact = find_artifact(name, Store(store), runs)
    console = Console(highlight=False, markup=False, emoji=False)
    manifest = artifact.manifest
    console.print(artifact.address, style="bold")
    made = manifest.created[:16].replace("T", " ")
    console.print(
        f"{show_bytes(manifest.bytes)}, files: {len(manifest.files)}, made on {made} UTC in "
        f"{manifest.seconds:.1f} s by ikusi {manifest.ikusi}"
    )
    console.print(str(artifact.path))
    if dropped is not None:
        _show_dropped(artifact, dropped, limit, console)
        return
    _show_flow(artifact, console)
    if "counts" in artifact.stats:
        _show_mixture(artifact, console)
    if "loss" in artifact.stats:
        _show_training(artifact, console)
    if (artifact.path / RESULTS).is_file():
        _show_results(artifact, limit, console)
    records = records_in(artifact)
    if records is not None:
        _show_records(artifact, records, limit, console)
    elif (artifact.path / IMAGES).is_dir():
        _show_pictures(artifact, limit, console)
    _show_facts(artifact, console)


def _show_facts(artifact: Artifact, console: Console) -> None:
    """Print what the step told besides, what it was made from, and its configuration."""
    told = {key: value for key, value in artifact.stats.items() if key not in _SHOWN}
    if told:
        _title("Measured", console)
        console.print(_settings(told))
    _title("Made from", console)
    store = Store(artifact.store_root)
    table = _table()
    for role, address in sorted(artifact.manifest.inputs.items()):
        table.add_row(role, address + ("" if store.find(address) else " (gone)"))
    console.print(table if artifact.manifest.inputs else "nothing but its configuration")
    _title("Configuration", console)
    console.print(_settings(artifact.manifest.config))


# -- what came in, went on and was dropped


def _show_flow(artifact: Artifact, console: Console) -> None:
    """Print what each step on the way here read and kept, and why it dropped the others."""
    steps = passages(artifact)
    if not steps:
        return
    _title("Flow", console)
    table = _table("step", "read", "kept", "dropped", "reasons")
    for step in steps:
        own = step.artifact.address == artifact.address
        reasons = list(step.dropped.items())
        shown = reasons if own else reasons[:_SHOWN_REASONS]
        told = [f"{reason} {count:,}" for reason, count in shown]
        told += [f"and {len(reasons) - len(shown)} more"] if len(shown) < len(reasons) else []
        manifest, count = step.artifact.manifest, sum(step.dropped.values())
        name = f"{manifest.kind} {manifest.name}"
        table.add_row(name, f"{step.read:,}", f"{step.kept:,}", f"{count:,}", "\n".join(told))
    console.print(table)


def _show_dropped(artifact: Artifact, reason: str, limit: int, console: Console) -> None:
    rows = list(find_drops(artifact, reason, limit))
    _title(f"Dropped as {reason}: {len(rows)} of {artifact.stats['dropped'][reason]:,}", console)
    for row in rows:
        about = ", ".join(part for part in (row["language"], row["source"]) if part)
        console.print(f"{row['id'] or '(no id)'}  ({about})", style="bold")
        table = _table()
        table.add_row("  why", row["detail"])
        for role, text in texts_of(row):
            table.add_row(f"  {role}", text)
        console.print(table)


# -- records and pictures


def records_in(artifact: Artifact) -> Path | None:
    """Return where the records of an artifact are, None where it has none."""
    try:
        return records_of(artifact.path)
    except DataError:
        return None


def _show_records(artifact: Artifact, path: Path, limit: int, console: Console) -> None:
    records = list(read_records(path, limit=limit))
    _title(f"Records: {len(records)} of {count_records(path):,}", console)
    shas = [image.sha256 for record in records for image in record.images if image.sha256]
    numbers = {sha: number for number, sha in enumerate(dict.fromkeys(shas), 1)}
    for record in records:
        console.print(f"{record.id}  ({record.language}, {record.task})", style="bold")
        console.print(_turns(record, numbers))
    _show_sheet(artifact, list(numbers), console)


def _turns(record: Record, numbers: Mapping[str, int]) -> Table:
    def name_of(index: int) -> str:
        if not 0 <= index < len(record.images):
            return "?"
        image = record.images[index]
        return str(numbers[image.sha256]) if image.sha256 else image.url or "?"

    table = _table()
    for turn in record.turns:
        parts = [
            part.text if isinstance(part, Text) else f"[picture {name_of(part.index)}] "
            for part in turn.parts
        ]
        table.add_row(f"  {turn.role}", "".join(parts))
    if record.choices:
        table.add_row("  choices", " | ".join(record.choices))
    return table


def _show_pictures(artifact: Artifact, limit: int, console: Console) -> None:
    reader = ImageReader(artifact.path / IMAGES)
    _title(f"Pictures: {min(limit, len(reader))} of {len(reader):,}", console)
    _show_sheet(artifact, list(islice(reader.sha256s(), limit)), console)


def _show_sheet(artifact: Artifact, sha256s: Sequence[str], console: Console) -> None:
    """Write pictures to one PNG, numbered as they are in the text, and print where it is."""
    if not sha256s:
        return
    readers = list(_readers(artifact, set()))
    pictures = [_picture(sha256, readers) for sha256 in sha256s]
    with tempfile.NamedTemporaryFile(prefix="ikusi-show-", suffix=".png", delete=False) as stream:
        contact_sheet(pictures).save(stream, "PNG")
    console.print(f"pictures: {stream.name}", soft_wrap=True)


def _picture(sha256: str, readers: Sequence[ImageReader]) -> Image.Image | None:
    """Return a picture, or None where it is gone, damaged or broken."""
    for reader in readers:
        if sha256 in reader:
            data = reader.read(sha256)
            if hashlib.sha256(data).hexdigest() == sha256:
                with contextlib.suppress(DataError):
                    return decode(data)
    return None


def _readers(artifact: Artifact, seen: set[str]) -> Iterator[ImageReader]:
    """Yield the pictures of an artifact and of what it was made from.

    Payloads are not checked, which takes long for many pictures: each picture can be, by its name.
    """
    seen.add(artifact.address)
    if (artifact.path / IMAGES).is_dir():
        with contextlib.suppress(DataError):
            yield ImageReader(artifact.path / IMAGES)
    store = Store(artifact.store_root)
    for address in artifact.manifest.inputs.values():
        found = store.find(address)
        if found is not None and found.address not in seen:
            yield from _readers(found, seen)


def contact_sheet(pictures: Sequence[Image.Image | None]) -> Image.Image:
    """Return pictures side by side in rows, numbered from 1; a missing one stays blank."""
    from PIL import Image, ImageDraw

    across = min(_SHEET_TILES, len(pictures))
    down = -(-len(pictures) // across)
    sheet = Image.new("RGB", (across * (_TILE_PX + 8) + 8, down * (_TILE_PX + 24) + 8), "white")
    pen = ImageDraw.Draw(sheet)
    for index, picture in enumerate(pictures):
        row, column = divmod(index, across)
        left, top = 8 + column * (_TILE_PX + 8), 8 + row * (_TILE_PX + 24)
        pen.text((left, top + _TILE_PX + 2), str(index + 1), fill="black", font_size=14)
        if picture is None:
            pen.rectangle((left, top, left + _TILE_PX, top + _TILE_PX), outline="grey")
            continue
        scale = _TILE_PX / max(picture.size)
        size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
        sheet.paste(picture.resize(size), (left, top))
    return sheet


# -- mixtures


def _show_mixture(artifact: Artifact, console: Console) -> None:
    config, got = artifact.manifest.config, artifact.stats["counts"]
    asked = asked_counts(
        MixtureSettings.parse(config["mixture"], "mixture"), config["pivot"], config["target"]
    )
    total_got = sum(sum(of.values()) for of in got.values())
    total_asked = sum(sum(of.values()) for of in asked.values())
    _title(f"Mixture: {total_got:,} records", console)
    table = _table("part", "language", "asked", "", "got", "")
    for part in dict.fromkeys((*asked, *got)):
        for language in dict.fromkeys((*asked.get(part, {}), *got.get(part, {}))):
            wanted = asked.get(part, {}).get(language, 0)
            found = got.get(part, {}).get(language, 0)
            if wanted or found:
                shares = (f"{wanted / max(1, total_asked):.1%}", f"{found / max(1, total_got):.1%}")
                table.add_row(part, language, f"{wanted:,}", shares[0], f"{found:,}", shares[1])
    console.print(table)
    for source, of in artifact.stats.get("sources", {}).items():
        counted = ", ".join(f"{count:,} {language}" for language, count in sorted(of.items()))
        console.print(f"source {source}: {counted}")
    for key, what in (("unpaired", "without a pair"), ("unequal", "of unequal length in a pair")):
        for part, count in artifact.stats.get(key, {}).items():
            if count:
                console.print(f"left out of {part}: {count:,} groups {what}")


def asked_counts(settings: MixtureSettings, pivot: str, target: str) -> dict[str, dict[str, int]]:
    """Return the records that a mixture asks for: part -> language -> number."""
    parts = count_parts(settings)
    seen_in_pivot = parts.multimodal - parts.multimodal_target + parts.pivot_only
    counts = {
        "multimodal": {target: parts.multimodal_target, pivot: seen_in_pivot},
        "text": {target: parts.text_target, pivot: parts.text - parts.text_target},
    }
    if settings.only == "target":
        counts = {part: {target: of[target]} for part, of in counts.items()}
    return counts


# -- training


def _show_training(artifact: Artifact, console: Console) -> None:
    _title("Training", console)
    for part in artifact.stats.get("parts", ()):
        console.print(part)
    for language, counts in artifact.stats.get("by_language", {}).items():
        told = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items())
        console.print(f"{language}: {told}")
    losses = [row["loss"] for row in artifact.stats["loss"]]
    if losses:
        console.print(f"loss {losses[0]:.3f} -> {losses[-1]:.3f}  {sparkline(losses)}".rstrip())


def sparkline(values: Sequence[float], width: int = _SPARKS) -> str:
    """Return values as blocks of eight heights, at most `width` of them, each a mean."""
    count = min(width, len(values))
    edges = [len(values) * i // count for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(means), max(means)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join(_BARS[round((mean - low) / step)] for mean in means)


# -- results


def _show_results(artifact: Artifact, limit: int, console: Console) -> None:
    from ikusi.evaluate.results import SPLITS, read_results
    from ikusi.evaluate.stats import macro_accuracy, sum_by_group

    table = read_results(artifact.path / RESULTS)
    sums = sum_by_group(table)
    languages = sorted({language for language, _ in sums})
    _title(f"Scores: mean over tasks, {table.num_rows:,} answers", console)
    scores = _table("split", *languages)
    for split, meaning in SPLITS.items():
        if any((language, split) in sums for language in languages):
            values = (macro_accuracy(table, language, split) for language in languages)
            scores.add_row(f"{split} ({meaning})", *(f"{value:.3f}" for value in values))
    console.print(scores)
    for split in ("main", "text"):
        here = {
            language: sums[language, split] for language in languages if (language, split) in sums
        }
        if here:
            _title(f"Scores by task: {split}", console)
            by_task = _table("task", *here)
            for task in sorted({task for found in here.values() for task in found.tasks}):
                by_task.add_row(
                    task,
                    *(
                        f"{found.share('correct', task):.3f} of {found.n(task)}"
                        if task in found.tasks
                        else ""
                        for found in here.values()
                    ),
                )
            console.print(by_task)
    rows = table.slice(0, limit).to_pylist()
    _title(f"Answers: {len(rows)} of {table.num_rows:,}", console)
    for row in rows:
        console.print(f"{row['sample_id']}", style="bold")
        answers = _table()
        answers.add_row("  asked", row["prompt"])
        answers.add_row("  answer", row["answer"])
        answers.add_row("  right" if row["correct"] else "  wrong", row["gold"])
        console.print(answers)


# -- pieces


def _title(text: str, console: Console) -> None:
    console.print()
    console.print(text, style="bold underline")


def _table(*headers: str) -> Table:
    """Return a borderless table whose first column keeps its width; numbers stand on the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=bool(headers))
    for index, header in enumerate(headers or ("", "")):
        right = bool(headers) and index > 0
        table.add_column(header, overflow="fold", justify="right" if right else "left")
    return table


def _settings(data: Mapping[str, Any]) -> Table:
    """Return nested data as rows of a dotted key, as overrides are written, and its value."""
    table = _table()
    for key, value in _flatten(data):
        if isinstance(value, list):
            value = ", ".join(map(str, value))
        plain = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(key, {"None": "null", "True": "true", "False": "false"}.get(plain, plain))
    return table


def _flatten(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
