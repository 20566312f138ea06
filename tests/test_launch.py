"""Jobs: what is submitted, that they wait for each other, and that they come back."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from ikusi.__main__ import run
from ikusi.core.errors import ConfigError
from ikusi.launch import (
    OFFLINE,
    Command,
    Job,
    LaunchError,
    SlurmSettings,
    launch,
    launch_verb,
    read_settings,
    study_jobs,
)
from ikusi.study.plan import plan_study
from ikusi.study.recipe import read_recipe

submitit = pytest.importorskip("submitit")

JOBS = [
    Job("data", ("store", "ls")),
    Job("model", ("study", "x y"), after=("data",), gpu=True),
]


def scripts(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.split("# -- ")[1:]


def test_a_dry_run_shows_scripts_and_needs_no_cluster(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_settings(["partition=gpu", "time_hours=2", "gpus=4", "setup=[module load x]"])
    launch(JOBS, settings, tmp_path / "logs", "slurm", dry_run=True)
    data, model = scripts(capsys)
    for script in (data, model):
        assert "#SBATCH --partition=gpu" in script
        assert "#SBATCH --time=120" in script
        assert "#SBATCH --requeue" in script
        assert "#SBATCH --signal=USR2@" in script
        assert "\nmodule load x\n" in script
        assert all(f"export {name}=1" in script for name in OFFLINE)
        shell = script.partition("\n")[2]
        assert subprocess.run(["bash", "-n"], input=shell, text=True, check=False).returncode == 0
    assert "gpus" not in data
    assert "dependency" not in data
    assert "#SBATCH --gpus-per-node=4" in model
    assert "afterok:<id of data>" in model
    assert "#SBATCH --kill-on-invalid-dep=yes" in model
    assert not (tmp_path / "logs").exists()


def test_online_nodes_are_not_cut_off(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    launch(JOBS, SlurmSettings(offline=False), tmp_path, "slurm", dry_run=True)
    assert "HF_HUB_OFFLINE" not in capsys.readouterr().out


def test_without_slurm_it_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LaunchError, match=r"Slurm took no job: .*srun") as caught:
        launch(JOBS, SlurmSettings(), tmp_path, "slurm", dry_run=False)
    assert "\n" not in str(caught.value)


def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two scripts: `sbatch` notes what it got and counts."""
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "srun").write_text("#!/bin/sh\n")
    (bin_ / "sbatch").write_text(
        f'#!/bin/sh\nn=$(ls {tmp_path}/got* 2>/dev/null | wc -l)\ncp "$1" {tmp_path}/got$n\n'
        'echo "Submitted batch job $((700 + n))"\n'
    )
    for path in bin_.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")


def test_jobs_wait_for_the_numbers_that_slurm_gave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster(tmp_path, monkeypatch)
    launch(JOBS, SlurmSettings(), tmp_path / "logs", "slurm", dry_run=False)
    assert "--dependency=afterok:700" in (tmp_path / "got1").read_text()
    command = submitit.core.utils.DelayedSubmission.load(
        next((tmp_path / "logs" / "701").glob("*submitted.pkl"))
    ).function
    assert command.arguments == ("study", "x y")
    assert command.environment == OFFLINE


