"""Run a verb as jobs of a cluster instead of here: `--launch slurm`.

Place: command line -> [launch] -> submitit -> the same command line on a node. Contract: a job runs
the verb as anybody would type it, on the same store; what waits for another job is not started when
that one failed; a job whose time is over, or that has to make room, goes back into the queue and
goes on. `--launch local` runs the same jobs here, one after another, to try them out.

    ikusi study miniature --launch slurm --slurm partition=gpu --dry-run
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from ikusi.core.config import Settings, parse_override
from ikusi.core.errors import ConfigError, IkusiError, first_line

if TYPE_CHECKING:
    import typer
    from submitit import Executor
    from submitit.core.utils import DelayedSubmission

    from ikusi.study.plan import Plan

Where = Literal["slurm", "local"]
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
"""Environment of jobs on nodes without internet: nothing waits for an answer that cannot come."""
_OWN_OPTIONS = ("launch", "slurm", "dry_run")
_STOP_SECONDS = 60.0  # to end by itself when the job has to go
_TRAINS = frozenset({"encoder", "text", "align", "instruct", "evaluate"})


class LaunchError(IkusiError):
    """Jobs cannot be submitted, or one failed."""


class SlurmSettings(Settings):
    """What is asked of the cluster, for each job."""

    foreign_keys: ClassVar[Mapping[str, str]] = {
        "time": "time_hours",
        "mem": "memory_gb",
        "cpus_per_task": "cpus",
        "gpus_per_node": "gpus",
        "gres": "gpus",
    }

    partition: str | None = None
    """Partition (queue)."""
    account: str | None = None
    """Account that is charged."""
    qos: str | None = None
    """Quality of service."""
    constraint: str | None = None
    """Features that a node must have."""
    time_hours: float = Field(default=24.0, gt=0)
    """Longest time of a job in hours; one that needs more is requeued and goes on."""
    cpus: int = Field(default=8, gt=0)
    """Cores."""
    memory_gb: float = Field(default=32.0, gt=0)
    """Memory in GB."""
    gpus: int = Field(default=1, ge=0)
    """GPUs of jobs that train or evaluate; the others get none."""
    offline: bool = True
    """Nodes have no internet: what is not in the caches is absent."""
    requeues: int = Field(default=10, ge=0)
    """How often a job whose time is over goes back into the queue."""
    array: int = Field(default=1, ge=1, le=100_000)
    """Jobs that `translate` divides its records among, before one that puts them together."""
    setup: tuple[str, ...] = ()
    """Lines of shell before the command, such as `module load cuda`."""


@dataclass(frozen=True)
class Job:
    """A command line of ikusi, and what it waits for."""

    name: str
    arguments: tuple[str, ...]
    """After `ikusi`."""
    after: tuple[str, ...] = ()
    """Names of the jobs that must have succeeded."""
    gpu: bool = False
    parts: int = 1
    """Above 1 it is an array: as many jobs, each of which gets `--part NUMBER/PARTS`."""

    def commands(self) -> list[tuple[str, ...]]:
        """Return the command line of each job."""
        if self.parts == 1:
            return [self.arguments]
        verb, *rest = self.arguments
        return [(verb, "--part", f"{n}/{self.parts}", *rest) for n in range(1, self.parts + 1)]


class Command:
    """What runs on the node: a process of the command line, which outlives no job.

    submitit pickles it, and calls `checkpoint` when the job has to go: the same command goes back
    into the queue, and finds in the store what is done.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        """Keep what to run."""
        self.arguments = tuple(arguments)
        self.environment = dict(environment)

    def __call__(self) -> int:
        """Run it to its end.

        Raises:
            RuntimeError: it failed; its own line is in the log.
        """
        process = subprocess.Popen(
            [sys.executable, "-m", "ikusi", *self.arguments],
            env={**os.environ, **self.environment},
            preexec_fn=_ignore_requeue,
        )
        try:
            code = process.wait()
        finally:
            _stop(process)
        if code:
            raise RuntimeError(f"ikusi {' '.join(self.arguments)}: exit code {code}")
        return code

    def checkpoint(self) -> DelayedSubmission:
        """Return what is to run when the job is back."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _ignore_requeue() -> None:
    """Slurm signals every process of a job: this one is for submitit alone."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        process.kill()
        process.wait()


def read_settings(options: Sequence[str]) -> SlurmSettings:
    """Return the settings that `--slurm key=value` give.

    Raises:
        ConfigError: one is not known, or wrong.
    """
    return SlurmSettings.parse(dict(parse_override(option) for option in options), "--slurm")


