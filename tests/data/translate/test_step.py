"""The step and the verb: an artifact of translated records and a ledger of all that were not."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.backends.scripted import Payload, Scripted
from tests.backends.scripted import last_text as last_of
from tests.data.translate.fakes import record, shift, texts_of, write_lines

from ikusi.__main__ import run as run_command
from ikusi.core.artifact import Artifact
from ikusi.core.config import dump_yaml
from ikusi.core.errors import ConfigError, DataError
from ikusi.core.records import read_records, write_records
from ikusi.core.store import Store
from ikusi.core.types import Image, ImageRef, Record
from ikusi.data.dataset import open_dataset
from ikusi.data.images import ImageWriter
from ikusi.data.steps import read_drops
from ikusi.data.translate.quality import Scorer, chrf, judge_thresholds, read_pairs
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.step import build, translate_spec
from ikusi.data.translate.way import licence_of

TALKS = [
    record(
        f"What is in picture number {n}?", f"It is a dog at https://a.org/{n}.",
        id=f"r{n:03d}@en", licence="CC-BY-4.0", images=(ImageRef(sha256="ab" * 32),),
        provenance="native",
    )
    for n in range(40)
]  # fmt: skip


def answer(payload: Payload) -> str:
    return shift(last_of(payload))


def settings_for(server: Scripted, **more: Any) -> TranslateSettings:
    backend = {"kind": "endpoint", "url": server.url, "model": server.model}
    backend["retry"] = {"first_wait": 0.001, "longest_wait": 0.01, "tries": 30}
    return TranslateSettings.parse({"to": "eu", "backend": backend, **more}, "test")


def make(folder: Path, settings: TranslateSettings, records: list[Record], **more: Any) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "source.parquet"
    write_records(path, records)
    store = Store(folder / "store")
    dataset = open_dataset(str(path), store)
    spec = translate_spec(settings, dataset, "made")
    made: Artifact = build(store, spec, settings, dataset, **more)
    return made


def outcomes(artifact: Artifact) -> tuple[list[Record], list[dict[str, str]]]:
    return list(read_records(artifact.path / "records")), list(read_drops(artifact.path))


def test_records_come_out_translated_with_what_they_came_from(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        made = make(tmp_path, settings_for(server, licence="llama3.1"), TALKS)
    records, drops = outcomes(made)
    assert drops == []
    assert len(records) == len(TALKS)
    first, source = records[0], TALKS[0]
    assert texts_of(first) == [
        shift("What is in picture number 0?"),
        shift("It is a dog at ") + "https://a.org/0.",
    ]
    assert (first.id, first.parent, first.language) == ("r000@eu", "r000@en", "eu")
    assert (first.group, first.images, first.task) == (source.group, source.images, source.task)
    assert first.turns[0].parts[0] == Image(0)
    assert first.licence == "CC-BY-4.0 AND LicenseRef-Llama-3.1"
    assert first.provenance == "scripted (endpoint scripted)"
    assert made.stats["read"] == made.stats["kept"] == 40
    assert "on" in made.stats["language_check"]["en -> eu"]


def test_concurrency_order_and_shards_change_nothing(tmp_path: Path) -> None:
    with Scripted(answer, faults={"cut": 0.3}) as server:
        one = settings_for(server)
        other = settings_for(server)
        slow = one.model_copy(
            update={"backend": other.backend.model_copy(update={"concurrency": 1})}
        )
        made = make(tmp_path / "a", one, TALKS, shard_records=7)
        again = make(tmp_path / "b", slow, TALKS, shard_records=7)
        back = make(tmp_path / "c", one, TALKS[::-1])
    assert made.manifest.payload == again.manifest.payload
    assert made.address == again.address
    assert {r.id: r for r in outcomes(made)[0]} == {r.id: r for r in outcomes(back)[0]}
    assert made.stats["faults"]["translation-cut"] > 3


def test_what_was_answered_is_frozen_in_the_store(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        settings = settings_for(server)
        make(tmp_path, settings, TALKS[:10])
        asked = len(server.requests)
        made = make(tmp_path, settings, TALKS[:20])  # another artifact, half of it asked before
        assert len(server.requests) == asked + 10
        assert (tmp_path / "store" / ".answers").is_dir()
    assert len(outcomes(made)[0]) == 20


def test_records_that_are_not_translated_are_in_the_ledger(tmp_path: Path) -> None:
    strange = [
        record("Kaixo", id="basque", language="eu"),
        record("Hola a todos", id="spanish", language="es"),
        record("Tere", id="no pack", language="et"),
        record("word " * 20, id="long"),
        TALKS[0],
    ]
    with Scripted(answer) as server:
        made = make(tmp_path, settings_for(server, source="en", max_text=60), strange)
    records, drops = outcomes(made)
    assert [one.parent for one in records] == ["r000@en"]
    assert {row["id"]: row["reason"] for row in drops} == {
        "basque": "same-language",
        "spanish": "other-language",
        "no pack": "other-language",
        "long": "too-long",
    }
    assert all(row["step"] == "translate" for row in drops)


def test_what_falls_off_the_ladder_keeps_the_way_and_the_last_answer(tmp_path: Path) -> None:
    with Scripted(lambda payload: "I cannot do that") as server:
        made = make(tmp_path, settings_for(server), TALKS[:2])
    records, drops = outcomes(made)
    assert records == []
    assert [row["reason"] for row in drops] == ["format", "format"]
    assert drops[0]["detail"].count("format: wanted the tags user1, assistant2") == 3
    assert drops[0]["detail"].endswith("Last answer: I cannot do that")
    assert made.stats["faults"] == {"format": 6}


def test_two_hops(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        made = make(tmp_path, settings_for(server, via="es"), TALKS[:3])
        prompts = {payload["messages"][0]["content"].split(".")[0] for payload in server.requests}
    records, drops = outcomes(made)
    assert drops == []
    assert texts_of(records[0])[0] == shift(shift("What is in picture number 0?"))
    assert (records[0].parent, records[0].language) == ("r000@en", "eu")
    assert len(prompts) == 2
    assert "from Spanish (es) into Basque (eu)" in " ".join(prompts)


def test_what_is_in_the_language_on_the_way_takes_one_hop(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        made = make(tmp_path, settings_for(server, via="es"), [record("Hola", language="es")])
        assert len(server.requests) == 1
    assert texts_of(outcomes(made)[0][0]) == [shift("Hola")]


def test_a_fault_on_the_first_hop_says_so(tmp_path: Path) -> None:
    with Scripted(lambda payload: "no") as server:
        made = make(tmp_path, settings_for(server, via="es"), TALKS[:1])
    assert outcomes(made)[1][0]["detail"].startswith("en -> es: format")


def test_describe_writes_from_the_picture(tmp_path: Path) -> None:
    from PIL import Image as PilImage

    store = Store(tmp_path / "store")
    png = tmp_path / "a.png"
    PilImage.new("RGB", (8, 8)).save(png)

    def write(out: Path) -> Mapping[str, Any]:
        (out / "images").mkdir()
        with ImageWriter(out / "images") as writer:
            sha256 = writer.add(png.read_bytes())
        talks = [
            record("What is it?", "A dog.", id="a", images=(ImageRef(sha256=sha256),)),
            record("What is it?", "A dog.", id="b", images=(ImageRef(sha256="0" * 64),)),
            record("What is it?", "A dog.", id="c"),
        ]
        write_records(out / "records.parquet", talks)
        return {}

    from ikusi.core.store import Spec

    source = store.build(Spec("import", "photos", 1), write)

    def reply(payload: Payload) -> str:
        assert payload["messages"][-1]["content"][0]["type"] == "image_url"
        return "<user1>Raz ad uah?</user1>\n<assistant2>Txakur bat da.</assistant2>"

    with Scripted(reply) as server:
        settings = settings_for(server, mode="describe")
        seeing = settings.backend.model_copy(update={"images": True})
        settings = settings.model_copy(update={"backend": seeing})
        dataset = open_dataset(source.address, store)
        spec = translate_spec(settings, dataset, "described", [dataset])
        made = build(store, spec, settings, dataset, images=[dataset])
    records, drops = outcomes(made)
    assert [texts_of(one) for one in records] == [["Raz ad uah?", "Txakur bat da."]]
    assert {row["id"]: row["reason"] for row in drops} == {"b": "image-missing", "c": "no-image"}


def test_describe_needs_a_backend_that_sees(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        with pytest.raises(ConfigError, match="sees pictures"):
            make(tmp_path, settings_for(server, mode="describe"), TALKS[:1])
        with pytest.raises(ConfigError, match="does not keep"):
            settings_for(
                server, mode="describe", quality={"comet": {"command": "x", "threshold": 0}}
            )


# -- quality


def test_a_bad_back_translation_is_dropped(tmp_path: Path) -> None:
    sources = ["a white dog runs", "a black cat sleeps"]
    good = dict(zip(map(shift, sources), sources, strict=True))
    memory = write_lines(
        tmp_path / "back.tsv",
        "source\ttarget",
        f"{shift(sources[0])}\ta white dog is running",
        f"{shift(sources[1])}\tthe stock market fell",
    )
    quality = {
        "back_translation": {"backend": {"kind": "memory", "path": str(memory)}, "threshold": 40}
    }
    talks = [record(text, id=f"r{n}") for n, text in enumerate(sources)]
    with Scripted(answer) as server:
        made = make(tmp_path / "a", settings_for(server, quality=quality), talks)
    records, drops = outcomes(made)
    assert [texts_of(one)[0] for one in records] == [shift(sources[0])]
    assert good[texts_of(records[0])[0]] == sources[0]
    assert [(row["id"], row["reason"]) for row in drops] == [("r1", "back-translation")]
    assert "the stock market fell" in drops[0]["detail"]


SCORES = "import sys, json\nfor line in sys.stdin:\n    print({}, flush=True)\n"


def test_a_command_estimates_the_quality(tmp_path: Path) -> None:
    script = tmp_path / "score.py"
    script.write_text(SCORES.format("0.1 if '1' in json.loads(line)['src'] else 0.9"))
    quality = {"comet": {"command": f"{sys.executable} {script}", "threshold": 0.5}}
    with Scripted(answer) as server:
        made = make(tmp_path / "a", settings_for(server, quality=quality), TALKS[:3])
    records, drops = outcomes(made)
    assert [one.parent for one in records] == ["r000@en", "r002@en"]
    assert [row["reason"] for row in drops] == ["quality-estimate"]


@pytest.mark.parametrize("said", ["'no number'", "sys.exit(3)"])
def test_a_command_that_says_something_else_is_an_error_of_one_line(
    tmp_path: Path, said: str
) -> None:
    script = tmp_path / "score.py"
    script.write_text(SCORES.format(said))
    with Scorer(f"{sys.executable} {script}") as scorer, pytest.raises(DataError) as caught:
        scorer.score([("a", "b")])
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be started"):
        Scorer("/there/is/no/such-program").score([("a", "b")])


def test_chrf_is_that_of_sacrebleu_with_words() -> None:
    assert chrf("a white dog", "a white dog") == pytest.approx(100)
    assert chrf("a white dog runs", "a white dog") > 60
    assert chrf("something else", "a white dog") < 20


def test_thresholds_are_judged_by_precision_and_recall() -> None:
    scored = [(90.0, True), (70.0, True), (60.0, False), (20.0, False)]
    low, middle, high = judge_thresholds(scored, [0, 65, 95])
    assert (low.precision, low.recall, low.kept) == (0.5, 1.0, 4)
    assert (middle.precision, middle.recall) == (1.0, 1.0)
    assert (high.recall, high.kept) == (0.0, 0)


def test_a_parallel_sample_without_bad_pairs_gets_some(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "p.tsv", "a dog\tbat bi hiru lau", "a cat\tbost sei zazpi zortzi")
    pairs = read_pairs(path)
    assert [pair.is_good for pair in pairs] == [True, True, False, False, False, False]
    assert {pair.target for pair in pairs[2:] if pair.source == "a dog"} == {
        "bost sei zazpi zortzi",
        "bat bi",
    }
    judged = write_lines(tmp_path / "j.tsv", "a\tb\tgood", "c\td\tbad")
    assert [pair.is_good for pair in read_pairs(judged)] == [True, False]
    with pytest.raises(ConfigError, match="line 2"):
        read_pairs(write_lines(tmp_path / "w.tsv", "a\tb", "no tab"))


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ("", "", ""),
        ("MIT", "", "MIT"),
        ("MIT", "MIT", "MIT"),
        ("MIT", "Apache-2.0", "Apache-2.0 AND MIT"),
        ("MIT OR ISC", "Apache-2.0", "(Apache-2.0 AND MIT) OR (Apache-2.0 AND ISC)"),
        ("", "MIT", "MIT AND unknown"),  # a translator cannot give what the source did not
    ],
)
def test_a_translation_is_under_both_licences(one: str, other: str, joined: str) -> None:
    assert licence_of(one, other) == joined


# -- the verb


def lexicon(folder: Path) -> Path:
    return write_lines(
        folder / "names.tsv",
        "source\ttarget",
        "What is it?\tZer da?",
        "a dog\ttxakur bat",
        "It is {what}.\t{what} da.",
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_records(
        tmp_path / "talks.parquet",
        [record("What is it?", "It is a dog.", id="a"), record("What now?", id="b")],
    )
    lexicon(tmp_path)
    return tmp_path


def ikusi(*arguments: str, fails: bool = False) -> str:
    code, line = run_command(list(arguments))
    assert code == (1 if fails else 0), line
    assert "\n" not in line
    return line


def test_the_verb_with_a_memory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ikusi(
        "translate", "talks.parquet", "backend.path=names.tsv", "--to", "eu", "--backend", "memory"
    )
    shown = capsys.readouterr().out
    assert "runs/data/talks-eu: 1 of 2 records translated" in shown
    assert "dropped 1: memory-missing" in shown
    records = list(read_records(here / "runs/data/talks-eu/records"))
    assert texts_of(records[0]) == ["Zer da?", "txakur bat da."]
    assert records[0].provenance.startswith("names.tsv (memory ")


def test_a_dry_run_computes_nothing(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "t.yaml").write_text(
        dump_yaml(
            {
                "to": "eu",
                "source": "en",
                "backend": {"kind": "endpoint", "model": "m", "launch": "serve --port {port}"},
                "fallback": {"kind": "memory", "path": "names.tsv"},
            }
        )
    )
    ikusi("translate", "talks.parquet", "--settings", "t.yaml", "--dry-run")
    shown = capsys.readouterr().out
    assert "2 records, en -> eu" in shown
    assert "would launch: serve --port {port}" in shown
    assert "fallback: memory names.tsv, by the text" in shown
    assert not (here / "store").exists()


def test_calibrating(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_lines(here / "back.tsv", "source\ttarget", "txakur bat\ta dog", "katu bat\ta cat")
    write_lines(here / "sample.tsv", "a dog\ttxakur bat", "a cat\tkatu bat")
    back = "quality={back_translation: {backend: {kind: memory, path: back.tsv}, threshold: 1}}"
    ikusi(
        "translate", "--calibrate", "sample.tsv", "--to", "eu", "--backend", "memory",
        "backend.path=names.tsv", "source=en", back,
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert "2 good pairs, 4 bad ones" in shown
    rows = [line.split() for line in shown.splitlines() if line.strip()[:1].isdigit()]
    assert rows[0] == ["10", "4", "0.500", "1.000"] or float(rows[-1][2]) == 1.0
    assert float(rows[-1][3]) == 1.0
    line = ikusi(
        "translate", "--calibrate", "sample.tsv", "--to", "eu", "--backend", "memory",
        "backend.path=names.tsv", fails=True,
    )  # fmt: skip
    assert "quality.back_translation.backend" in line


MEMORY = ("--to", "eu", "--backend", "memory")
PATH = "backend.path=names.tsv"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["talks.parquet", "--backend", "memory"], "--to eu"),
        (["talks.parquet", "--to", "eu"], "--backend"),
        (["talks.parquet", "--to", "eu", "--backend", "memori"], "memory"),
        (["talks.parquet", "backend.path=none.tsv", *MEMORY], "none.tsv"),
        (["talks.parquet", PATH, "--to", "xx", "--backend", "memory"], "xx"),
        (["talks.parquet", PATH, "pivot=es", *MEMORY], "'via'"),
        (["nothing", PATH, *MEMORY], "nothing"),
        (["talks.parquet", PATH, "glossary=g.tsv", *MEMORY], "g.tsv"),
        (["talks.parquet", PATH, "units=conversation", *MEMORY], "units"),
        ([*MEMORY, PATH], "what to translate"),
        ([*MEMORY, "--calibrate", "x.tsv"], "path"),
    ],
)
def test_errors_are_one_line(here: Path, arguments: list[str], message: str) -> None:
    line = ikusi("translate", *arguments, fails=True)
    assert line.startswith("ikusi: ")
    assert message in line
    assert "Traceback" not in line


def test_the_stats_are_plain(tmp_path: Path) -> None:
    with Scripted(answer) as server:
        made = make(tmp_path, settings_for(server), TALKS[:2])
    assert json.loads(json.dumps(made.stats))["usage"]["scripted (endpoint scripted)"]
