"""Would a recipe run here? What there is, what is absent, and what to do about it.

Place: needs, plan, estimate -> [doctor]. Contract: changes nothing. Each absence says what to do;
with `--offline` the network is not asked, and what is not here is absent.

    ikusi doctor basque --offline
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ikusi.core import hub, log
from ikusi.core.config import to_plain
from ikusi.core.errors import ConfigError, IkusiError, first_line
from ikusi.core.files import show_bytes
from ikusi.core.hub import HubError
from ikusi.core.store import Store
from ikusi.data.dataset import open_dataset
from ikusi.offline.needs import (
    HubNeed,
    Needs,
    has_weights,
    needs_of,
    requirements,
    set_in_store,
    wanted_files,
)
from ikusi.study.plan import Plan, plan_study
from ikusi.study.recipe import read_recipe
from ikusi.study.source_data import source_steps

_TRAINING_BYTES = 16  # a parameter: weight, gradient and Adam's two moments, 4 bytes each
_LOOKED_AT = 500  # records of a set, to see whether their pictures were brought
_SERVER_SECONDS = 3.0
_MODELS = ("encoder", "text", "align", "instruct")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    what: str
    found: str
    remedy: str = ""
    """What to do; empty where nothing is absent."""


def doctor(
    recipe: str, overrides: Sequence[str], store_path: Path, *, offline: bool, workers: int | None
) -> None:
    """Do what `ikusi doctor` does, and print what was found.

    Raises:
        ConfigError: something is absent.
    """
    log.setup()
    resolved, data = read_recipe(recipe, overrides)
    store = Store(store_path)
    needs = needs_of(to_plain(resolved))
    if resolved.sets_named:  # what is trained is planned when the data are there
        source_steps(resolved, recipe)
        plan = Plan(resolved)
    else:
        plan = plan_study(data, recipe)
    command = shlex.join(["ikusi", "fetch", recipe, *overrides, "--to", "DIR"])
    checks = [*examine(needs, plan, store, command, offline=offline, workers=workers)]
    for check in checks:
        print(f"{'absent' if check.remedy else 'ok':<7} {check.what}: {check.found}")
        if check.remedy:
            print(f"        -> {check.remedy}")
    if absent := [check for check in checks if check.remedy]:
        names = ", ".join(check.what for check in absent[:4]) + (", ..." if absent[4:] else "")
        raise ConfigError(f"{recipe} would not run here: absent are {names}. See above for each.")
    print(f"{recipe} would run here.")


def examine(
    needs: Needs, plan: Plan, store: Store, fetching: str, *, offline: bool, workers: int | None
) -> Iterator[Check]:
    """Yield what was found, in the order in which one would mend it; `fetching` is a command."""
    cache = hub.cache_folder()
    for need in needs.repositories:
        yield _repository(need, cache, fetching, offline=offline)
    for key, name in needs.sets:
        yield from _data_set(key, name, store)
    yield from _packages(needs)
    for key, program in needs.programs:
        yield _program(key, program)
    for key, url in needs.servers:
        yield _server(key, url)
    sizes = [_parameters(need, cache) for need in needs.repositories if need.kind == "model"]
    yield _memory(max((size or 0 for size in sizes), default=0))
    yield _disk(plan, store, sum(size or 0 for size in sizes))
    yield _time(plan, store, workers, bool(sizes))


def _repository(need: HubNeed, cache: Path, fetching: str, *, offline: bool) -> Check:
    word = "weights" if need.kind == "model" else "data"
    what = f"{word} {need.name} ({need.key})"
    folder = hub.cached(need.name, need.kind, cache)
    lacks = _lacks(folder, need) if folder else ""
    if folder and not lacks:
        return Check(what, f"in {cache}, revision {folder.name[:8]}")
    there = f"incomplete in {cache}: {lacks}" if lacks else f"not in {cache}"
    if offline:
        remedy = f"`{fetching}` where there is internet, copy DIR here, source its activate.sh."
        return Check(what, there, remedy)
    try:
        repository = hub.connect().look(need.name, need.kind, None)
    except HubError as error:
        return Check(what, there, str(error))
    sizes = [repository.files[n].size or 0 for n in wanted_files([*repository.files], need.kind)]
    return Check(what, f"{there}; comes from the hub when needed, {show_bytes(sum(sizes))}")


def _lacks(folder: Path, need: HubNeed) -> str:
    """Return what a cached repository lacks, nothing when it is whole."""
    names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
    for index in folder.glob("*.index.json"):
        try:
            shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (OSError, ValueError, KeyError, AttributeError):
            return f"{index.name} cannot be read"
        if missing := sorted(shards - set(names)):
            return f"{len(missing)} of {len(shards)} files of weights"
    if need.kind == "model" and not has_weights(names):
        return "the weights"
    if need.kind == "model" and "config.json" not in names:
        return "config.json"
    return ""


def _data_set(key: str, name: str, store: Store) -> Iterator[Check]:
    what = f"data {name} ({key})"
    if not set_in_store(name, store) and not Path(name).exists():
        remedy = "`ikusi import` it, or `ikusi store unpack` what was packed elsewhere."
        yield Check(what, f"not in the store at {store.root}", remedy)
        return
    try:
        dataset = open_dataset(name, store)
        unseen = sum(
            any(image.sha256 is None for image in record.images)
            for record in dataset.read(_LOOKED_AT)
        )
    except IkusiError as error:
        yield Check(what, "cannot be read", str(error))
        return
    if unseen:
        found = f"{unseen} of its first records have only the address of their picture"
        yield Check(f"images of {name}", found, "`ikusi images`, then `ikusi filter`.")
    else:
        yield Check(what, f"{dataset.count():,} records")


def _packages(needs: Needs) -> Iterator[Check]:
    for extra in ("", *needs.extras):
        wanted = [r for r in requirements(needs.extras) if r.extra == extra]
        lacking = [r.name for r in wanted if not r.installed]
        what = f"packages of ikusi[{extra}]" if extra else "packages"
        remedy = f"pip install 'ikusi[{extra}]'" if extra else "pip install ikusi"
        if lacking:
            yield Check(what, f"without {', '.join(lacking)}", remedy)
        else:
            yield Check(what, f"all {len(wanted)} are installed")


def _program(key: str, program: str) -> Check:
    found = shutil.which(program)
    remedy = f"Install it, or give its whole path in {key}."
    return Check(f"program {program} ({key})", found or "not found", "" if found else remedy)


def _server(key: str, url: str) -> Check:
    what = f"server {url} ({key})"
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("its address begins with http:// or https://")
        with urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=_SERVER_SECONDS):
            return Check(what, "answers")
    except urllib.error.HTTPError as error:
        return Check(what, f"answers ({error.code})")  # it is there; what it wants comes later
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        told = first_line(reason) if isinstance(reason, BaseException) else str(reason)
        return Check(what, f"does not answer ({told})", f"Start it, or change {key}.")


def _parameters(need: HubNeed, cache: Path) -> int | None:
    """Return how many parameters a cached model has, by the heads of its files."""
    folder = hub.cached(need.name, need.kind, cache)
    total = 0
    for path in sorted(folder.glob("*.safetensors")) if folder else ():
        try:
            with open(path, "rb") as stream:
                length = int.from_bytes(stream.read(8), "little")
                head: Mapping[str, Any] = json.loads(stream.read(min(length, 100 << 20)))
        except (OSError, ValueError):
            return None
        for name, tensor in head.items():
            if name != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total or None


def _memory(parameters: int) -> Check:
    free = _free_memory()
    gpus = _gpus()
    there = f"{show_bytes(free)} free" if free else "free memory is not known"
    there += f", GPUs: {'; '.join(gpus)}" if gpus else ", no GPU"
    if not parameters:
        return Check("memory", f"{there}; needed: little, or not known before the weights are here")
    needed = parameters * _TRAINING_BYTES
    told = f"{there}; training {parameters / 1e9:.2f}G parameters takes about {show_bytes(needed)}"
    if free and needed > free and not gpus:
        return Check("memory", told, "Use a machine with more, or a smaller model.llm.")
    return Check("memory", told)


def _free_memory() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, AttributeError):  # Windows
        return None


def _gpus() -> list[str]:
    """Return name and memory of each, as the driver tells; importing torch for it takes seconds."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def _disk(plan: Plan, store: Store, parameters: int) -> Check:
    place = next(p for p in (store.root, *store.root.parents) if p.exists())
    free = shutil.disk_usage(place).free
    todo = [s for a, s in plan.steps.items() if s.kind in _MODELS and store.find(a) is None]
    needed = len(todo) * parameters * 4
    told = f"{show_bytes(free)} free at {store.root}; {len(todo)} checkpoints to write"
    if not parameters:
        return Check("disk", told)
    told += f", about {show_bytes(needed)}"
    remedy = "Free space (`ikusi store gc`), or point --store elsewhere." if needed > free else ""
    return Check("disk", told, remedy)


def _time(plan: Plan, store: Store, workers: int | None, foreign: bool) -> Check:
    from ikusi.study.estimate import estimate
    from ikusi.study.run import default_workers

    if plan.recipe.sets_named:
        return Check("time", "not known before the data are there")
    expected = estimate(plan, store, workers or default_workers())
    left = len(expected.seconds)
    what = f"{len(plan.steps)} steps, {left} to do"
    if not left:
        return Check("time", what)
    if foreign and not expected.measured:
        return Check("time", f"{what}; not known: no such model has been trained here yet")
    return Check(
        "time", f"{what}, about {log.show_duration(expected.total_seconds)}, {expected.source}"
    )
