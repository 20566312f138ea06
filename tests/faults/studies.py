"""A tiny study in processes of its own, to be interrupted, and what came of it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

TINY = Path(__file__).parent.parent / "tiny.yaml"
TWO_CELLS = (
    "study.axes={model.llm: [world/pivot], instruct.mixture.multimodal.target_share: [0.2, 1.0]}",
    "evaluate.splits=[main, text]",
)
SECONDS = 600.0
"""How long anything here may take on a slow and busy machine."""


class Study:
    """Two cells of `tests/tiny.yaml` in `folder`, in a session of its own like a terminal's."""

    def __init__(self, folder: Path, file_bytes: int | None = None) -> None:
        """Start it; `file_bytes` limits the size of every file that it writes."""

        def limit() -> None:
            import resource

            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

        folder.mkdir(parents=True, exist_ok=True)
        self.store = folder / "store"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ikusi", "study", str(TINY), "--workers", "2", *TWO_CELLS],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=limit,
        )

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait for something that the study does."""
        deadline = time.monotonic() + SECONDS
        while not reached():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def wait_until_it_listens(self) -> None:
        """Wait until it handles signals: before that, Python itself is still starting."""
        status = Path(f"/proc/{self._process.pid}/status")

        def caught() -> int:
            return int(status.read_text().split("SigCgt:")[1].split()[0], 16)

        self.wait_until(lambda: bool(caught() >> (signal.SIGTERM - 1) & 1))

    def wait_for_artifacts(self, count: int) -> None:
        """Wait until so many artifacts are finished, and a worker is at the next one."""
        self.wait_until(lambda: len(payloads(self.store)) >= count and bool(self.at_work()))

    def at_work(self) -> list[int]:
        """Return the workers that hold a lease."""
        found = []
        for path in self.store.glob(".leases/*/[0-9]*"):
            try:
                content = path.read_text()
            except FileNotFoundError:
                continue
            if content.startswith("held "):
                found.append(int(json.loads(content[5:])["pid"]))
        return [pid for pid in found if pid in self.processes()]

    def runs(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    def processes(self) -> list[int]:
        """Return the living processes of the study."""
        return [pid for pid, session in _sessions() if session == self._process.pid]

    def press(self) -> None:
        """Interrupt all of its processes, as a terminal does with Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the study alone; its workers are left to see that for themselves."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Wait for the end and return the exit code, stdout and stderr; no process may be left."""
        out, err = self._process.communicate(timeout=SECONDS)
        deadline = time.monotonic() + 10
        while self.processes():
            assert time.monotonic() < deadline, "processes are left"
            time.sleep(0.01)
        return self._process.returncode, out, err


ENDS = {
    "Ctrl-C": (130, "ikusi: stopped."),
    "SIGTERM": (143, "ikusi: stopped."),  # as clusters do
    "kill a worker": (1, "was killed"),
    "kill -9": (-signal.SIGKILL, ""),
}
"""How to disturb a study -> its exit code, and what its last line says."""


def disturb(study: Study, how: str) -> None:
    """Stop a study and check how it ends: as it should, or properly if it was faster."""
    if how == "Ctrl-C":
        study.press()
    elif how == "kill a worker":
        os.kill(study.at_work()[0], signal.SIGKILL)
    else:
        study.send(signal.SIGTERM if how == "SIGTERM" else signal.SIGKILL)
    code, out, err = study.end()
    if code == 0 and out.splitlines()[-1].startswith("Report: "):
        return
    assert code == ENDS[how][0], f"{how}: exit code {code}; {out}{err}"
    if ENDS[how][1]:
        check_one_line(err, ENDS[how][1])


def check_one_line(err: str, part: str) -> None:
    """The last line says it, and no traceback comes before it."""
    assert "Traceback" not in err, err
    assert "unexpected" not in err, err
    assert part in err.splitlines()[-1], err


def flip(path: Path, chance: random.Random) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def payloads(store: Path) -> dict[str, str]:
    """Return address -> hash of the content of every finished artifact."""
    found = {}
    for path in store.glob("[a-z]*/*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found[manifest["address"]] = manifest["payload"]
    return found


def _sessions() -> list[tuple[int, int]]:
    """Return process and session of everything that runs; what has ended does not count."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            found.append((int(path.parent.name), int(fields[3])))
    return found
