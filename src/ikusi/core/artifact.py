"""What the store holds: a `Spec` says what is wanted, an `Artifact` is it, made.

Contract: the address is a hash of kind, step version, configuration and the inputs' hashes, so it
is known before anything is computed; never of a path, a rank, a time or a readable name. The
payload's own hash is in the manifest, and the manifest can be checked against the address.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ikusi.core.errors import ConfigError, CorruptArtifact, StoreError, first_line

MANIFEST = "manifest.json"
CONFIG = "config.yaml"
STATS = "stats.json"
WORK = ".work"
"""Folder inside a partial artifact for unfinished work: kept when a build dies, never payload."""

NOT_PAYLOAD = frozenset({MANIFEST, CONFIG, STATS})
_HASH_CHARACTERS = 16
_KIND = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._+@=,-]{0,78}[A-Za-z0-9_+@=-])?")
_ADDRESS = re.compile(r"([a-z][a-z0-9_]*)/(.+)-([0-9a-f]{16})")
_SURROGATE = re.compile("[\ud800-\udfff]")
# What file managers and NFS put beside our files by themselves.
_LITTER = re.compile(r"\.DS_Store|Thumbs\.db|desktop\.ini|\._.*|\.nfs[0-9a-f]+")


def plain(data: Any, where: str = "config") -> Any:
    """Return `data` as JSON data of its own: tuples as lists, numbers and strings of base type.

    Args:
        data: mappings with string keys, lists, tuples, strings, finite numbers, booleans, None.
        where: what `data` is, for the message.

    Raises:
        ConfigError: something in it has no stable JSON form; names the key.
    """
    return _plain(data, where)


_At = str | tuple["_At", str | int]
"""Where something is: a name, or a place and a key in it; put into words only to complain."""


def _told(at: _At) -> str:
    if isinstance(at, str):
        return at
    key = f"[{at[1]}]" if isinstance(at[1], int) else f".{at[1]}"
    return _told(at[0]) + key


def _plain(data: Any, at: _At) -> Any:
    if data is None or isinstance(data, bool):
        return data
    if isinstance(data, str):
        text = str.__str__(data)
        if not text.isascii() and _SURROGATE.search(text):
            raise ConfigError(f"{_told(at)}: {text!r} is not valid Unicode (a lone surrogate).")
        return text
    if isinstance(data, int):
        return int(data)
    if isinstance(data, float):
        if not math.isfinite(data):
            raise ConfigError(f"{_told(at)}: {float(data)} has no place here. Use a finite number.")
        return float(data)
    if isinstance(data, list | tuple):
        return [_plain(value, (at, number)) for number, value in enumerate(data)]
    if isinstance(data, Mapping):
        for key in data:
            if not isinstance(key, str):
                raise ConfigError(f"{_told(at)}: the key {key!r} is no string. Write it as one.")
        return {_plain(k, at): _plain(v, (at, k)) for k, v in data.items()}
    kind = type(data).__name__
    raise ConfigError(f"{_told(at)}: a {kind} is no plain data. Give text or a number.")


def hash_data(data: Any) -> str:
    """Return the sha256 of plain `data` in canonical JSON, as 64 hexadecimal characters.

    The order of keys does not matter, and a tuple is a list; 1, 1.0 and true are three values.

    Raises:
        ConfigError: `data` has no stable JSON form.
    """
    text = json.dumps(plain(data, "data"), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def hash_file(path: Path) -> str:
    """Return the sha256 of a file's content, as 64 hexadecimal characters."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hash_folder(folder: Path) -> str:
    """Return the sha256 of a folder's content: the names and the contents of all its files."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return hash_data({path.relative_to(folder).as_posix(): hash_file(path) for path in files})


def split_address(address: str) -> tuple[str, str, str]:
    """Return the kind, the readable name and the hash of an address.

    Raises:
        StoreError: it is none.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise StoreError(
            f"{address!r} is no address; one looks like import/world-0123456789abcdef."
        )
    return match[1], match[2], match[3]


def is_address(text: str) -> bool:
    """Return whether a text has the form of an address."""
    return _ADDRESS.fullmatch(text) is not None


