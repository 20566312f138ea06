"""A translation in parts: every record is in one, nothing is asked twice, the whole is the same."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends.scripted import Payload, Scripted
from tests.backends.scripted import last_text as last_of
from tests.data.translate.fakes import record, shift
from tests.data.translate.test_step import TALKS, make, outcomes, settings_for

from ikusi.__main__ import run as run_command
from ikusi.core.config import dump_yaml
from ikusi.core.errors import ConfigError
from ikusi.core.records import read_records, write_records
from ikusi.core.store import Store
from ikusi.core.types import ImageRef
from ikusi.data.dataset import open_dataset
from ikusi.data.translate.parts import Part, answer_part
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.step import build, translate_spec

TWICE = [*TALKS, *(record(one.turns[0].text, one.turns[1].text, id=f"{one.id}-again")
                   for one in TALKS[:15])]  # fmt: skip
"""Fifteen of them ask for what others ask for."""


def answer(payload: Payload) -> str:
    return shift(last_of(payload))


def asked_more_than_once(server: Scripted) -> list[str]:
    return [text for text, count in Counter(map(repr, server.requests)).items() if count > 1]


@given(st.lists(st.text(min_size=1), max_size=20), st.integers(1, 5))
def test_every_record_is_in_one_part_and_equal_ones_in_the_same(
    texts: list[str], count: int
) -> None:
    parts = [Part(number, count) for number in range(1, count + 1)]
    for text in texts:
        one, other = record(text, id="a"), record(text, id="b", language="es")
        (mine,) = [part for part in parts if part.has(one, seen=False)]
        assert mine.has(other, seen=False)


def test_pictures_count_where_they_are_seen() -> None:
    talks = [record("What?", images=(ImageRef(url=f"u{n}"),)) for n in range(50)]
    part = Part(1, 2)
    assert len({part.has(one, seen=False) for one in talks}) == 1
    assert 10 < sum(part.has(one, seen=True) for one in talks) < 40


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "1/0", "-1/2", "1/2/3", "a/b", "1 / 2"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(ConfigError, match="2/8"):
        Part.parse(text)
    assert str(Part.parse("2/8")) == "2/8"


def test_the_whole_is_put_together_from_the_answers_of_its_parts(tmp_path: Path) -> None:
    def some_fall(payload: Payload) -> str:
        return "no" if "number 7?" in last_of(payload) else answer(payload)

    with Scripted(some_fall) as server:
        alone = make(tmp_path / "alone", settings_for(server), TWICE)
    folder = tmp_path / "parts"
    folder.mkdir()
    path = folder / "source.parquet"
    write_records(path, TWICE)
    store = Store(folder / "store")
    dataset = open_dataset(str(path), store)
    with Scripted(some_fall) as server:
        settings = settings_for(server)
        spec = translate_spec(settings, dataset, "made")
        flows = [
            answer_part(store, spec, settings, dataset, Part(number, 3)) for number in (3, 1, 2)
        ]
        asked = len(server.requests)
        assert asked_more_than_once(server) == []
        assert not (folder / "store/translate").exists()
        made = build(store, spec, settings, dataset)
        assert len(server.requests) == asked
    assert made.manifest.payload == alone.manifest.payload
    assert made.address == alone.address
    assert outcomes(made) == outcomes(alone)
    whole = flows[0] + flows[1] + flows[2]
    assert min(flow.read for flow in flows) > 5
    assert whole.read == len(TWICE)
    assert whole.to_stats()["dropped"] == made.stats["dropped"] == {"format": 2}
    assert made.stats["faults"] == alone.stats["faults"]


# -- the verb


def prepare(folder: Path, server: Scripted) -> TranslateSettings:
    write_records(folder / "talks.parquet", TWICE)
    backend = {"kind": "endpoint", "url": server.url, "model": server.model}
    (folder / "t.yaml").write_text(dump_yaml({"to": "eu", "source": "en", "backend": backend}))
    return TranslateSettings.parse({"to": "eu", "source": "en", "backend": backend}, "test")


VERB = ("translate", "talks.parquet", "--settings", "t.yaml")


def test_the_verb_answers_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with Scripted(answer) as server:
        prepare(tmp_path, server)
        assert run_command([*VERB, "--part", "1/2"]) == (0, "")
        assert "part 1/2 of translate/talks-eu-" in capsys.readouterr().out
        assert 5 < len(server.requests) < 35
        assert not (tmp_path / "runs").exists()
        assert run_command(list(VERB)) == (0, "")
        assert len(server.requests) == len(TALKS)
        assert run_command([*VERB, "--part", "2/2"]) == (0, "")
        assert "in the store already" in capsys.readouterr().out
        assert len(server.requests) == len(TALKS)
    code, line = run_command([*VERB, "--part", "2"])
    assert code == 1
    assert "2/8" in line


@pytest.mark.slow
def test_parts_in_processes_side_by_side_ask_nothing_twice(tmp_path: Path) -> None:
    with Scripted(answer, latency=0.05) as server:
        prepare(tmp_path, server)
        command = [sys.executable, "-m", "ikusi", *VERB, "--part"]
        # The same part twice, too: a job that came back while it was still ending.
        running = [
            subprocess.Popen([*command, part], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
            for part in ("1/2", "2/2", "2/2")
        ]
        for process in running:
            _, told = process.communicate(timeout=60)
            assert process.returncode == 0, told
        assert asked_more_than_once(server) == []
        assert len(server.requests) == len(TALKS)
        done = subprocess.run(
            [sys.executable, "-m", "ikusi", *VERB], cwd=tmp_path, check=False, timeout=60
        )
        assert done.returncode == 0
        assert len(server.requests) == len(TALKS)
    assert len(list(read_records(tmp_path / "runs/data/talks-eu/records"))) == len(TWICE)


@pytest.mark.slow
def test_jobs_of_an_array_and_one_that_puts_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    with Scripted(answer) as server:
        settings = prepare(tmp_path, server)
        jobs = ["--launch", "local", "--slurm", "array=2", "--slurm", "cpus=1"]
        assert run_command([*VERB, *jobs]) == (0, "")
        assert asked_more_than_once(server) == []
        assert len(server.requests) == len(TALKS)
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[1].rstrip(",") for line in told] == [
        "translate-parts",
        "translate-parts",
        "translate",
    ]
    made = Store("store").resolve("runs/data/talks-eu")
    with Scripted(answer) as server:
        url = settings.backend.model_copy(update={"url": server.url})
        alone = make(tmp_path / "alone", settings.model_copy(update={"backend": url}), TWICE)
    assert made.manifest.payload == alone.manifest.payload
