"""The command line: what it says, and that whatever goes wrong is one line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ikusi.__main__ import run
from ikusi.core import crash

ROOT = Path(__file__).parent
TINY = str(ROOT / "tiny.yaml")


def test_help_version_and_first_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == (0, "")
    assert re.fullmatch(r"ikusi \d+\.\d+\S*\n", capsys.readouterr().out)
    assert run([]) == (0, "")
    assert capsys.readouterr().out.count("\n  ikusi ") == 3
    assert run(["--help"]) == (0, "")
    help_text = capsys.readouterr().out
    for verb in ("study", "run", "ask", "show", "report", "store", "languages"):
        assert re.search(rf"\b{verb}\b", help_text)


USAGE = [
    (["stdy"], "No such command 'stdy'"),
    (["study"], "Missing argument"),
    (["study", "quickstart", "--workers", "0"], "--workers"),
    (["show", "x", "--limit", "many"], "--limit"),
    (["store", "gx"], "ikusi store --help"),
]


@pytest.mark.parametrize(("arguments", "part"), USAGE, ids=[" ".join(a) for a, _ in USAGE])
def test_usage_errors_exit_with_2(arguments: list[str], part: str) -> None:
    code, line = run(arguments)
    assert code == 2
    assert part in line
    assert "\n" not in line


WRONG = [
    ("targt=eu", r"unknown key 'targt'. Did you mean 'target'\?"),
    ("encoder.hiden_size=3", r"unknown key 'encoder.hiden_size'. Did you mean 'hidden_size'\?"),
    ("model_name_or_path=x", "'model.llm'"),
    ("model.llm=world/adpted", "Did you mean 'adapted'"),
    ("target=xx", "ikusi languages new xx"),
    ("target=en", "target and pivot are both 'en'"),
    ("world.paired=three", "world.paired"),
    ("instruct.mixture.budget.samples=99999", "79,999 records are wanted"),
    ("study.axes={model.llm: [world/nobody]}", "no backbone 'nobody'"),
    ("evaluate.splits=[main, wrding]", r"no split 'wrding'. Did you mean 'wording'\?"),
    ("evaluate.splits=[wording]", "'main' is missing"),
    ("study.rules.split=text_before", "study.rules.split: 'text_before' is not evaluated"),
    ("model.connector=pixel-shuffle", "Set model.scale=3"),
    ("study.axes={target: [eu, cy]}", "target is no axis"),
    ("study.axes={seed: [1, 2]}", "study.seeds"),
    ("study.axes={model.scale: []}", "model.scale is empty"),
    ("instruct.mixture.multimodal.sources={pixmo: 1}", "no set 'pixmo' here.*instruct"),
    ("instruct.mixture.multimodal.sources={instruct: 0.5}", "add up to 0.5"),
    ("nonsense", "key=value"),
    ("a: [1", "key=value"),
    ("world.kinds=[1,", "line 1"),
]


@pytest.mark.parametrize(("override", "part"), WRONG, ids=[o for o, _ in WRONG])
def test_wrong_settings_are_one_line(override: str, part: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    code, line = run(["study", "quickstart", override, "--dry-run", "--store", str(store)])
    assert code == 1
    assert re.search(part, line), line
    assert line.startswith("ikusi: ")
    assert "\n" not in line
    assert "unexpected" not in line
    assert not store.exists()


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"a: [1,\n b", "line 2"),
        (b"only text", "a recipe is a mapping"),
        (b"", "a recipe is a mapping"),
        (b"\x00\xff", "UTF-8"),
        (b"a: \x00", "not YAML"),
        (b"extends: recipe\n", "extends itself"),
        (b"extends: nothing\n", "no recipe 'nothing'"),
        (b"target: eu\ntarget: cy\n", "line 2"),
    ],
)
def test_files_that_are_no_recipe(content: bytes, part: str, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_bytes(content)
    code, line = run(["study", str(file), "--dry-run"])
    assert code == 1
    assert part in line, line
    assert "\n" not in line
    assert "unexpected" not in line


@pytest.mark.parametrize("option", ["--store", "--runs"])
@pytest.mark.parametrize("place", ["file", "file/inside", "/proc/ikusi", "/dev/full"])
def test_a_place_that_cannot_be_written_is_told_first(
    option: str, place: str, tmp_path: Path
) -> None:
    if place.startswith("/") and not Path(place).parent.is_dir():
        pytest.skip(f"needs {Path(place).parent}")
    (tmp_path / "file").touch()
    places = {"--store": tmp_path / "store", "--runs": tmp_path / "runs"}
    places[option] = tmp_path / place
    options = [str(text) for pair in places.items() for text in pair]
    code, line = run(["study", TINY, *options])
    assert code == 1
    assert f"{option} " in line
    assert place.removesuffix("/inside") in line
    assert "\n" not in line
    assert "unexpected" not in line


def test_unexpected_errors_are_a_line_and_a_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the sky fell\non our heads")

    monkeypatch.setattr("ikusi.study.recipe.read_recipe", fail)
    monkeypatch.setattr("ikusi.study.commands.read_recipe", fail)
    monkeypatch.delenv("IKUSI_DEBUG", raising=False)
    code, line = run(["study", "quickstart", "--dry-run"])
    assert code == 1
    told = re.fullmatch(r"ikusi: RuntimeError: the sky fell \(unexpected; .*: (\S+)\)", line)
    assert told, line
    log = Path(told[1])
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert "on our heads" in log.read_text(encoding="utf-8")
    assert "Traceback" not in capsys.readouterr().err
    monkeypatch.setenv("IKUSI_DEBUG", "1")
    run(["study", "quickstart", "--dry-run"])
    assert "Traceback" in capsys.readouterr().err


def test_unexpected_error_without_a_place_for_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert "No space left on device" in crash.explain(ValueError("x"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ikusi", "languages", "check", "eu"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("ikusi: output: No space left on device (more about it: ")
    assert len(done.stderr.splitlines()) == 1
    Path(done.stderr.rstrip(")\n").rpartition(" ")[2]).unlink()


def test_a_closed_pipe_is_no_error() -> None:
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"'{sys.executable}' -m ikusi languages check | head -1"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stderr == ""


def test_no_answer_to_a_question_does_nothing(tmp_path: Path) -> None:
    (tmp_path / "store" / ".corrupt" / "x").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "ikusi", "store", "gc", "--unused-hours", "0"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "nothing was done" in done.stderr
    assert (tmp_path / "store" / ".corrupt" / "x").is_dir()
