"""`ikusi images`: fetch and check the pictures of imports, once for all of them.

Place: command line -> [this] -> images step.

    ikusi images runs/data/cc3m runs/data/pixmo-cap
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from ikusi.core.artifact import Artifact, hash_data
from ikusi.core.config import to_plain
from ikusi.core.errors import DataError
from ikusi.core.files import show_bytes
from ikusi.core.store import Spec, Store, work_folder
from ikusi.data.dataset import Dataset, find_artifact, joined_name, open_dataset, split_arguments
from ikusi.data.image_manifest import MANIFEST_FILE
from ikusi.data.image_plan import make_plan
from ikusi.data.image_settings import ImageSettings
from ikusi.data.image_step import IMAGES, write_images
from ikusi.data.netguard import Lookup

VERSION = 2
_SHOWN_REASONS = 8
_PREVIEW_ROWS = 64 << 10


def run_images(
    names: Sequence[str],
    *,
    name: str | None,
    earlier: str | None,
    store: Path,
    runs: Path,
    dry_run: bool = False,
) -> None:
    """Make the artifact of the images of some imports, link to it, and print what came of it.

    Args:
        names: imports as a person names them, and settings as `key=value`.
        name: for people; by default that of the imports.
        earlier: an images artifact whose pictures are taken over.
        store: where artifacts are.
        runs: where the link `data/<name>` (by default `<imports>-images`) is made, and names are
            looked up.
        dry_run: only say what would be read and made.

    Raises:
        IkusiError: something can be mended.
    """
    opened = Store(store)
    sources, settings = split_arguments(names, {}, "images")
    datasets = [open_dataset(source, opened, runs) for source in sources]
    parsed = ImageSettings.parse(settings, "images")
    before = find_artifact(earlier, opened, runs) if earlier else None
    if dry_run:
        spec = images_spec(datasets, parsed, name=name, earlier=before)
        for line in preview(opened, spec, datasets):
            typer.echo(line)
        return
    artifact = make_images(opened, datasets, parsed, name=name, earlier=before)
    link = runs / "data" / (name or f"{artifact.manifest.name}-images")
    opened.link(link, artifact)
    for line in describe(artifact):
        typer.echo(line)
    typer.echo(f"{link} -> {artifact.address}")


def make_images(
    store: Store,
    datasets: Sequence[Dataset],
    settings: ImageSettings,
    *,
    name: str | None = None,
    earlier: Artifact | None = None,
    lookup: Lookup | None = None,
) -> Artifact:
    """Return the artifact with the pictures that the records want, made unless it is there.

    Args:
        store: where it is made.
        datasets: imports; their order does not matter.
        settings: what is taken, and how it is asked for.
        name: for people; by default that of the data sets.
        earlier: an images artifact: what it has is taken from there, what it lacks is tried again.
        lookup: resolves names; the system's by default. For tests.

    Raises:
        IkusiError: something can be mended; what was fetched so far is kept.
    """
    spec = images_spec(datasets, settings, name=name, earlier=earlier)
    chosen = _ordered(datasets)
    folders = [d.artifact.path / IMAGES for d in chosen if d.artifact is not None]

    def write(out: Path) -> Mapping[str, Any]:
        return write_images(
            [dataset.path for dataset in chosen],
            folders,
            settings,
            out,
            work_folder(out),
            earlier=earlier.path if earlier else None,
            lookup=lookup,
        )

    return store.build(spec, write)


def images_spec(
    datasets: Sequence[Dataset],
    settings: ImageSettings,
    *,
    name: str | None = None,
    earlier: Artifact | None = None,
) -> Spec:
    """Return what `make_images` makes.

    Raises:
        DataError: `earlier` holds no images.
    """
    if earlier is not None and not (earlier.path / MANIFEST_FILE).is_file():
        raise DataError(f"{earlier.address}: holds no images. Give what `ikusi images` made.")
    config: dict[str, Any] = {"settings": to_plain(settings)}
    del config["settings"]["network"]  # decides how long it takes
    inputs: dict[str, str] = {"earlier": earlier.address} if earlier else {}
    for number, dataset in enumerate(_ordered(datasets)):
        inputs |= dataset.inputs(f"records{number}")
        config |= dataset.config(f"records{number}")
    made_of = name or joined_name(datasets, "images")
    return Spec("images", made_of, VERSION, config, inputs)


def _ordered(datasets: Sequence[Dataset]) -> list[Dataset]:
    """Return the data sets by content: in another order they are the same artifact."""
    found = {hash_data([_content(dataset)]): dataset for dataset in datasets}
    return [dataset for _, dataset in sorted(found.items())]


def preview(store: Store, spec: Spec, datasets: Sequence[Dataset]) -> list[str]:
    """Return lines that say what would be read, fetched and made.

    Raises:
        DataError: records are damaged.
    """
    with tempfile.TemporaryDirectory() as folder:
        plan = make_plan([dataset.path for dataset in _ordered(datasets)], Path(folder) / "plan")
        urls = sum(
            wanted.url is not None
            for start in range(0, len(plan), _PREVIEW_ROWS)
            for wanted in plan.slice(start, min(start + _PREVIEW_ROWS, len(plan)))
        )
        pictures = len(plan)
    state = "is there already" if store.find(spec.address) else "would be made"
    return [
        f"{spec.address} {state}, of:",
        *(f"  {role}: {address}" for role, address in spec.inputs.items()),
        *(f"  {one.name}: {one.path}" for one in datasets if one.artifact is None),
        f"{pictures:,} different pictures: {urls:,} to fetch by their URL, unless an input has "
        f"them; {pictures - urls:,} in the inputs",
    ]


def describe(artifact: Artifact) -> list[str]:
    """Return lines that say what became of the pictures."""
    stats = artifact.stats
    status = stats["status"]
    usable = status["fetched"] + status["duplicate"]
    lines = [
        f"{stats['wanted']:,} pictures wanted: {usable:,} can be used "
        f"({stats['pictures']:,} different, {show_bytes(stats['bytes'])}), "
        f"{status['dead']:,} dead, {status['broken']:,} broken"
    ]
    for kind, reasons in stats["reasons"].items():
        shown = [f"{reason} {count:,}" for reason, count in list(reasons.items())[:_SHOWN_REASONS]]
        if len(reasons) > _SHOWN_REASONS:
            shown.append(f"and {len(reasons) - _SHOWN_REASONS} other reasons")
        if shown:
            lines.append(f"  {kind}: {', '.join(shown)}")
    return lines


def _content(dataset: Dataset) -> Any:
    return dataset.artifact.hash if dataset.artifact else dict(dataset.config())