def launch(
    jobs: Sequence[Job], settings: SlurmSettings, folder: Path, where: Where, *, dry_run: bool
) -> None:
    """Submit jobs, or print the scripts that would be, and say where their logs are.

    Args:
        jobs: each after those that it waits for.
        settings: what is asked of the cluster.
        folder: for scripts and logs; the nodes must see it.
        where: a cluster, or this machine.
        dry_run: print the scripts, submit nothing.

    Raises:
        LaunchError: submitit or Slurm is not here, or a local job failed.
    """
    try:
        import submitit
    except ImportError:
        raise LaunchError(
            "--launch needs the package `submitit`. Install it: pip install 'ikusi[slurm]'"
        ) from None
    environment = OFFLINE if settings.offline else {}
    if where == "local" and not dry_run:
        _run_here(jobs, settings, folder, environment)
        return

    class Slurm(submitit.SlurmExecutor):  # type: ignore[misc, unused-ignore]  # typed or not
        @classmethod
        def affinity(cls) -> int:
            """A dry run needs no cluster."""
            return 2 if dry_run else int(super().affinity())

    ids: dict[str, str] = {}
    try:
        for job in jobs:
            executor = Slurm(folder=folder / "%j", max_num_timeout=settings.requeues)
            executor.update_parameters(**_parameters(job, settings, ids))
            commands = job.commands()
            if dry_run:
                if job.parts > 1:
                    executor.parameters["map_count"] = job.parts
                script = executor._make_submission_file_text(executor._submitit_command_str, "-")
                more = f" (and {job.parts - 1} like it)" if job.parts > 1 else ""
                print(f"# -- {job.name}: ikusi {' '.join(commands[0])}{more}\n{script}")
                ids[job.name] = f"<id of {job.name}>"
            else:
                together = executor.batch() if job.parts > 1 else contextlib.nullcontext()
                with together:  # one array
                    submitted = [executor.submit(Command(c, environment)) for c in commands]
                ids[job.name] = submitted[0].job_id.partition("_")[0]
                print(f"{ids[job.name]}: {job.name}")
    except (RuntimeError, OSError, submitit.core.utils.FailedJobError) as error:
        done = f" Submitted before: {', '.join(ids.values())}." if ids and not dry_run else ""
        raise LaunchError(f"Slurm took no job: {first_line(error)}.{done}") from None
    if not dry_run:
        print(f"Logs: {folder}/<job>/; `squeue --me` shows where they stand.")


def _parameters(job: Job, settings: SlurmSettings, ids: Mapping[str, str]) -> dict[str, Any]:
    """Return a job's parameters by submitit's names."""
    asked: dict[str, Any] = {
        "job_name": f"ikusi-{job.name}",
        "time": max(1, round(settings.time_hours * 60)),
        "mem": f"{settings.memory_gb:g}GB",
        "cpus_per_task": settings.cpus,
        "setup": [
            *settings.setup,
            *(f"export {k}={v}" for k, v in (OFFLINE if settings.offline else {}).items()),
        ],
        "additional_parameters": {"requeue": True},
    }
    for name in ("partition", "account", "qos", "constraint"):
        if (value := getattr(settings, name)) is not None:
            asked[name] = value
    if job.gpu and settings.gpus:
        asked["gpus_per_node"] = settings.gpus
    if job.after:
        asked["dependency"] = "afterok:" + ":".join(ids[name] for name in job.after)
        asked["additional_parameters"]["kill-on-invalid-dep"] = "yes"  # else it waits for ever
    return asked


def _run_here(
    jobs: Sequence[Job], settings: SlurmSettings, folder: Path, environment: Mapping[str, str]
) -> None:
    import submitit

    executor: Executor = submitit.LocalExecutor(folder / "%j", max_num_timeout=settings.requeues)
    executor.update_parameters(timeout_min=max(1, round(settings.time_hours * 60)))
    for job, command in [(one, command) for one in jobs for command in one.commands()]:
        submitted = executor.submit(Command(command, environment))
        print(f"{submitted.job_id}: {job.name}, log: {submitted.paths.stderr}", flush=True)
        try:
            submitted.result()
        except Exception as error:  # whatever became of the job: its own words are in the log
            told = [line for line in str(error).splitlines() if "Error: " in line]
            reason = told[-1].partition("Error: ")[2] if told else type(error).__name__
            raise LaunchError(
                f"The job {job.name} failed: {reason}. Log: {submitted.paths.stderr}"
            ) from None


# -- from verbs to jobs


