"""The Hugging Face hub behind four functions, so that tests and machines without it can do without.

Place: under fetch, doctor and publish. Contract: whatever the hub or the network answers is an
error of one line that says what to do; what was brought or sent before it is kept, and the same
call goes on from there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from ikusi.core.errors import IkusiError, first_line

Kind = Literal["model", "dataset"]
SITE = "https://huggingface.co"


class HubError(IkusiError):
    """The hub cannot be reached, or refuses."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository."""

    size: int | None
    """Bytes; None where the hub does not say."""
    sha256: str | None = None
    """The hub knows it of large files only."""


@dataclass(frozen=True)
class Repository:
    """A repository of the hub at one revision."""

    name: str
    kind: Kind
    revision: str
    """The commit."""
    files: Mapping[str, HubFile] = field(default_factory=dict)
    """Path -> what the hub says of it."""

    @property
    def page(self) -> str:
        """Its address for people."""
        return page(self.name, self.kind)


class Hub(Protocol):
    """What ikusi asks of the hub."""

    def look(self, name: str, kind: Kind, revision: str | None) -> Repository:
        """Return what a repository holds at a revision, or now.

        Raises:
            HubError: there is none, it is gated, or the hub cannot be reached.
        """
        ...

    def download(self, repository: Repository, names: Sequence[str], cache: Path) -> Path:
        """Bring files into a cache in the hub's own layout and return their folder.

        Raises:
            HubError: it broke off; what is there is kept.
        """
        ...

    def upload(self, folder: Path, name: str, *, private: bool) -> str:
        """Make a data set's repository of a folder, or bring one up to date; return its address.

        Raises:
            HubError: it broke off, or there is no token that may.
        """
        ...


def page(name: str, kind: Kind) -> str:
    """Return the address of a repository for people."""
    return f"{SITE}/{'datasets/' if kind == 'dataset' else ''}{name}"


def connect() -> Hub:
    """Return the real hub, with the token of `hf auth login` or HF_TOKEN."""
    return _HuggingFace()


def cache_folder() -> Path:
    """Return where this machine keeps what came from the hub, without asking its library."""
    if found := os.environ.get("HF_HUB_CACHE"):
        return Path(found)
    home = os.environ.get("HF_HOME")
    if home:
        return Path(home) / "hub"
    caches = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return Path(caches).expanduser() / "huggingface" / "hub"


def cached(name: str, kind: Kind, cache: Path) -> Path | None:
    """Return the folder of the revision that an offline machine would use; None when absent."""
    root = cache / f"{kind}s--{name.replace('/', '--')}"
    try:
        revision = (root / "refs" / "main").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = root / "snapshots" / revision
    return folder if revision and folder.is_dir() and any(folder.iterdir()) else None


class _HuggingFace:
    """`huggingface_hub`, whose calls resume by themselves."""

    def look(self, name: str, kind: Kind, revision: str | None) -> Repository:
        from huggingface_hub import HfApi

        with _told(name, kind):
            info: Any = HfApi().repo_info(
                name, revision=revision, repo_type=kind, files_metadata=True
            )
        files = {
            file.rfilename: HubFile(file.size, file.lfs.sha256 if file.lfs else None)
            for file in info.siblings or ()
        }
        return Repository(name, kind, info.sha, files)

    def download(self, repository: Repository, names: Sequence[str], cache: Path) -> Path:
        from huggingface_hub import HfApi

        with _told(repository.name, repository.kind):
            folder: Any = HfApi().snapshot_download(
                repository.name,
                repo_type=repository.kind,
                revision=repository.revision,
                cache_dir=cache,
                allow_patterns=[_literal(name) for name in names],
            )
        return Path(folder)

    def upload(self, folder: Path, name: str, *, private: bool) -> str:
        from huggingface_hub import HfApi

        with _told(name, "dataset", writes=True):
            api = HfApi()
            api.create_repo(name, repo_type="dataset", private=private or None, exist_ok=True)
            api.upload_folder(
                repo_id=name,
                repo_type="dataset",
                folder_path=folder,
                ignore_patterns=[".cache/**"],
                # Rows of an earlier push must not stay among these.
                delete_patterns=["data/*.parquet"],
                commit_message="Data set made by ikusi",
            )
        return page(name, "dataset")


def _literal(name: str) -> str:
    """Return a pattern that only `name` matches."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@contextmanager
def _told(name: str, kind: Kind, *, writes: bool = False) -> Iterator[None]:
    from huggingface_hub import errors

    login = "`hf auth login`, or set HF_TOKEN"
    try:
        yield
    except errors.GatedRepoError:
        raise HubError(
            f"{name}: is gated. Accept its terms at {page(name, kind)}, then {login}."
        ) from None
    except errors.RepositoryNotFoundError:
        raise HubError(
            f"{name}: the hub has no such {kind}, or it is private. See {page(name, kind)}; "
            f"if it is yours, {login}."
        ) from None
    except errors.RevisionNotFoundError:
        raise HubError(f"{name}: has no such revision. See {page(name, kind)}.") from None
    except errors.OfflineModeIsEnabled:
        raise HubError(
            f"{name}: HF_HUB_OFFLINE is set. Unset it where there is a network."
        ) from None
    except errors.LocalTokenNotFoundError:
        raise HubError(f"{name}: no token. Run {login}.") from None
    except errors.HFValidationError as error:
        raise HubError(f"{name}: is no name of a repository ({first_line(error)}).") from None
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            right = "write to" if writes else "read"
            raise HubError(f"{name}: the token may not {right} it. Run {login}.") from None
        raise HubError(
            f"{name}: the hub answered {status}. Try again: it goes on from where it was."
        ) from None
    except OSError as error:  # of the network; a full disk has its own words
        from ikusi.core.files import explain

        told = explain(error, cache_folder(), "--to")
        raise HubError(
            told or f"{name}: the hub cannot be reached ({first_line(error)})."
        ) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in (
            "httpx",
            "httpx2",
            "httpcore",
            "hf_xet",
        ):
            raise
        raise HubError(f"{name}: the hub cannot be reached ({first_line(error)}).") from None
