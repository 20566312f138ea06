"""What a recipe needs from outside: weights, data sets, packages, programs, servers.

Place: recipe -> [needs] -> fetch, doctor. Contract: read from the resolved recipe; asks nobody. A
name is the hub's when it is `org/name`, and no part of the embedded world, artifact or path here.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ikusi.core.artifact import is_address
from ikusi.core.errors import ConfigError, StoreError
from ikusi.core.hub import Kind
from ikusi.core.store import Store
from ikusi.data.sources.registry import find_source

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_WEIGHTS = (".safetensors", ".bin")
_OTHER_WEIGHTS = (".h5", ".msgpack", ".onnx", ".gguf", ".pt", ".pth", ".ckpt", ".tflite", ".ot")
_OTHER_FOLDERS = ("original/", "onnx/", "openvino/", "coreml/", "metal/")


@dataclass(frozen=True)
class HubNeed:
    """A repository of the hub."""

    name: str
    kind: Kind
    key: str
    """Where the recipe says so."""


@dataclass(frozen=True)
class Needs:
    """All that a recipe needs from outside."""

    repositories: tuple[HubNeed, ...] = ()
    sets: tuple[tuple[str, str], ...] = ()
    """Other data sets, by the names that the recipe gives them: key, name."""
    extras: tuple[str, ...] = ()
    """Of ikusi's own optional dependencies."""
    programs: tuple[tuple[str, str], ...] = ()
    """Key and name of programs that the recipe launches."""
    servers: tuple[tuple[str, str], ...] = ()
    """Key and address of servers that must be there already."""


def needs_of(recipe: Mapping[str, Any]) -> Needs:
    """Return what a resolved recipe, as plain data, needs."""
    repositories: dict[tuple[str, str], HubNeed] = {}
    sets: dict[str, str] = {}
    extras: dict[str, None] = {}
    programs: dict[str, str] = {}
    servers: dict[str, str] = {}

    def need(name: Any, kind: Kind, key: str) -> None:
        if isinstance(name, str) and is_hub_name(name):
            repositories.setdefault((kind, name), HubNeed(name, kind, key))

    model = recipe.get("model") or {}
    axes = (recipe.get("study") or {}).get("axes") or {}
    for part in ("vision", "llm"):
        for name in (model.get(part), *axes.get(f"model.{part}", ())):
            need(name, "model", f"model.{part}")
    for key, block in _mappings(recipe, ""):
        launch = block.get("launch")
        if block.get("kind") == "seq2seq" or launch:
            need(block.get("model"), "model", f"{key}.model")
        if block.get("kind") == "seq2seq":
            extras["translate"] = None
        if isinstance(launch, str) and (program := _program(launch)):
            programs.setdefault(program, f"{key}.launch")
        elif block.get("kind") == "endpoint" and isinstance(url := block.get("url"), str):
            servers.setdefault(url, f"{key}.url")
    for key, name in _set_names(recipe):
        hub = _hub_of(name, recipe)
        if hub:
            need(hub, "dataset", key)
        elif hub is None:
            sets.setdefault(name, key)
    if sets or any(need.kind == "dataset" for need in repositories.values()):
        extras["data"] = None
    hub_names = {need.name for need in repositories.values()}
    return Needs(
        tuple(repositories.values()),
        tuple((key, name) for name, key in sets.items() if name not in hub_names),
        tuple(extras),
        tuple((key, name) for name, key in programs.items()),
        tuple((key, url) for url, key in servers.items()),
    )


def is_hub_name(name: str) -> bool:
    """Return whether a name is that of a repository of the hub."""
    return bool(
        _HUB_NAME.fullmatch(name)
        and not name.startswith("world/")
        and not is_address(name)
        and not Path(name).expanduser().exists()
    )


def _set_names(recipe: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of every set that the recipe names."""
    for stage in ("align", "instruct"):
        for name in (recipe.get(stage) or {}).get("data") or ():
            yield f"{stage}.data", str(name)
    for name in recipe.get("benchmarks") or ():
        yield "benchmarks", str(name)


def _hub_of(name: str, recipe: Mapping[str, Any]) -> str | None:
    """Return the id of a set on the hub, nothing where it is on this machine or made from another.

    None: it is not known where it would come from.
    """
    given = (recipe.get("sets") or {}).get(name) or {}
    if given.get("files"):
        return ""
    try:
        return find_source(given.get("source") or name)[0].hub or None
    except ConfigError:
        base, _, language = name.partition("@")
        is_made = language == recipe.get("target") and _hub_of(base, recipe) is not None
        return "" if language and is_made else None


def _mappings(data: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(data, Mapping):
        yield key, data
        for name, value in data.items():
            yield from _mappings(value, f"{key}.{name}".lstrip("."))
    elif isinstance(data, list | tuple):
        for place, value in enumerate(data):
            yield from _mappings(value, f"{key}.{place}")


def _program(command: str) -> str:
    """Return the program that a command line starts, its environment left out."""
    try:
        words = shlex.split(command)
    except ValueError:
        words = command.split()
    while words and (words[0] == "env" or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0])):
        words.pop(0)
    return words[0] if words else ""


def wanted_files(names: Sequence[str], kind: Kind) -> list[str]:
    """Return the files of a repository that are of use here, sorted.

    Of a model's weights the safetensors where there are any, else PyTorch's own; nothing of other
    frameworks, and no second copy of the same weights.
    """
    if kind == "dataset":
        return sorted(names)
    safe = any(name.endswith(".safetensors") and "/" not in name for name in names)
    kept = []
    for name in sorted(names):
        other = name.endswith(_OTHER_WEIGHTS) or name.startswith(_OTHER_FOLDERS)
        twice = safe and name.endswith((".bin", ".bin.index.json"))
        if not other and not twice:
            kept.append(name)
    return kept


def has_weights(names: Sequence[str]) -> bool:
    """Return whether some files are weights."""
    return any(name.endswith(_WEIGHTS) for name in names)


@dataclass(frozen=True)
class Requirement:
    """A package that ikusi needs."""

    text: str
    """As pip takes it."""
    name: str
    extra: str
    """Empty where it is always needed."""

    @property
    def installed(self) -> bool:
        """Whether it is there, in whatever version."""
        try:
            metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return False
        return True


def requirements(extras: Sequence[str]) -> list[Requirement]:
    """Return what pip must bring for ikusi and some extras; empty where it is not installed."""
    from packaging.requirements import Requirement as Parsed

    found = []
    try:
        texts = metadata.requires("ikusi") or []
    except metadata.PackageNotFoundError:
        return []
    for text in texts:
        parsed = Parsed(text)
        more = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
        for extra in ("", *extras):
            if parsed.marker is None or parsed.marker.evaluate({"extra": extra}):
                found.append(
                    Requirement(f"{parsed.name}{more}{parsed.specifier}", parsed.name, extra)
                )
                break
    return found


def set_in_store(name: str, store: Store) -> bool:
    """Return whether a data set's name is that of an artifact or link."""
    try:
        store.locate(name)
    except StoreError:
        return False
    return True
