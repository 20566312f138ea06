"""The backends that translate, with what translating must know of each: its units and its ladder.

Place: settings -> [voices] -> hop. Contract: an artifact's address depends on what can change an
answer (`identity`), and not on where a server stands or how often it is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ikusi.backends.cache import Cache
from ikusi.backends.registry import open_backend
from ikusi.backends.run import Asker
from ikusi.backends.settings import EndpointSettings, MemorySettings, Seq2SeqSettings
from ikusi.core.artifact import hash_data, hash_file, hash_folder
from ikusi.core.config import to_plain
from ikusi.core.errors import ConfigError
from ikusi.data.translate.protect import Style

AnyBackend = EndpointSettings | Seq2SeqSettings | MemorySettings
Units = Literal["conversation", "sentence", "text"]

_NO_MATTER = (
    *("url", "launch", "launch_env", "launch_timeout", "restarts", "api_key_env", "headers"),
    *("concurrency", "timeout", "retry", "prices", "device", "batch_size"),
)
"""Settings of backends that cannot change an answer."""


@dataclass(frozen=True)
class Voice:
    """A backend that is ready to be asked."""

    name: str
    """For people."""
    revision: str
    asker: Asker
    units: Units
    """What it is given at once."""
    samples: bool = False
    """It answers differently at another temperature."""
    images: bool = False
    is_memory: bool = False
    """What it says was written down by somebody."""

    @property
    def chat(self) -> bool:
        """It follows a prompt."""
        return self.units == "conversation"

    @property
    def style(self) -> Style:
        """How placeholders are written for it."""
        return "brackets" if self.chat else "words"

    @property
    def provenance(self) -> str:
        """Name and revision."""
        return f"{self.name} ({self.revision})"


def identity(settings: AnyBackend) -> dict[str, Any]:
    """Return what of a backend's settings its answers depend on, files by their content.

    Raises:
        ConfigError: a file is not there.
    """
    plain = {key: value for key, value in to_plain(settings).items() if key not in _NO_MATTER}
    if isinstance(settings, MemorySettings):
        try:
            return {"kind": settings.kind, "content": hash_file(settings.path)}
        except OSError as error:
            raise ConfigError(
                f"{settings.path}: cannot be read ({error.strerror}). Correct `backend.path`."
            ) from None
    for key in ("model", "tokenizer"):
        name = plain.get(key)
        if isinstance(settings, Seq2SeqSettings) and name and Path(name).is_dir():
            plain[key] = hash_folder(Path(name))
    return plain


def choose_units(settings: AnyBackend, wanted: str) -> Units:
    """Return what a backend is given at once.

    Raises:
        ConfigError: it cannot be given that.
    """
    kind: Units = "sentence"
    if isinstance(settings, EndpointSettings):
        kind = "conversation"
    elif isinstance(settings, MemorySettings):
        kind = "text"
    if wanted == "auto":
        return kind
    if (wanted == "conversation") != (kind == "conversation"):
        raise ConfigError(
            f"units: a backend of kind {settings.kind} is not given {wanted}s. Use `auto`."
        )
    return wanted  # type: ignore[return-value]  # the settings allow these alone


@asynccontextmanager
async def open_voice(settings: AnyBackend, units: Units, answers: Path) -> AsyncIterator[Voice]:
    """Open a backend and the cache of what it said.

    Args:
        settings: of the backend.
        units: what it is given at once.
        answers: folder of the store in which answers are frozen, one folder for each revision.

    Raises:
        BackendError: it cannot be used.
    """
    backend = await open_backend(settings)
    try:
        cache = Cache(answers / hash_data(backend.revision)[:16])
        try:
            async with Asker(
                backend,
                concurrency=settings.concurrency,
                cache=cache,
                retry=settings.retry,
                prices=settings.prices,
            ) as asker:
                yield Voice(
                    backend.name,
                    backend.revision,
                    asker,
                    units,
                    samples=isinstance(settings, EndpointSettings),
                    images=backend.capabilities.images,
                    is_memory=isinstance(settings, MemorySettings),
                )
        finally:
            cache.close()
    finally:
        await backend.close()
