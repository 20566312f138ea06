"""Log lines and progress: one console, plain lines without a terminal, a sink for workers."""

from __future__ import annotations

import io
import logging
import queue
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from ikusi.core import log
from ikusi.core.errors import ConfigError
from ikusi.core.log import Progress, Update, describe, set_sink, setup, show, track


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    logger = logging.getLogger("ikusi")
    before = list(logger.handlers), logger.level, logger.propagate
    log._console.cache_clear()
    log._progress.cache_clear()
    yield
    set_sink(None)
    logger.handlers[:], logger.level, logger.propagate = before
    log._console.cache_clear()
    log._progress.cache_clear()


def test_log_goes_to_stderr(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IKUSI_LOG", "Warning")
    setup()
    setup()
    logging.getLogger("ikusi.core.store").warning("[red]a path/like this")
    logging.getLogger("ikusi.core.store").info("not this")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("[red]a path/like this") == 1
    assert "not this" not in err


def test_unknown_level(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IKUSI_LOG", "degub")
    with pytest.raises(ConfigError, match="Did you mean 'debug'"):
        setup()


def test_progress_goes_to_the_sink() -> None:
    updates: list[Update] = []
    set_sink(updates.append)
    with track("encode", total=3) as advance:
        for _ in range(3):
            advance()
    first, *_, last = updates
    assert (first.done, first.total, first.ended) == (0, 3, False)
    assert (last.done, last.ended, last.label) == (3, True, "encode")
    assert len({u.key for u in updates}) == 1


def test_a_fast_loop_does_not_fill_the_queue() -> None:
    waiting: queue.Queue[Update] = queue.Queue()
    set_sink(waiting.put)
    with track("count") as advance:
        for _ in range(10000):
            advance()
    assert waiting.qsize() < 100


def test_an_error_ends_the_task() -> None:
    updates: list[Update] = []
    set_sink(updates.append)
    with pytest.raises(KeyboardInterrupt), track("encode"):
        raise KeyboardInterrupt
    assert updates[-1].ended


def test_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=False)
    quiet = Progress(console)
    for done in range(100):
        quiet.show(Update("k", "encode", done, 100))
    assert stream.getvalue() == ""
    eager = Progress(console, line_seconds=0)
    eager.show(Update("k", "[b]encode", 50, 100))
    eager.show(Update("k", "[b]encode", 100, 100, ended=True))
    assert stream.getvalue().startswith("[b]encode: 50 of 100 (50%)")
    assert len(stream.getvalue().splitlines()) == 2


def test_bars_on_a_terminal() -> None:
    stream = io.StringIO()
    shown = Progress(Console(file=stream, force_terminal=True, width=100))
    shown.show(Update("a", "encode", 0, 10))
    shown.show(Update("b", "translate", 1, None))
    shown.show(Update("a", "encode", 10, 10, ended=True))
    shown.show(Update("b", "translate", 2, None, ended=True))
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    assert "encode" in text
    assert "10/10" in text
    assert shown._bars is None  # the cursor is given back


def test_updates_of_workers_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    show(Update("worker-1", "encode", 1, 2))
    show(Update("worker-1", "encode", 2, 2, ended=True))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("update", "seconds", "line"),
    [
        (Update("", "a", 1200, 5000), 15.0, "a: 1200 of 5000 (24%), 80/s, 0:48 left"),
        (Update("", "a", 0, 10), 0.0, "a: 0 of 10 (0%)"),
        (Update("", "a", 7, None), 2.0, "a: 7, 3.5/s"),
        (Update("", "a", 10, 10, ended=True), 4000.0, "a: 10 of 10 (100%), 0.0025/s, took 1:06:40"),
    ],
)
def test_line(update: Update, seconds: float, line: str) -> None:
    assert describe(update, seconds) == line
