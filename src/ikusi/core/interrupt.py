"""Stopping when the user or the system says so: Ctrl-C, and SIGTERM as clusters send it.

Place: the command line calls `listen` first of all. Contract: the first signal raises
KeyboardInterrupt in the main thread, and whoever has worker processes ends them on its way out;
the second one ends them and this process on the spot. No worker outlives either.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Coroutine, Iterator
from types import FrameType
from typing import Any, NoReturn, TypeVar

T = TypeVar("T")

_STOPPED = "ikusi: stopped. What was finished is kept; the same command goes on from there."
_received: list[int] = []


def listen() -> None:
    """Handle Ctrl-C and SIGTERM from now on; a signal that is ignored (`nohup`, `&`) stays so."""
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def received() -> bool:
    """Return whether a signal to stop came."""
    return bool(_received)


def ignore() -> None:
    """Take no notice of signals any more."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def leave() -> NoReturn:
    """Say that we were stopped and end at once, with 130 after Ctrl-C; no process is left over."""
    ignore()
    _end_children()
    show_cursor = b"\x1b[?25h" if sys.stderr is not None and sys.stderr.isatty() else b""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # it may be closed
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        os.write(2, show_cursor + _STOPPED.encode() + b"\n")
    os._exit(128 + _received[0])


def run_async(main: Coroutine[Any, Any, T]) -> T:
    """Return what `main` returns; a signal cancels it, so that it ends as it wants to.

    An exception raised by the handler itself would break into whatever task is running just then,
    also into one of a library's, which would report it.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    import asyncio

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def stop(number: int) -> None:
            _received.append(number)
            if len(_received) > 1:
                leave()
            assert task is not None
            task.cancel()

        handled = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is _stop]
        for number in handled:
            loop.add_signal_handler(number, stop, number)
        try:
            return await main
        finally:
            for number in handled:
                loop.remove_signal_handler(number)
                signal.signal(number, _stop)

    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        return asyncio.run(main)
    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        if received():
            raise KeyboardInterrupt from None
        raise


def _stop(number: int, frame: FrameType | None) -> None:
    _received.append(number)
    if len(_received) == 1:
        raise KeyboardInterrupt
    leave()


def _end_children() -> None:
    if "multiprocessing" not in sys.modules:
        return
    import multiprocessing
    from multiprocessing import util

    for child in multiprocessing.active_children():
        child.kill()
    # Without these, the semaphores of queues are reported as leaked after our last line.
    util._run_finalizers(0)  # type: ignore[attr-defined]  # the public way also waits for threads


@contextlib.contextmanager
def hidden_from_children() -> Iterator[None]:
    """Start processes in the body that a Ctrl-C on the terminal does not reach.

    The terminal sends it to every process of the group; a worker that is still importing would
    answer with a traceback. Whoever starts them ends them (`terminate`).
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
