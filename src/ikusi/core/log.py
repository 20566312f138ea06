"""What the command line shows while it works: log lines and progress, both on stderr.

Contract: libraries only call `logging` and `track`; nothing is shown until `setup` is called or
a sink is set, except progress, which shows itself. Worker processes hand their progress to a
sink, and the parent shows it:

    set_sink(queue.put)        # in the worker
    show(queue.get())          # in the parent, for each

    IKUSI_LOG=debug ikusi run quickstart
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ikusi.core.errors import ConfigError, suggest

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_SECONDS = 10.0
"""Without a terminal, progress is one line in so many seconds at most."""
_UPDATE_SECONDS = 0.1  # nobody sees more, and a queue between processes should not fill

_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Update:
    """Where one task stands."""

    key: str
    """Unique to the task, also among processes."""
    label: str
    done: float
    total: float | None
    """None when it is not known how much there is."""
    ended: bool = False
    note: str = ""
    """What else is to be said at the moment, such as `1.2k tokens/s`."""


Sink = Callable[[Update], None]


class _LineHandler(logging.Handler):
    """Writes a message on one line, however long: files and pipes have no width."""

    def emit(self, record: logging.LogRecord) -> None:
        _console().print(self.format(record), markup=False, highlight=False)


def setup(level: str | None = None) -> None:
    """Show the log of ikusi on stderr.

    Args:
        level: debug, info, warning or error. None takes it from IKUSI_LOG, else info.

    Raises:
        ConfigError: there is no such level.
    """
    from rich.logging import RichHandler

    wanted = (level or os.environ.get("IKUSI_LOG") or "info").lower()
    if wanted not in _LEVELS:
        raise ConfigError(f"IKUSI_LOG: no level {wanted!r}. {suggest(wanted, _LEVELS)}")
    logger = logging.getLogger("ikusi")
    for handler in list(logger.handlers):
        if isinstance(handler, RichHandler | _LineHandler):
            logger.removeHandler(handler)
    if _console().is_terminal:
        # A path in a message is not an emphasis: no markup, and no colours of rich's own choosing.
        shown: logging.Handler = RichHandler(
            console=_console(),
            show_path=False,
            markup=False,
            highlighter=None,
            log_time_format="%X",
        )
        shown.setFormatter(logging.Formatter("%(message)s"))
    else:
        shown = _LineHandler()
        shown.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%X"))
    logger.addHandler(shown)
    logger.setLevel(wanted.upper())
    logger.propagate = False


def set_sink(sink: Sink | None) -> None:
    """Send all progress of this process to `sink`; None shows it here again."""
    global _sink
    _sink = sink


@contextmanager
def track(label: str, total: float | None = None) -> Iterator[Callable[..., None]]:
    """Show how far a task is; the body calls what it gets with how much more is done.

        with track("encode", total=len(images)) as advance:
            for batch in batches:
                ...
                advance(len(batch))

    Args:
        label: what is done.
        total: how much there is to do, in any unit; None when unknown.

    The body may give a `note` beside the amount: a function that returns what else to show, called
    only when something is shown.
    """
    key = uuid.uuid4().hex
    done = 0.0
    last = -_UPDATE_SECONDS
    lock = threading.Lock()
    said = ""

    def advance(amount: float = 1, note: Callable[[], str] | None = None) -> None:
        nonlocal done, last, said
        with lock:
            done += amount
            now = time.monotonic()
            if now - last < _UPDATE_SECONDS:
                return
            last = now
            said = note() if note else ""
            update = Update(key, label, done, total, note=said)
        _send(update)

    _send(Update(key, label, 0, total))
    try:
        yield advance
    finally:
        _send(Update(key, label, done, total, ended=True, note=said))


def show(update: Update) -> None:
    """Show an update, of this process or of another one."""
    _progress().show(update)


def close() -> None:
    """Take the bars off the terminal; call it last, whatever ended the work."""
    if _progress.cache_info().currsize:
        _progress().close()


def _send(update: Update) -> None:
    (_sink or show)(update)


_sink: Sink | None = None


class Progress:
    """Shows tasks: as bars with the time left on a terminal, else as a line now and then."""

    def __init__(self, console: Console, line_seconds: float = LINE_SECONDS) -> None:
        """Show on `console`; without a terminal a line in `line_seconds` at most."""
        self._console = console
        self._line_seconds = line_seconds
        self._lock = threading.Lock()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._starts: dict[str, float] = {}
        self._latest: dict[str, Update] = {}
        self._last_line = time.monotonic()

    def show(self, update: Update) -> None:
        """Show where a task stands."""
        with self._lock:
            if self._console.is_terminal:
                self._show_bar(update)
            else:
                self._show_line(update)

    def close(self) -> None:
        """Stop showing tasks that never ended, and give the terminal its cursor back."""
        with self._lock:
            if self._bars is not None:
                self._bars.stop()
                self._bars = None
            self._tasks.clear()

    def _show_bar(self, update: Update) -> None:
        if self._bars is None:
            self._bars = _bars(self._console)
            self._bars.start()
        if update.key not in self._tasks:
            self._tasks[update.key] = self._bars.add_task(update.label, total=update.total)
        shown = f"{update.label} ({update.note})" if update.note else update.label
        self._bars.update(self._tasks[update.key], completed=update.done, description=shown)
        if update.ended:
            task = self._tasks.pop(update.key)
            if self._tasks:  # a study has more steps than a screen has lines
                self._bars.refresh()
                self._bars.remove_task(task)
            else:
                # The last bar stays on the screen with its last state.
                self._bars.stop_task(task)
                self._bars.stop()
                self._bars = None

    def _show_line(self, update: Update) -> None:
        now = time.monotonic()
        start = self._starts.setdefault(update.key, now)
        self._latest[update.key] = update
        whole = self._latest[next(iter(self._starts))]  # the oldest encloses the others
        if now - self._last_line >= self._line_seconds:
            self._last_line = now
            line = describe(update, now - start)
            if whole.key != update.key:
                line += f"; {describe(whole, now - self._starts[whole.key])}"
            self._console.print(line, markup=False, highlight=False)
        if update.ended:
            del self._starts[update.key], self._latest[update.key]


def describe(update: Update, seconds: float) -> str:
    """Return a line such as `encode: 1200 of 5000 (24%), 80/s, 0:48 left`.

    Args:
        update: where the task stands.
        seconds: how long it has run.
    """
    rate = update.done / seconds if seconds > 0 else 0.0
    line = f"{update.label}: {update.done:.6g}"
    if update.total:
        line += f" of {update.total:.6g} ({update.done / update.total:.0%})"
    if rate:
        line += f", {rate:.3g}/s"
    if update.note:
        line += f", {update.note}"
    if update.ended:
        line += f", took {_clock(seconds)}"
    elif update.total and rate:
        line += f", {_clock(max(update.total - update.done, 0) / rate)} left"
    return line


def show_duration(seconds: float) -> str:
    """Return a time span for people, such as `4.2 s`, `3 min 20 s` or `1 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def _bars(console: Console) -> Bars:
    from rich import progress
    from rich.text import Text

    class Speed(progress.ProgressColumn):
        def render(self, task: progress.Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:.3g}/s")

    columns: list[Any] = [
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        Speed(),
    ]
    # Rich would print the standard output through the console, which is for errors, also when it
    # goes to a file.
    return progress.Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty())


@cache
def _console() -> Console:
    from rich.console import Console

    # One console for both: log lines then appear above the bars and do not break them.
    on_terminal = sys.stderr is not None and sys.stderr.isatty()
    return Console(stderr=True, soft_wrap=not on_terminal)


@cache
def _progress() -> Progress:
    return Progress(_console())
