"""`ikusi`, and `python -m ikusi`: run the command line and turn whatever ends it into one line.

Exit codes: 0 done; 1 an error, told on one line; 2 the command was not understood; 130 Ctrl-C.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit."""
    from ikusi.core import crash, interrupt

    interrupt.listen()  # before anything slow is imported
    crash.watch_threads()
    try:
        code, line = run()
    except KeyboardInterrupt:
        interrupt.leave()
    if interrupt.received():  # whatever it led to on the way here
        interrupt.leave()
    interrupt.ignore()  # the work is done, and Python is about to end
    if line:
        print(line, file=sys.stderr)
    sys.exit(code)


def run(arguments: list[str] | None = None) -> tuple[int, str]:
    """Run one command and return the exit code, and the line to print if it went wrong.

    Args:
        arguments: after `ikusi`; None takes the process's own.
    """
    from ikusi.core import crash, log
    from ikusi.core.errors import IkusiError

    try:
        from ikusi.cli import app

        try:
            return int(app(arguments, prog_name="ikusi", standalone_mode=False) or 0), ""
        finally:
            log.close()
    except IkusiError as error:
        return 1, f"ikusi: {error}"
    except SystemExit as end:
        return (end.code, "") if isinstance(end.code, int) else (int(bool(end.code)), "")
    except Exception as error:
        return _usage(error) or (1, f"ikusi: {crash.explain(error)}")


def _usage(error: Exception) -> tuple[int, str] | None:
    """Return what to tell of an error of the command line's own library, which typer hides."""
    if type(error).__name__ == "Abort":
        return 1, "ikusi: there was no answer to the question, so nothing was done."
    if not hasattr(error, "format_message") or not hasattr(error, "exit_code"):
        return None
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "ikusi"
    return error.exit_code, f"ikusi: {error.format_message().rstrip('.')}. See: {command} --help"


if __name__ == "__main__":
    main()
