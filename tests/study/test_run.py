"""The runner: what a worker's failure comes to."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from ikusi.core.artifact import Spec
from ikusi.core.errors import DataError
from ikusi.study import run


class Unpicklable(Exception):
    """Like those of some libraries: made of more than its message."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (Unpicklable("no such row", 3), RuntimeError),
        (ValueError("plain"), ValueError),
        (DataError("the user's"), DataError),
    ],
)
def test_whatever_a_step_raises_reaches_the_parent(
    error: Exception, seen: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("ikusi.study.steps.run_step", fail)
    monkeypatch.setattr(run, "_prepare_libraries", lambda: None)
    with pytest.raises(seen) as caught:
        run._build(str(tmp_path / "store"), Spec("import", "x", 1))
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(error) in str(again).splitlines()[0]
