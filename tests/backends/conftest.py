"""What the tests of backends share."""

from __future__ import annotations

import os

import pytest


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: what only a power cut can lose is not tested here."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no key of whoever runs the tests get into them."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
