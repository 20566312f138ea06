"""Fixtures: an empty working folder, and packs as plain data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder, without packs from the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IKUSI_LANGUAGES", raising=False)
    return tmp_path


@pytest.fixture
def partial() -> dict[str, Any]:
    """The smallest pack that there is."""
    return {"code": "qu", "names": {"own": "Runasimi"}, "tasks": {"what": ["Kayqa imataq?"]}}
