"""Unexpected exceptions: one line for the user, and everything else in a file.

Place: under the command line. Contract: a traceback is never shown, unless IKUSI_DEBUG is set.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType


def explain(error: BaseException) -> str:
    """Write `error` in full to a log file, and return the line for the user that names it."""
    told = "".join(traceback.format_exception(error))
    if os.environ.get("IKUSI_DEBUG"):
        sys.stderr.write(told)
    what, request = f"{type(error).__name__}: {_first_line(error)}", "unexpected; please report it"
    if isinstance(error, OSError) and error.strerror:  # of this machine rather than of ours
        what, request = f"{error.filename or 'output'}: {error.strerror}", "more about it"
    about = f"ikusi: {what}\n{datetime.now(UTC).isoformat(timespec='seconds')}\n{_about()}\n{told}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="ikusi-error-", suffix=".log", encoding="utf-8", delete=False
        ) as stream:
            stream.write(about)
    except OSError as refused:
        return f"{what} ({request}: IKUSI_DEBUG=1; no log could be written, {refused.strerror})"
    return f"{what} ({request}: {stream.name})"


def watch_threads() -> None:
    """Treat an exception that ends a thread, or that Python can only ignore, in the same way."""

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            _tell(args.exc_value)

    def ignored(args: sys.UnraisableHookArgs) -> None:
        # Where Python cannot raise, a Ctrl-C ends as an ignored exception.
        if args.exc_value is not None and not isinstance(args.exc_value, KeyboardInterrupt):
            _tell(args.exc_value)

    def uncaught(
        kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        _tell(error)

    threading.excepthook = in_thread
    sys.unraisablehook = ignored
    sys.excepthook = uncaught


def _tell(error: BaseException) -> None:
    sys.stderr.write(f"ikusi: {explain(error)}\n")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]


def _about() -> str:
    from ikusi import __version__

    command = " ".join(sys.argv)
    return (
        f"{command}\nikusi {__version__}, Python {platform.python_version()}, {platform.platform()}"
    )
