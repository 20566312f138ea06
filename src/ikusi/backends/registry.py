"""Backends by their settings."""

from __future__ import annotations

from ikusi.backends.base import Backend
from ikusi.backends.settings import EndpointSettings, MemorySettings, Seq2SeqSettings


async def open_backend(settings: EndpointSettings | Seq2SeqSettings | MemorySettings) -> Backend:
    """Return the backend, ready to answer: server launched and healthy, model loaded.

    Raises:
        BackendError: it cannot be used; says in one line why.
    """
    raise NotImplementedError