@pytest.mark.parametrize(
    ("option", "part"),
    [
        ("partitoin=x", "Did you mean 'partition'"),
        ("mem=3", "'memory_gb'"),
        ("gpus=-1", "gpus"),
        ("gpu", "key=value"),
    ],
)
def test_wrong_settings(option: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings([option])
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_study_is_made_once_by_all_its_jobs() -> None:
    _, data = read_recipe("quickstart")
    plan = plan_study(data, "quickstart")
    jobs = study_jobs(plan, set(), ["study"], ["quickstart"])
    asked: dict[str, str] = {}
    for number, job in enumerate(jobs):
        assert set(job.after) <= {earlier.name for earlier in jobs[:number]}
        only = [
            a for flag, a in zip(job.arguments, job.arguments[1:], strict=False) if flag == "--only"
        ]
        for address in only:
            assert asked.setdefault(address, job.name) == job.name
            # What others make is there before this one begins.
            others = {asked[a] for a in plan.closure([address]) if a in asked} - {job.name}
            assert others <= set(job.after)
    assert plan.closure(asked) == set(plan.steps)
    assert len({job.name for job in jobs}) == len(jobs)
    assert [job.name for job in jobs if job.name.startswith("cell")] == [
        f"cell-{n}" for n in range(1, 7)
    ]
    assert jobs[-1] == Job(
        "report", ("study", "--", "quickstart"), tuple(job.name for job in jobs[:-1])
    )
    done = study_jobs(plan, set(plan.steps), ["study"], ["quickstart"])
    assert [job.name for job in done] == ["report"]


def test_the_command_line_shows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["run", "world", "target=cy", "--launch", "slurm", "--slurm", "gpus=2", "--dry-run"]
    assert run(arguments) == (0, "")
    names = [script.split(":")[0] for script in scripts(capsys)]
    assert names == ["data", "cell-1", "report"]
    assert not list(tmp_path.iterdir())
    code, line = run(["run", "world", "--only", "text/nothing-0123456789abcdef"])
    assert code == 1
    assert "is no step of world" in line


def test_a_verb_becomes_its_own_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()

    @app.callback()
    def start() -> None:
        pass

    @app.command("translate")
    def translate(
        context: typer.Context,
        names: list[str],
        to: Annotated[str, typer.Option("--to")] = "eu",
        limit: Annotated[int | None, typer.Option("--limit")] = None,
        embed: Annotated[bool, typer.Option("--embed/--no-embed")] = True,
        yes: Annotated[bool, typer.Option("--yes")] = False,
        keep: Annotated[list[str] | None, typer.Option("--keep")] = None,
        out: Annotated[Path, typer.Option("--runs")] = Path("runs"),
        launch: Annotated[str | None, typer.Option("--launch")] = None,
        slurm: Annotated[list[str] | None, typer.Option("--slurm")] = None,
        dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    ) -> None:
        launch_verb(context, "slurm", slurm, out, dry_run=dry_run)

    given = "translate --to gl --limit 3 --no-embed --yes --keep a --keep b --launch slurm"
    done = CliRunner().invoke(app, [*given.split(), "--dry-run", "--", "-x", "data/y"])
    assert done.exception is None
    assert done.output.splitlines()[0] == (
        "# -- translate: ikusi translate --to gl --limit 3 --no-embed --yes --keep a --keep b "
        "-- -x data/y"
    )


@pytest.fixture
def talks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from ikusi.core.records import write_records
    from ikusi.core.types import ImageRef, Record, user

    monkeypatch.chdir(tmp_path)
    talk = Record(
        "a", "a", (user("Zer?"),), "en", "chat", "s", images=(ImageRef(url="http://a/b"),)
    )
    write_records(tmp_path / "talks.parquet", [talk])
    (tmp_path / "names.tsv").write_text("source\ttarget\nZer?\tZer?\n")
    return tmp_path


MEMORY = ("talks.parquet", "backend.path=names.tsv", "--to", "eu", "--backend", "memory")


@pytest.mark.parametrize(
    "given",
    [
        ("import", "talks.parquet", "--format", "llava", "--language", "eu"),
        ("images", "talks.parquet", "network.per_host=2"),
        ("filter", "talks.parquet", "length.max_tokens=200", "--name", "short"),
        ("translate", *MEMORY),
    ],
)
def test_verbs_about_data_are_jobs(
    talks: Path, given: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(talks.iterdir())
    assert run([*given, "--launch", "slurm", "--slurm", "cpus=3", "--dry-run"]) == (0, "")
    (script,) = scripts(capsys)
    first, _, shell = script.partition("\n")
    name, _, command = first.partition(": ikusi ")
    assert name == given[0]
    assert sorted(command.replace(" -- ", " ").split()) == sorted(given)
    assert "#SBATCH --cpus-per-task=3" in shell
    assert "gpus" not in shell
    assert sorted(talks.iterdir()) == before


def test_a_translation_over_an_array(talks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = ("--launch", "slurm", "--slurm", "array=8", "--dry-run")
    assert run(["translate", *MEMORY, *jobs]) == (0, "")
    parts, whole = scripts(capsys)
    assert parts.startswith("translate-parts: ikusi translate --part 1/8 --to eu")
    assert "(and 7 like it)" in parts.splitlines()[0]
    assert "#SBATCH --array=0-7%8" in parts
    assert "afterok:<id of translate-parts>" in whole
    assert "--array" not in whole
    assert run(["filter", "talks.parquet", *jobs])[1].endswith("`ikusi translate` is.")
    assert "array=8" in run(["study", "quickstart", *jobs])[1]
    assert "array=8" in run(["translate", *MEMORY, "--part", "1/2", *jobs])[1]


def test_a_model_gets_a_gpu_and_a_server_that_runs_does_not(
    talks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = ("--launch", "slurm", "--dry-run")
    seq2seq = ("backend.model=some/model", "--to", "eu", "--backend", "seq2seq")
    assert run(["translate", "talks.parquet", *seq2seq, *jobs]) == (0, "")
    assert "#SBATCH --gpus-per-node=1" in scripts(capsys)[0]
    server = ("backend.model=m", "backend.url=http://a/v1", "--to", "eu", "--backend", "endpoint")
    assert run(["translate", "talks.parquet", *server, *jobs]) == (0, "")
    assert "gpus" not in scripts(capsys)[0]


def test_what_cannot_be_translated_is_not_submitted(talks: Path) -> None:
    code, line = run(["translate", "nothing", *MEMORY[1:], "--launch", "slurm", "--dry-run"])
    assert code == 1
    assert "'nothing'" in line


def test_an_array_is_one_job_of_many_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster(tmp_path, monkeypatch)
    parts = Job("parts", ("translate", "x"), parts=3)
    whole = Job("whole", ("translate", "x"), after=("parts",))
    launch([parts, whole], SlurmSettings(), tmp_path / "logs", "slurm", dry_run=False)
    assert "#SBATCH --array=0-2%3" in (tmp_path / "got0").read_text()
    assert "--dependency=afterok:700" in (tmp_path / "got1").read_text()
    loaded = [
        submitit.core.utils.DelayedSubmission.load(path).function.arguments
        for path in sorted((tmp_path / "logs").glob("700_*/*submitted.pkl"))
    ]
    assert loaded == [("translate", "--part", f"{n}/3", "x") for n in (1, 2, 3)]


# -- for real, on this machine


@pytest.mark.slow
def test_local_jobs_run_in_order_and_a_failure_stops_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "nothing")
    jobs = [
        Job("first", ("--version",)),
        Job("second", ("store", "ls", "--store", missing), after=("first",)),
        Job("third", ("--version",), after=("second",)),
    ]
    with pytest.raises(LaunchError, match=r"The job second failed: .*exit code 1"):
        launch(jobs, SlurmSettings(), tmp_path / "logs", "local", dry_run=False)
    told = capsys.readouterr().out
    assert "first" in told
    assert "third" not in told
    logs = "".join(p.read_text() for p in (tmp_path / "logs").rglob("*_log.err"))
    assert "there is no store here" in logs


@pytest.mark.slow
def test_data_by_a_local_job(talks: Path) -> None:
    assert run(["translate", *MEMORY, "--launch", "local"]) == (0, "")
    name = "runs/data/talks-eu"
    assert run(["filter", name, "--name", "kept", "--launch", "local"]) == (0, "")
    assert (talks / "runs/data/kept/manifest.json").is_file()
    logs = "".join(p.read_text() for p in (talks / "runs/launch").rglob("*_log.out"))
    assert "1 of 1 records translated" in logs
    with pytest.raises(LaunchError, match="The job images failed") as caught:
        launch(
            [Job("images", ("images", "nothing"))], SlurmSettings(), talks, "local", dry_run=False
        )
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs /proc")
def test_a_job_that_has_to_go_ends_its_process_and_comes_back(tmp_path: Path) -> None:
    package = tmp_path / "ikusi"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(
        "import os, pathlib, signal, sys, time\n"
        f"here = pathlib.Path({str(tmp_path)!r})\n"
        "if (here / 'started').exists():\n"
        "    (here / 'again').touch(); sys.exit(0)\n"
        "def stop(*_):\n"
        "    (here / 'stopped').touch(); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "os.kill(os.getpid(), signal.SIGUSR2)  # as Slurm signals everybody: it must not matter\n"
        "(here / 'started').touch()\n"
        "time.sleep(60)\n"
    )
    executor = submitit.LocalExecutor(tmp_path / "logs" / "%j")
    executor.update_parameters(timeout_min=5)
    job = executor.submit(Command((), {"PYTHONPATH": str(tmp_path)}))
    deadline = time.monotonic() + 60
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    (task,) = Path(f"/proc/{job.job_id}/task/{job.job_id}/children").read_text().split()
    os.kill(int(task), signal.SIGUSR2)  # submitit's own way reaches the controller alone
    assert job.result() == 0
    assert (tmp_path / "stopped").exists()
    assert (tmp_path / "again").exists()


def test_a_command_that_fails_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="exit code 2"):
        Command(("no-such-verb",), {})()
