"""Settings of the images step: what is taken, and how servers are treated."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from ikusi.core.config import Settings
from ikusi.data.images import MAX_PIXELS

AGENT = "ikusi"
"""Our name in `User-Agent`, and the one that an `X-Robots-Tag` may be scoped to."""

_Seconds = Annotated[float, Field(gt=0)]


class NetworkSettings(Settings):
    """How servers are asked; decides how long it takes, not which picture is which."""

    connections: int = Field(64, ge=1)
    """Requests at a time, and pictures in memory."""
    per_host: int = Field(4, ge=1)
    """Requests at a time to one host."""
    tries: int = Field(3, ge=1)
    """Requests for a picture, where a fault may pass: no answer, 429, 5xx."""
    backoff_seconds: _Seconds = 1.0
    """Pause before the second try, in seconds; it doubles with each one."""
    wait_seconds: _Seconds = 120.0
    """Longest pause in seconds. A host that asks for more (`Retry-After`) is left alone."""
    connect_seconds: _Seconds = 10.0
    """Longest wait for a connection, in seconds."""
    read_seconds: _Seconds = 20.0
    """Longest silence of a server, in seconds."""
    total_seconds: _Seconds = 120.0
    """Longest time for a request with its answer, in seconds."""
    check_online: bool = True
    """Stop when nobody at all answers, instead of calling all pictures dead."""
    contact: str = Field("", max_length=200)
    """Told to servers in `User-Agent`: an address or a page of whoever downloads."""

    @field_validator("contact")
    @classmethod
    def _check_contact(cls, contact: str) -> str:
        if not contact.isascii() or not contact.isprintable():
            raise ValueError("must be plain ASCII on one line")
        return contact


class ImageSettings(Settings):
    """What is taken for a picture that can be used, and how it is asked for."""

    max_bytes: int = Field(20 << 20, ge=1)
    """Largest file, in bytes; of more, nothing is kept."""
    max_pixels: int = Field(MAX_PIXELS, ge=1, le=MAX_PIXELS)
    """Most pixels (width x height); of more, nothing is decoded."""
    honour_noai: bool = True
    """Leave out what its server marks as `X-Robots-Tag: noai` or `noimageai`."""
    allow_private: bool = False
    """Also contact this machine and private networks. For tests, and for a server of one's own:
    the URLs of a published set can then reach what only this machine should."""
    network: NetworkSettings = NetworkSettings()
    """How servers are treated."""
