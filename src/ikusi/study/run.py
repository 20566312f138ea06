"""Run a plan: every step once, cells side by side, resumable.

Place: plan, store -> [run] -> artifacts. Steps whose inputs are there are handed to worker
processes of one thread each; what the store already holds is not done again.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from logging.handlers import QueueHandler
from typing import Any

from ikusi.core import interrupt, log
from ikusi.core.artifact import Artifact, Spec
from ikusi.core.errors import IkusiError, StoreError, TrainError
from ikusi.core.store import Store
from ikusi.study.plan import Plan

logger = logging.getLogger(__name__)


def default_workers() -> int:
    """Return how many steps run side by side: one per core, at most four (memory)."""
    return max(1, min(4, os.cpu_count() or 1))


def run_plan(
    plan: Plan,
    store: Store,
    *,
    workers: int,
    expected: Mapping[str, float],
    on_done: Callable[[Spec, Artifact], None],
) -> None:
    """Build every step of `plan` that the store lacks.

    Args:
        plan: what to build.
        store: where.
        workers: processes; each computes with one thread, so results do not depend on how many.
        expected: address -> seconds that a step will take about, for the time left.
        on_done: called for each finished step, those that were there first.

    Raises:
        IkusiError: a step failed; the others that were running are finished first.
    """
    done = set(plan.given)
    results = {address for cell in plan.cells for address in (cell.results, cell.before)}
    for address, spec in plan.steps.items():
        artifact = store.find(address)
        if artifact is None:
            continue
        if address in results:  # read by no step that would check it
            try:
                store.open(address)
            except StoreError:
                continue
        done.add(address)
        on_done(spec, artifact)
    todo = {address: spec for address, spec in plan.steps.items() if address not in done}
    if not todo:
        return
    rebuilt: set[str] = set()  # inputs that turned out to be unusable: once each
    retried: set[str] = set()  # the steps that met them
    order = plan.queue_order()
    left = {address: expected.get(address, 1.0) for address in todo}
    whole, shown = sum(left.values()) or 1.0, 0
    running: dict[Future[str], str] = {}
    try:
        with (
            log.track(f"{plan.recipe.name}, all steps, %", total=100) as advance,
            _pool(min(workers, len(todo))) as pool,
        ):
            failure: BaseException | None = None
            while todo or running:
                if failure is None:
                    ready = [a for a, s in todo.items() if set(s.inputs.values()) <= done]
                    ready.sort(key=lambda address: order[address])
                    for address in ready[: max(0, workers - len(running))]:
                        spec = todo.pop(address)
                        with interrupt.hidden_from_children():  # this may start a process
                            future = pool.submit(_build, str(store.root), spec)
                        running[future] = address
                if not running:
                    break
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    address = running[future]
                    try:
                        future.result()
                    except IkusiError as error:
                        del running[future]
                        spec = plan.steps[address]
                        unusable = _unusable(spec, store)
                        # Others that read the same input may have sent it back already.
                        at_fault = unusable or rebuilt & set(spec.inputs.values())
                        if not at_fault or address in retried:
                            failure = failure or error
                            continue
                        retried.add(address)
                        again = unusable - rebuilt
                        rebuilt |= again
                        done -= again
                        todo |= {a: plan.steps[a] for a in (*again, address)}
                        continue
                    del running[future]
                    done.add(address)
                    left.pop(address, None)
                    percent = round(100 * (1 - sum(left.values()) / whole))
                    advance(percent - shown)
                    shown = percent
                    on_done(plan.steps[address], store.open(address))
            if failure is not None:
                raise failure
    except BrokenProcessPool:
        steps = " or ".join(sorted(running.values())) or "the next step"
        raise TrainError(
            f"the process that built {steps} was killed; often the machine has too little memory. "
            "Run it again with --workers 1; it goes on from here."
        ) from None


def _unusable(spec: Spec, store: Store) -> set[str]:
    """Return the addresses of the inputs that are damaged, or gone, since they were found."""
    found = set()
    for address in spec.inputs.values():
        try:
            store.open(address)
        except StoreError as error:
            logger.debug("%s", error)
            found.add(address)
    return found


def _build(root: str, spec: Spec) -> str:
    """Build one step in a worker process; return its address."""
    from ikusi.study.steps import run_step

    _prepare_libraries()
    store = Store(root)
    inputs = {role: store.open(address) for role, address in spec.inputs.items()}
    try:
        return store.build(spec, lambda out: run_step(spec, inputs, out)).address
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # it would look as if the process had been killed
            told = "".join(traceback.format_exception(error))
            raise RuntimeError(f"{type(error).__name__}: {error}\n{told}") from None
        raise


@contextmanager
def _pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    messages: Any = context.Queue()
    stop = threading.Event()

    def forward() -> None:
        while not stop.is_set():
            try:
                message = messages.get(timeout=0.2)
            except queue.Empty:
                continue
            except (EOFError, OSError):
                return
            if isinstance(message, logging.LogRecord):
                logging.getLogger(message.name).handle(message)
            else:
                log.show(message)

    level = logging.getLogger("ikusi").getEffectiveLevel()
    thread = threading.Thread(target=forward, daemon=True)
    thread.start()
    pool = ProcessPoolExecutor(workers, context, _start_worker, (messages, level))
    try:
        yield pool
    except BaseException:
        # Taken first: shutting down forgets them.
        processes = list((getattr(pool, "_processes", None) or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        stop.set()
        thread.join(timeout=1)  # a worker killed amid a message leaves it waiting for the rest


def _start_worker(messages: Any, log_level: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    log.set_sink(messages.put)
    told = logging.getLogger("ikusi")
    told.addHandler(QueueHandler(messages))
    told.setLevel(log_level)
    told.propagate = False


def _end_with_parent() -> None:
    # A parent that is killed cannot end its workers, and they would wait for its next word forever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@cache
def _prepare_libraries() -> None:
    """Set the process up for computing: not when it starts, where an error has no way to us."""
    # One thread per process: more would spin against the other cells' on a small machine, and a
    # sum's order, so its last bits, would depend on their number.
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    # oneDNN keeps code for every shape of batch that it has met, 1024 of each by default: that came
    # to 0.5 GiB within a minute, and to 0.1 with these, at the same speed.
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "64")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    import torch

    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    from transformers.utils import logging as transformers_logging

    silence: Any = transformers_logging.disable_progress_bar  # it has no annotations
    silence()
