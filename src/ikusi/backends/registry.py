"""Backends by their settings."""

from __future__ import annotations

from ikusi.backends.base import Backend
from ikusi.backends.settings import EndpointSettings, MemorySettings, Seq2SeqSettings


async def open_backend(settings: EndpointSettings | Seq2SeqSettings | MemorySettings) -> Backend:
    """Return the backend, ready to answer: server launched and healthy, model loaded.

    Raises:
        BackendError: it cannot be used; says in one line why.
    """
    if isinstance(settings, EndpointSettings):
        from ikusi.backends.endpoint import Endpoint

        return await Endpoint.open(settings)
    if isinstance(settings, Seq2SeqSettings):
        from ikusi.backends.seq2seq import Seq2Seq

        return await Seq2Seq.open(settings)
    from ikusi.backends.memory import Memory

    return Memory.open(settings)