@dataclass(frozen=True)
class Spec:
    """What an artifact is to be made from; all that its address depends on, and a name."""

    kind: str
    """The step that makes it, such as `import` or `train`."""
    name: str
    """For people: part of the address, but not of its hash."""
    version: int
    """Version of the step: raised when the same configuration gives another result."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Resolved settings as plain data; only those that can change the result."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """Role -> address of the artifacts that it is made from."""
    folders: Mapping[str, str] = field(default_factory=dict)
    """Role -> path of a folder from outside the store. The configuration has the hash of what is in
    it; where it lies is no part of the address."""

    def __post_init__(self) -> None:
        """Check the names, and keep copies that the caller cannot change.

        Raises:
            ConfigError: a name cannot be part of a path, or the configuration is no plain data.
            StoreError: an input is no address.
        """
        if not _KIND.fullmatch(self.kind):
            raise ConfigError(f"kind {self.kind!r}: use lower-case letters, digits and '_'.")
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"name {self.name!r}: use at most 80 letters, digits and . _ + @ = , -"
                " and begin with a letter or digit."
            )
        for address in self.inputs.values():
            split_address(address)
        object.__setattr__(self, "config", plain(self.config, f"{self.kind} config"))
        object.__setattr__(self, "inputs", plain(self.inputs, f"{self.kind} inputs"))
        object.__setattr__(self, "folders", plain(self.folders, f"{self.kind} folders"))

    @cached_property
    def hash(self) -> str:
        """The 16 hexadecimal characters that end the address."""
        inputs = {role: split_address(address)[2] for role, address in self.inputs.items()}
        parts = {
            "kind": self.kind,
            "version": self.version,
            "config": self.config,
            "inputs": inputs,
        }
        return hash_data(parts)[:_HASH_CHARACTERS]

    @property
    def address(self) -> str:
        """`<kind>/<name>-<hash16>`."""
        return f"{self.kind}/{self.name}-{self.hash}"


@dataclass(frozen=True)
class FileEntry:
    """One file of a payload."""

    size: int
    """Bytes."""
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What `manifest.json` says; it is written last, so without it there is no artifact."""

    address: str
    kind: str
    name: str
    version: int
    config: Mapping[str, Any]
    inputs: Mapping[str, str]
    payload: str
    """Hash of the payload: relative file names and contents, in sorted order."""
    files: Mapping[str, FileEntry]
    """Relative name, with `/`, of every file of the payload."""
    notes: Mapping[str, str]
    """sha256 of `config.yaml` and `stats.json`, which are no payload: stats may hold times."""
    created: str
    """UTC, ISO 8601."""
    ikusi: str
    """Version of ikusi that made it."""
    seconds: float
    """How long the step took; of a resumed one, its last run."""

    @property
    def bytes(self) -> int:
        """Size of the payload."""
        return sum(entry.size for entry in self.files.values())

    def to_json(self) -> str:
        """Return the text of `manifest.json`."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read the manifest of the artifact in `folder`, and check it against itself.

        Raises:
            FileNotFoundError: there is none, so there is no artifact.
            CorruptArtifact: it is not what was written, or belongs to another address.
        """
        path = folder / MANIFEST
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            data["files"] = {name: FileEntry(**entry) for name, entry in data["files"].items()}
            manifest = cls(**data)
            spec = Spec(
                manifest.kind, manifest.name, manifest.version, manifest.config, manifest.inputs
            )
            sound = (
                spec.address == manifest.address
                and split_address(f"{spec.kind}/{folder.name}")[2] == spec.hash
                and payload_hash(manifest.files) == manifest.payload
            )
        except OSError:
            raise
        except Exception as error:
            raise CorruptArtifact(f"{path}: cannot be read ({first_line(error)}).") from None
        if not sound:
            raise CorruptArtifact(f"{path}: does not belong to this address, or was changed.")
        return manifest