def launch_verb(
    context: typer.Context,
    where: Where,
    options: Sequence[str] | None,
    runs: Path,
    *,
    dry_run: bool,
    gpu: bool = False,
    has_parts: bool = False,
) -> None:
    """Submit the verb that is being run as one job, or as an array and one that follows it.

    Args:
        context: of the verb, whose own command line the job runs.
        where: the value of `--launch`.
        options: those of `--slurm`.
        runs: the verb's `--runs`, below which the logs go.
        dry_run: print the script.
        gpu: whether it computes with models.
        has_parts: whether it takes `--part NUMBER/PARTS`.

    Raises:
        LaunchError: see `launch`.
        ConfigError: an option of the jobs is wrong.
    """
    name = context.info_name or "job"
    settings = read_settings(options or [])
    if not has_parts:
        _refuse_array(settings, name)
    job = Job(name, tuple(own_command(context)), gpu=gpu)
    jobs = [job]
    if settings.array > 1:
        parts = replace(job, name=f"{name}-parts", parts=settings.array)
        jobs = [parts, replace(job, after=(parts.name,))]
    launch(jobs, settings, runs / "launch" / name, where, dry_run=dry_run)


def _refuse_array(settings: SlurmSettings, what: str) -> None:
    if settings.array > 1:
        raise ConfigError(
            f"--slurm: array={settings.array}: `{what}` is not divided into parts; "
            "`ikusi translate` is."
        )


def own_command(context: typer.Context) -> list[str]:
    """Return the command line of the verb that is being run, `--launch` and its kind left out."""
    verbs: list[str] = []
    at: Any = context
    while at.parent is not None:
        verbs.insert(0, at.info_name)
        at = at.parent
    options: list[str] = []
    arguments: list[str] = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if parameter.name in _OWN_OPTIONS or value is None or value == parameter.default:
            continue
        values = list(value) if isinstance(value, list | tuple) else [value]
        if parameter.param_type_name == "argument":
            arguments += map(str, values)
        elif isinstance(value, bool):
            off = getattr(parameter, "secondary_opts", [])
            options += [parameter.opts[0]] if value else off[:1]
        else:
            options += [text for item in values for text in (parameter.opts[0], str(item))]
    # After `--`, nothing that begins with a hyphen is taken for an option.
    return [*verbs, *options, *(["--", *arguments] if arguments else [])]


def launch_study(
    verb: str,
    recipe: str,
    overrides: Sequence[str],
    store: Path,
    runs: Path,
    workers: int | None,
    where: Where,
    options: Sequence[str] | None,
    *,
    dry_run: bool,
) -> None:
    """Submit a study: its data, then what models share, then each model, then the report.

    Raises:
        LaunchError: see `launch`.
        ConfigError: the recipe or an option is wrong.
    """
    from ikusi.core.store import Store
    from ikusi.study.commands import plan_of

    settings = read_settings(options or [])
    _refuse_array(settings, verb)
    plan = plan_of(verb, recipe, overrides)
    base = [verb, "--store", str(store), "--runs", str(runs)]
    base += ["--workers", str(workers)] if workers else []
    opened = Store(store)
    there = {address for address in plan.steps if opened.find(address) is not None}
    jobs = study_jobs(plan, there, base, [recipe, *overrides])
    launch(jobs, settings, runs / "launch" / plan.recipe.name, where, dry_run=dry_run)


def study_jobs(
    plan: Plan, there: set[str], base: Sequence[str], arguments: Sequence[str]
) -> list[Job]:
    """Return the jobs of a plan: its data, what several cells share, each cell, the report.

    Args:
        plan: the whole plan.
        there: addresses that need not be made.
        base: verb and options.
        arguments: recipe and overrides.
    """
    jobs: list[Job] = []

    def add(name: str, addresses: Sequence[str], after: Sequence[str], *, gpu: bool) -> None:
        only = [text for address in addresses for text in ("--only", address)]
        line = (*base, *only, "--", *arguments)
        jobs.append(Job(name, line, tuple(dict.fromkeys(after)), gpu))

    todo = {address: spec for address, spec in plan.steps.items() if address not in there}
    data = [address for address, spec in todo.items() if spec.kind not in _TRAINS]
    if data:
        add("data", data, [], gpu=False)
    users = Counter(address for cell in plan.cells for address in plan.needs(cell))
    job_of = dict.fromkeys(data, "data")
    for address, spec in todo.items():  # inputs first
        if spec.kind in _TRAINS and users[address] > 1:
            after = [job_of[a] for a in plan.closure([address]) if a in job_of]
            job_of[address] = f"{spec.kind}-{spec.name}"
            add(job_of[address], [address], after, gpu=True)
    for number, cell in enumerate(plan.cells, 1):
        wanted = [a for a in (cell.results, cell.before) if a in todo and a not in job_of]
        if wanted:
            after = [job_of[a] for a in plan.closure(wanted) if a in job_of]
            add(f"cell-{number}", wanted, after, gpu=True)
    add("report", [], [job.name for job in jobs], gpu=False)
    return jobs
