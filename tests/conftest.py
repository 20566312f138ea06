"""Settings of every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported: threads that spin against those of other tests are slower than one.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

settings.register_profile("ikusi", deadline=None)  # a busy machine is no bug
settings.load_profile("ikusi")


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `store` and `runs`, in which the study of `studies.py` was run undisturbed.

    Slow: mark what uses it so, and with `xdist_group("tiny study")`, so that it is run once.
    """
    from tests.faults.studies import Study

    folder = tmp_path_factory.mktemp("tiny")
    code, out, err = Study(folder).end()
    assert code == 0, out + err
    return folder
