"""Backends by their settings: what is wrong is said in one line."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.backends.fakes import ask
from tests.backends.scripted import Scripted

from ikusi.backends.base import Backend
from ikusi.backends.registry import open_backend
from ikusi.backends.settings import BackendSettings, EndpointSettings, parse_backend
from ikusi.core.config import Settings
from ikusi.core.errors import ConfigError

URL = "http://localhost:8000/v1/"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"model": "m"}, "x: a backend is a mapping with `kind`: endpoint, seq2seq, memory."),
        ("memory", "x: a backend is a mapping with `kind`: endpoint, seq2seq, memory."),
        ({"kind": "endpont"}, "x: no kind of backend 'endpont'. Did you mean 'endpoint'?"),
        ({"kind": "endpoint", "url": URL}, "x: 'model' is missing. Add it."),
        (
            {"kind": "endpoint", "base_url": URL, "model": "m"},
            "x: unknown key 'base_url'. Here it is called 'url'.",
        ),
        (
            {"kind": "endpoint", "url": URL, "model": "m", "timout": 3},
            "x: unknown key 'timout'. Did you mean 'timeout'?",
        ),
        ({"kind": "endpoint", "url": "localhost", "model": "m"}, "begins with http:// or https://"),
        ({"kind": "endpoint", "model": "m"}, "give either `url`, of a server that runs, or"),
        (
            {"kind": "endpoint", "model": "m", "url": URL, "launch": "x {port}"},
            "give either `url`, of a server that runs, or `launch`",
        ),
        ({"kind": "endpoint", "model": "m", "launch": "vllm serve"}, "say with {port} where"),
        ({"kind": "seq2seq", "model": "m", "beam_size": 0}, "x: beam_size: "),
        ({"kind": "memory"}, "x: 'path' is missing"),
    ],
)
def test_wrong_settings(data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as found:
        parse_backend(data, "x")
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def test_settings_within_others() -> None:
    class Translate(Settings):
        backend: BackendSettings

    found = Translate.parse({"backend": {"kind": "endpoint", "url": URL, "model": "m"}}, "x")
    assert found.backend == EndpointSettings(url="http://localhost:8000/v1", model="m")
    with pytest.raises(ConfigError, match=r"unknown key '.*pth'. Did you mean 'path'"):
        Translate.parse({"backend": {"kind": "memory", "pth": "x"}}, "x")


def test_backends_are_opened(tmp_path: Path) -> None:
    (tmp_path / "names.tsv").write_text("source\ttarget\ndog\ttxakurra\n")

    async def say(data: dict[str, Any]) -> str:
        backend = await open_backend(parse_backend(data, "x"))
        assert isinstance(backend, Backend)
        try:
            return (await backend.complete(ask("dog"))).text
        finally:
            await backend.close()

    assert asyncio.run(say({"kind": "memory", "path": str(tmp_path / "names.tsv")})) == "txakurra"
    with Scripted() as server:
        told = {"kind": "endpoint", "url": server.url, "model": "scripted"}
        assert asyncio.run(say(told)) == "dog"
