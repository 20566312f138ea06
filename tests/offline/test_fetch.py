"""Fetch: what a recipe needs comes once, at a locked revision, and what cannot come is told."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.offline.fake_hub import MODEL, REVISION, FakeHub

from ikusi.__main__ import run
from ikusi.core import hub
from ikusi.core.config import read_yaml
from ikusi.core.errors import ConfigError
from ikusi.core.hub import HubError, cached
from ikusi.offline import fetch as fetching
from ikusi.offline.fetch import LOCK, fetch, read_lock

VISION, LLM = "openai/clip", "meta-llama/Llama"
CHANGES = [f"model.vision={VISION}", f"model.llm={LLM}"]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    made = FakeHub({VISION: MODEL, LLM: MODEL})
    monkeypatch.setattr(hub, "connect", lambda: made)
    return made


def bring(to: Path, *, wheels: bool = False, dry_run: bool = False, pip: object = None) -> None:
    more = {"pip": pip} if pip else {}
    fetch("world", CHANGES, to, wheels=wheels, dry_run=dry_run, **more)  # type: ignore[arg-type]


def test_what_is_needed_comes_and_is_locked(fake: FakeHub, tmp_path: Path) -> None:
    bring(tmp_path)
    lock = read_yaml(tmp_path / LOCK)
    assert set(lock["items"]) == {f"model:{VISION}", f"model:{LLM}"}
    item = lock["items"][f"model:{LLM}"]
    assert item["revision"] == REVISION
    assert set(item["files"]) == {"config.json", "model.safetensors", "tokenizer.json"}
    folder = cached(LLM, "model", tmp_path / "hub")  # as an offline machine looks it up
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() == MODEL["model.safetensors"]


def test_weights_without_safetensors_come_as_pytorch(fake: FakeHub, tmp_path: Path) -> None:
    fake.repositories[LLM] = {k: v for k, v in MODEL.items() if k != "model.safetensors"}
    bring(tmp_path)
    assert "pytorch_model.bin" in read_lock(tmp_path)["items"][f"model:{LLM}"]["files"]


def test_a_second_time_nothing_is_asked_or_brought(fake: FakeHub, tmp_path: Path) -> None:
    bring(tmp_path)
    fake.asked.clear()
    fake.brought.clear()
    fake.down = True
    bring(tmp_path)
    assert (fake.asked, fake.brought) == ([], [])


def test_a_locked_revision_is_brought_again_and_no_newer_one(fake: FakeHub, tmp_path: Path) -> None:
    bring(tmp_path)
    fake.revision = "f" * 40
    folder = cached(LLM, "model", tmp_path / "hub")
    assert folder is not None
    (folder / "config.json").unlink()
    bring(tmp_path)
    assert fake.asked[-1] == (LLM, REVISION)
    assert (folder / "config.json").is_file()


def test_it_goes_on_after_breaking_off(fake: FakeHub, tmp_path: Path) -> None:
    fake.break_after = 4
    with pytest.raises(HubError, match="503"):
        bring(tmp_path)
    assert len(read_lock(tmp_path)["items"]) == 1
    before = len(fake.brought)
    bring(tmp_path)
    assert len(read_lock(tmp_path)["items"]) == 2
    assert len(fake.brought) - before == 2  # only what was not there


def test_a_damaged_file_is_removed_and_told(fake: FakeHub, tmp_path: Path) -> None:
    fake.damage = "model.safetensors"
    with pytest.raises(HubError, match=r"model\.safetensors came damaged"):
        bring(tmp_path)
    assert read_lock(tmp_path)["items"] == {}
    fake.damage = ""
    bring(tmp_path)
    assert len(read_lock(tmp_path)["items"]) == 2


def test_a_gated_model_is_told_with_its_page_and_stops_nothing(
    fake: FakeHub, tmp_path: Path
) -> None:
    fake.gated = (LLM,)
    arguments = ["fetch", "world", *CHANGES, "--to", str(tmp_path), "--no-wheels"]
    code, line = run(arguments)
    assert code == 1
    assert f"{LLM}: is gated. Accept its terms at https://huggingface.co/{LLM}" in line
    assert "\n" not in line
    assert set(read_lock(tmp_path)["items"]) == {f"model:{VISION}"}


def test_a_dry_run_lists_sizes_and_writes_nothing(
    fake: FakeHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bring(tmp_path / "to", dry_run=True, wheels=True)
    told = capsys.readouterr().out
    assert f"{LLM} {REVISION[:8]}: 5.0 kB, 3 files" in told
    assert "requirements" in told
    assert not (tmp_path / "to").exists()
    assert fake.brought == []


def test_wheels_and_their_hashes(fake: FakeHub, tmp_path: Path) -> None:
    calls: list[Sequence[str]] = []

    def pip(arguments: Sequence[str]) -> int:
        calls.append(arguments)
        (tmp_path / "wheels" / f"a{len(calls)}-1-py3-none-any.whl").write_bytes(b"wheel")
        return 0

    bring(tmp_path, wheels=True, pip=pip)
    assert calls[0][:2] == ["download", "--dest"]
    assert any(text.startswith("pyarrow") for text in calls[0])
    assert not any(text.startswith("pytest") for text in calls[0])  # of the extra `dev`
    assert calls[1][0] == "wheel"
    assert len(read_lock(tmp_path)["wheels"]) == 2
    with pytest.raises(HubError, match="pip could not"):
        bring(tmp_path, wheels=True, pip=lambda arguments: 1)


def test_the_environment_of_the_other_machine(fake: FakeHub, tmp_path: Path) -> None:
    bring(tmp_path)
    script = f'. "{tmp_path}/activate.sh"; echo "$HF_HUB_CACHE $HF_HUB_OFFLINE $PIP_NO_INDEX"'
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"{tmp_path}/hub", "1", "1"]


@pytest.mark.parametrize("text", ["a: 1", "[]", "ikusi_lock: 2", "ikusi_lock: 1\nitems: {x: 3}"])
def test_a_lock_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(text)
    with pytest.raises(ConfigError, match="no lock file"):
        read_lock(tmp_path)


def test_pip_is_this_interpreters() -> None:
    assert fetching.run_pip(["--version", "-q"]) == 0


# -- what the real hub's library raises


def raised(error: BaseException) -> str:
    with pytest.raises(HubError) as caught, hub._told("org/name", "dataset"):
        raise error
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_errors_of_the_hub_are_one_line_each() -> None:
    from huggingface_hub import errors

    class Response:
        status_code = 503

    def http(kind: type[BaseException], status: int) -> BaseException:
        error = kind.__new__(kind)
        Exception.__init__(error, "many\nlines")
        response = Response()
        response.status_code = status
        error.response = response  # type: ignore[attr-defined]
        return error

    page = "https://huggingface.co/datasets/org/name"
    assert page in raised(http(errors.GatedRepoError, 403))
    assert "no such dataset" in raised(http(errors.RepositoryNotFoundError, 404))
    assert "no such revision" in raised(http(errors.RevisionNotFoundError, 404))
    assert "503" in raised(http(errors.HfHubHTTPError, 503))
    assert "HF_TOKEN" in raised(http(errors.HfHubHTTPError, 401))
    assert "HF_HUB_OFFLINE" in raised(errors.OfflineModeIsEnabled("off"))
    assert "cannot be reached (no route)" in raised(OSError("no route\nto host"))
    assert "disk is full" in raised(OSError(28, "No space left on device"))
    with pytest.raises(ZeroDivisionError), hub._told("a/b", "model"):
        raise ZeroDivisionError