@dataclass(frozen=True)
class Artifact:
    """A finished artifact: a folder whose payload will not change any more."""

    address: str
    path: Path
    manifest: Manifest = field(repr=False)

    @property
    def kind(self) -> str:
        """The step that made it."""
        return self.manifest.kind

    @property
    def store_root(self) -> Path:
        """The folder of the store that it is in."""
        return self.path.parent.parent

    @property
    def hash(self) -> str:
        """The 16 hexadecimal characters that end the address."""
        return split_address(self.address)[2]

    @cached_property
    def stats(self) -> dict[str, Any]:
        """What the step told about itself."""
        found: dict[str, Any] = json.loads((self.path / STATS).read_text(encoding="utf-8"))
        return found

    @classmethod
    def read(cls, folder: Path) -> Artifact:
        """Return the artifact in `folder`; its payload is not looked at, what stands beside it is.

        Raises:
            FileNotFoundError: there is none.
            CorruptArtifact: the manifest, the configuration or the stats cannot be trusted.
        """
        manifest = Manifest.read(folder)
        try:
            _compare(folder, manifest.notes)
        except CorruptArtifact:
            if not (folder / MANIFEST).is_file():  # cleared up this very moment
                raise FileNotFoundError(folder / MANIFEST) from None
            raise
        # The folder's name counts: the same thing may have been wanted under another name.
        return cls(f"{manifest.kind}/{folder.name}", folder, manifest)

    def verify(self) -> None:
        """Read the whole payload and compare it with the manifest.

        Raises:
            CorruptArtifact: names the first file that is missing, extra or different.
        """
        wanted = self.manifest.files
        found = set(payload_files(self.path))
        for name in sorted(found ^ set(wanted)):
            problem = "should not be there" if name in found else "is missing"
            raise CorruptArtifact(f"{self.path / name}: {problem}.")
        for name, entry in wanted.items():
            path = self.path / name
            size = path.stat().st_size
            if size != entry.size:
                raise CorruptArtifact(f"{path}: has {size} bytes instead of {entry.size}.")
        _compare(self.path, {name: entry.sha256 for name, entry in wanted.items()})
        _compare(self.path, self.manifest.notes)

    def fingerprint(self) -> tuple[tuple[str, int, int], ...]:
        """Return names, sizes and modification times; while they stay, so does the content."""
        entries = []
        for name in (*payload_files(self.path), *self.manifest.notes):
            status = (self.path / name).stat()
            entries.append((name, status.st_size, status.st_mtime_ns))
        return tuple(entries)


def payload_files(folder: Path) -> Iterator[str]:
    """Yield the relative names of a payload's files and links, sorted."""
    names = []
    for parent, folders, files in os.walk(folder):
        base = Path(parent)
        if base == folder and WORK in folders:
            folders.remove(WORK)
        linked = [name for name in folders if (base / name).is_symlink()]
        names += [(base / name).relative_to(folder).as_posix() for name in (*files, *linked)]
    for name in sorted(names):
        if name not in NOT_PAYLOAD and not _LITTER.fullmatch(name.rpartition("/")[2]):
            yield name


def scan_payload(folder: Path) -> dict[str, FileEntry]:
    """Return name -> size and sha256 of a payload's files, sorted by name.

    Raises:
        StoreError: it holds a link; a payload must be whole in itself.
    """
    entries = {}
    for name in payload_files(folder):
        path = folder / name
        if path.is_symlink():
            raise StoreError(f"{path}: is a link. Let the step copy the file there instead.")
        entries[name] = FileEntry(path.stat().st_size, hash_file(path))
    return entries


def payload_hash(files: Mapping[str, FileEntry]) -> str:
    """Return the hash of a payload: its relative file names and contents."""
    return hash_data([[name, files[name].sha256] for name in sorted(files)])


def _compare(folder: Path, hashes: Mapping[str, str]) -> None:
    """Compare files with their sha256.

    Raises:
        CorruptArtifact: names the first that is missing or different.
    """
    for name, sha256 in hashes.items():
        path = folder / name
        if not path.is_file():
            raise CorruptArtifact(f"{path}: is missing.")
        if hash_file(path) != sha256:
            raise CorruptArtifact(f"{path}: its content is not what was written.")
