"""How much memory this process took at its worst, where the platform can tell.

Contract: `start` begins a new measurement where it can (Linux), so that a worker process which
builds one step after another tells them apart; elsewhere the peak is the process's own so far.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def start_peak() -> None:
    """Forget the peak so far, where the platform can."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="ascii")


def peak_mb() -> float | None:
    """Return the peak of the resident memory in MiB, None where the platform does not tell."""
    with contextlib.suppress(OSError, ValueError):
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10), 1)
