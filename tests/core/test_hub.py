"""The hub's own library behind our four functions: what it is asked, and what is made of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ikusi.core.hub import HubFile, cache_folder, cached, connect, page


class Api:
    """`HfApi` as far as it is asked; notes the calls."""

    calls: list[tuple[str, dict[str, Any]]]

    def __getattr__(self, name: str) -> Any:
        def call(repo: str = "", **how: Any) -> Any:
            Api.calls.append((name, {"repo_id": repo, **how} if repo else how))
            lfs = SimpleNamespace(sha256="ab" * 32)
            files = [
                SimpleNamespace(rfilename="config.json", size=2, lfs=None),
                SimpleNamespace(rfilename="a[1].safetensors", size=9, lfs=lfs),
            ]
            found = SimpleNamespace(sha="c0ffee", siblings=files)
            return found if name == "repo_info" else "/somewhere"

        return call


@pytest.fixture(autouse=True)
def api(monkeypatch: pytest.MonkeyPatch) -> None:
    Api.calls = []
    monkeypatch.setattr("huggingface_hub.HfApi", Api)


def test_looking_and_downloading_pin_the_revision(tmp_path: Path) -> None:
    found = connect().look("org/name", "model", None)
    assert (found.revision, found.page) == ("c0ffee", "https://huggingface.co/org/name")
    assert found.files == {
        "config.json": HubFile(2),
        "a[1].safetensors": HubFile(9, "ab" * 32),
    }
    connect().download(found, ["a[1].safetensors"], tmp_path)
    name, how = Api.calls[-1]
    assert name == "snapshot_download"
    assert (how["revision"], how["cache_dir"]) == ("c0ffee", tmp_path)
    assert how["allow_patterns"] == ["a[[]1].safetensors"]


def test_a_push_leaves_no_rows_of_an_earlier_one(tmp_path: Path) -> None:
    address = connect().upload(tmp_path, "org/name", private=True)
    assert address == page("org/name", "dataset")
    (made, how), (sent, what) = Api.calls
    assert (made, how["private"], how["exist_ok"]) == ("create_repo", True, True)
    assert (sent, what["delete_patterns"]) == ("upload_folder", ["data/*.parquet"])
    assert what["repo_type"] == "dataset"


def test_the_cache_is_found_as_the_library_finds_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == Path("~/.cache/huggingface/hub").expanduser()
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "c"))
    assert cache_folder() == tmp_path / "c"


def test_only_a_revision_that_is_there_is_cached(tmp_path: Path) -> None:
    root = tmp_path / "models--a--b"
    assert cached("a/b", "model", tmp_path) is None
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text("r1")
    assert cached("a/b", "model", tmp_path) is None
    (root / "snapshots" / "r1").mkdir(parents=True)
    assert cached("a/b", "model", tmp_path) is None
    (root / "snapshots" / "r1" / "config.json").touch()
    assert cached("a/b", "model", tmp_path) == root / "snapshots" / "r1"
