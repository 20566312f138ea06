"""Publish data sets: a folder that `datasets.load_dataset` opens, and the same on the hub.

    <folder>/README.md               the dataset card
    <folder>/data/eu-00000.parquet   rows of a split; pictures inside, or their addresses
    <folder>/checksums.txt           for `sha256sum -c checksums.txt`

Place: import, translate, filter -> [publish]. Contract: rows out = rows in, every one of them under
a licence that allows it; the Parquet files are an artifact, so a killed run goes on and equal work
is done once; a folder is replaced as a whole or not at all.

    ikusi publish runs/data/cc3m-eu --to cc3m-eu --dry-run
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Sequence
from pathlib import Path

from ikusi.core import files, hub, log
from ikusi.core.artifact import Artifact
from ikusi.core.errors import ConfigError, DataError, StoreError
from ikusi.core.files import disk_errors, show_bytes
from ikusi.core.store import Store
from ikusi.data.card import Facts, card
from ikusi.data.dataset import open_dataset
from ikusi.data.history import Pictures, trace
from ikusi.data.licences import UNKNOWN, judge_licence, parse_licence
from ikusi.data.publish_rows import CHECKSUMS, DATA, ImageMode, Publication, build
from ikusi.data.survey import survey

CARD = "README.md"
_OURS = {DATA, CARD, CHECKSUMS, ".cache"}


def look(
    names: Sequence[str],
    store: Store,
    *,
    runs: Path | None = None,
    licence: str | None = None,
    images: ImageMode | None = None,
    benchmark: bool | None = None,
) -> Publication:
    """Read and judge data sets that are to be published.

    Args:
        names: artifacts, links or Parquet files.
        store: where artifacts are.
        runs: where verbs put their links.
        licence: for the whole; None for what the rows allow together.
        images: None references pictures where all have an address, and embeds them otherwise.
        benchmark: splits by language; None decides by whether every record has answers.

    Raises:
        DataError: there is no row, a licence is not known, or pictures can be had in no way.
    """
    datasets = tuple(
        {str(d.path): d for d in (open_dataset(name, store, runs) for name in names)}.values()
    )
    history = trace(datasets, store)
    pictures = Pictures(history)
    found = survey(datasets, pictures)
    if not found.rows:
        raise DataError(f"{', '.join(names)}: holds no record. There is nothing to publish.")
    mode = images or ("embed" if found.no_url else "reference")
    if mode == "reference" and found.no_url:
        raise DataError(
            f"{found.no_url:,} pictures have no address to refer to. Use --images embed."
        )
    if mode == "embed" and found.absent:
        raise DataError(
            f"{found.absent:,} pictures are in no artifact behind these data sets (the first is "
            f"that of record {found.first_absent!r}). Run `ikusi images` and `ikusi filter` first"
            + (", or use --images reference." if not found.no_url else ".")
        )
    verdict = judge_licence(found.licences(), licence)
    split = found.benchmark if benchmark is None else benchmark
    return Publication(datasets, history, pictures, found, verdict, mode, split)


def check_licence(publication: Publication) -> None:
    """Refuse what the rows' licences do not allow.

    Raises:
        DataError: says which rows and why, in one line.
    """
    if refusals := publication.verdict.refusals:
        joint = judge_licence(publication.survey.licences(), None)
        more = f" (and {len(refusals) - 1} more such groups)" if len(refusals) > 1 else ""
        remedy = (
            "Leave them out"
            if joint.refusals or joint.licence == UNKNOWN
            else f"Use --licence {joint.licence!r}, or leave them out"
        )
        wanted = publication.verdict.licence
        raise DataError(f"Not published as {wanted}: {refusals[0]}{more}. {remedy}.")


# -- the folder and the hub


def place(publication: Publication, artifact: Artifact, folder: Path, called: str) -> None:
    """Make `folder` hold the published data set, whole or not at all.

    Args:
        publication: what it is.
        artifact: its Parquet files; large ones are not copied where the disk allows links.
        folder: replaced when it holds a published data set; `.cache` in it is kept.
        called: how `load_dataset` is told to find it, in the card.

    Raises:
        DataError: something else is in the folder.
    """
    check_place(folder)
    with disk_errors(folder, "--to"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
        try:
            (fresh / DATA).mkdir(parents=True)
            for path in sorted((artifact.path / DATA).iterdir()):
                _link_or_copy(path, fresh / DATA / path.name)
            shutil.copyfile(artifact.path / CHECKSUMS, fresh / CHECKSUMS)
            facts = Facts(
                publication.name,
                called,
                publication.survey,
                publication.history,
                publication.verdict.licence,
                publication.images,
                {
                    name: (sum(publication.survey.by_split[key] for key in keys), keys)
                    for name, keys in publication.survey.splits(publication.benchmark).items()
                },
            )
            (fresh / CARD).write_text(card(facts), encoding="utf-8")
            _swap(fresh, folder)
        finally:
            files.remove(fresh)


def check_place(folder: Path) -> None:
    """Refuse a folder that holds anything but a published data set.

    Raises:
        DataError: names what is in the way.
    """
    if folder.is_dir():
        if foreign := sorted(p.name for p in folder.iterdir() if p.name not in _OURS):
            raise DataError(
                f"{folder}: holds {foreign[0]!r}, which is no part of a published data set. "
                "Give a new folder."
            )
    elif os.path.lexists(folder):
        raise DataError(f"{folder}: is no folder. Give a new one.")


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def _swap(fresh: Path, folder: Path) -> None:
    if not folder.is_dir():
        os.rename(fresh, folder)
        return
    old = folder.with_name(f"{fresh.name}-old")
    if (folder / ".cache").is_dir():  # what is known of an upload that broke off
        os.rename(folder / ".cache", fresh / ".cache")
    os.rename(folder, old)
    os.rename(fresh, folder)
    files.remove(old)


def push(folder: Path, name: str, *, private: bool) -> str:
    """Bring a placed folder to the hub and return its address; a broken-off push goes on.

    Raises:
        HubError: there is no token that may, or it broke off.
    """
    return hub.connect().upload(folder, name, private=private)


def publish(
    names: Sequence[str],
    store_path: Path,
    runs: Path,
    *,
    to: Path | None,
    hub_name: str | None,
    licence: str | None,
    images: ImageMode | None,
    benchmark: bool | None,
    private: bool,
    dry_run: bool,
) -> None:
    """Do what `ikusi publish` does, and print what came of it.

    Raises:
        ConfigError: it is not said where to.
        DataError: the licences of the rows do not allow it.
    """
    if to is None and hub_name is None:
        raise ConfigError("Say where to: --to FOLDER, or --hub org/name, or both.")
    if hub_name is not None and hub_name.count("/") != 1:
        raise ConfigError(f"--hub {hub_name}: write it as org/name.")
    log.setup()
    if not store_path.is_dir() and not any(Path(name).exists() for name in names):
        raise StoreError(f"{store_path}: there is no store here. Give --store, or set IKUSI_STORE.")
    if to is not None:
        check_place(to)  # told now, and not after all rows are read
    store = Store(store_path)
    publication = look(names, store, runs=runs, licence=licence, images=images, benchmark=benchmark)
    folder = to or runs / "publish" / publication.name
    check_place(folder)
    _print_plan(publication, folder, hub_name)
    check_licence(publication)
    _check_unknown(publication, hub_name, licence)
    if dry_run:
        return
    artifact = build(publication, store)
    store.link(runs / "data" / f"published-{artifact.manifest.name}", artifact)
    place(publication, artifact, folder, hub_name or str(folder))
    size = show_bytes(artifact.manifest.bytes)
    print(f"Published to {folder}: {publication.survey.rows:,} rows, {size}")
    if hub_name is not None:
        print(f"On the hub: {push(folder, hub_name, private=private)}")


def _check_unknown(publication: Publication, hub_name: str | None, licence: str | None) -> None:
    if hub_name and publication.verdict.licence == UNKNOWN and licence is None:
        unknown = next(r for r in publication.survey.licences() if _is_unknown(r.licence))
        raise DataError(
            f"Not sent to the hub: {unknown.count:,} rows ({unknown.source}, such as "
            f"{unknown.example}) have no licence that is known. Say it at `ikusi import`, or send "
            "them with --licence unknown if you may."
        )


def _is_unknown(licence: str) -> bool:
    return not all(term.known for term in parse_licence(licence)[0])


def _print_plan(publication: Publication, folder: Path, hub_name: str | None) -> None:
    found = publication.survey
    print(f"{publication.name}: {found.rows:,} rows, {found.pictured:,} of them with pictures")
    for split, keys in found.splits(publication.benchmark).items():
        print(f"  split {split:<16} {sum(found.by_split[key] for key in keys):>12,} rows")
    for group in list(found.licences())[:12]:
        told = f"{group.source}, {group.provenance or 'native'}"
        print(f"  {group.count:>12,} rows under {group.licence or UNKNOWN} ({told})")
    how = "embedded" if publication.images == "embed" else "by address (url and sha256)"
    print(f"  licence of the whole: {publication.verdict.licence}; pictures: {how}")
    print(f"  to {folder}" + (f" and {hub.page(hub_name, 'dataset')}" if hub_name else ""))
