"""Doctor: what is absent is named with what to do, and the exit code says whether anything is."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.data.published import build_chain
from tests.offline.fake_hub import MODEL, FakeHub

from ikusi.__main__ import run
from ikusi.core import hub
from ikusi.core.store import Store
from ikusi.offline import doctor as doctoring
from ikusi.offline.doctor import Check, examine
from ikusi.offline.fetch import fetch
from ikusi.offline.needs import needs_of, wanted_files
from ikusi.study.plan import plan_study
from ikusi.study.recipe import read_recipe

LLM = "meta-llama/Llama"
RECIPE = {
    "model": {"vision": "world/encoder", "llm": LLM},
    "study": {"axes": {"model.llm": [LLM, "HiTZ/Latxa", "world/pivot"]}},
    "translate": {
        "captions": {"backend": {"kind": "seq2seq", "model": "HiTZ/mt-hitz-en-eu"}},
        "chat": {
            "backend": {"kind": "endpoint", "model": "HiTZ/Latxa-70B", "launch": "A=1 vllm serve x"}
        },
        "judge": {"backend": {"kind": "endpoint", "model": "gpt", "url": "http://127.0.0.1:9/v1"}},
        "words": {"backend": {"kind": "memory", "path": "words.tsv"}},
    },
    "align": {"data": ["somebodys", "HuggingFaceM4/FineVision", "cc3m@eu"]},
}


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def test_needs_of_a_recipe() -> None:
    needs = needs_of(RECIPE)
    assert [(n.kind, n.name) for n in needs.repositories] == [
        ("model", LLM),
        ("model", "HiTZ/Latxa"),
        ("model", "HiTZ/mt-hitz-en-eu"),
        ("model", "HiTZ/Latxa-70B"),
        ("dataset", "HuggingFaceM4/FineVision"),
        ("dataset", "HiTZ/ConceptualCaptions_eu"),
    ]
    assert needs.sets == (("align.data", "somebodys"),)
    assert set(needs.extras) == {"translate", "data"}
    assert needs.programs == (("translate.chat.backend.launch", "vllm"),)
    assert needs.servers == (("translate.judge.backend.url", "http://127.0.0.1:9/v1"),)


def test_a_folder_and_the_world_need_nothing(tmp_path: Path) -> None:
    (tmp_path / "models" / "mine").mkdir(parents=True)
    assert not needs_of({"model": {"vision": "world/encoder", "llm": "models/mine"}}).repositories


def test_wanted_files() -> None:
    names = [*MODEL, "model.safetensors.index.json", "onnx/model.onnx", "README.md"]
    assert wanted_files(names, "model") == [
        *("README.md", "config.json", "model.safetensors", "model.safetensors.index.json"),
        "tokenizer.json",
    ]
    assert wanted_files(["b.h5", "a.csv"], "dataset") == ["a.csv", "b.h5"]


def doctor(*arguments: str) -> tuple[int, str]:
    return run(["doctor", *arguments])


def test_the_embedded_world_runs_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor("quickstart", "--offline") == (0, "")
    told = capsys.readouterr().out
    assert "absent" not in told
    assert "56 steps, 56 to do" in told
    assert not Path("store").exists()


def test_absent_weights_are_told_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    code, line = doctor("world", f"model.llm={LLM}", "--offline")
    assert code == 1
    assert f"weights {LLM} (model.llm)" in line
    assert "\n" not in line
    assert f"`ikusi fetch world model.llm={LLM} --to DIR`" in capsys.readouterr().out


def test_online_what_can_be_brought_is_not_absent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeHub({LLM: MODEL})
    monkeypatch.setattr(hub, "connect", lambda: fake)
    assert doctor("world", f"model.llm={LLM}") == (0, "")
    assert "comes from the hub when needed, 5.0 kB" in capsys.readouterr().out
    fake.gated = (LLM,)
    code, _ = doctor("world", f"model.llm={LLM}")
    assert code == 1
    assert f"-> {LLM}: is gated" in capsys.readouterr().out


def test_what_was_fetched_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, empty_cache: Path
) -> None:
    fake = FakeHub({LLM: MODEL})
    monkeypatch.setattr(hub, "connect", lambda: fake)
    fetch("world", [f"model.llm={LLM}"], tmp_path, wheels=False, dry_run=False)
    assert doctor("world", f"model.llm={LLM}", "--offline") == (0, "")
    folder = hub.cached(LLM, "model", empty_cache)
    assert folder is not None
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    code, _ = doctor("world", f"model.llm={LLM}", "--offline")
    assert code == 1


def checks(recipe: dict[str, Any], store: Store) -> dict[str, Check]:
    _, data = read_recipe("world")
    plan = plan_study(data, "world")
    found = examine(needs_of(recipe), plan, store, "ikusi fetch", offline=True, workers=1)
    return {check.what: check for check in found}


def test_programs_sets_and_packages(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", rows=2)
    recipe = RECIPE | {"align": {"data": ["somebodys", chain.basque.address]}}
    found = checks(recipe, chain.store)
    assert "vllm" in found["program vllm (translate.chat.backend.launch)"].what
    assert found["data somebodys (align.data)"].remedy.startswith("`ikusi import`")
    assert found[f"data {chain.basque.address} (align.data)"] == Check(
        f"data {chain.basque.address} (align.data)", "2 records"
    )


def test_images_that_were_not_brought(tmp_path: Path) -> None:
    from dataclasses import replace

    from ikusi.core.records import read_records, write_records
    from ikusi.core.types import ImageRef

    chain = build_chain(tmp_path / "store", rows=3)
    records = read_records(chain.english.path / "records")
    urls = (replace(r, images=(ImageRef(url="https://a.example/x"),)) for r in records)
    write_records(tmp_path / "urls.parquet", urls)
    check = checks({"align": {"data": ["urls.parquet"]}}, chain.store)["images of urls.parquet"]
    assert "ikusi images" in check.remedy


@pytest.fixture
def server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/v1/models" else 404)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}/v1"
        http.shutdown()


def test_servers(server: str, tmp_path: Path) -> None:
    assert not doctoring._server("judge.url", server).remedy
    for url in ("http://127.0.0.1:9/v1", "file:///etc/passwd", "nonsense"):
        check = doctoring._server("judge.url", url)
        assert check.remedy == "Start it, or change judge.url."
        assert "\n" not in check.found


def test_parameters_are_counted_without_reading_them(empty_cache: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    folder = empty_cache / "models--a--b" / "snapshots" / "r"
    folder.mkdir(parents=True)
    (empty_cache / "models--a--b" / "refs").mkdir()
    (empty_cache / "models--a--b" / "refs" / "main").write_text("r")
    save_file({"w": np.zeros((3, 5)), "b": np.zeros(2)}, folder / "model.safetensors")
    (need,) = needs_of({"model": {"llm": "a/b"}}).repositories
    assert doctoring._parameters(need, empty_cache) == 17
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    assert doctoring._parameters(need, empty_cache) is None


def test_too_little_memory_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctoring, "_free_memory", lambda: 10**9)
    monkeypatch.setattr(doctoring, "_gpus", list)
    assert doctoring._memory(8_000_000_000).remedy
    assert not doctoring._memory(1_000_000).remedy
    monkeypatch.setattr(doctoring, "_gpus", lambda: ["NVIDIA H100, 81559 MiB"])
    assert not doctoring._memory(8_000_000_000).remedy
