"""Publishing: what `datasets` opens, what the card says, and what is refused."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image as Picture
from tests.data.published import TRANSLATOR, build_chain, png

from ikusi.__main__ import run
from ikusi.core import hub
from ikusi.core.hub import HubError
from ikusi.core.records import read_records
from ikusi.core.store import Spec
from ikusi.data import publish_rows as publishing

pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    monkeypatch.chdir(tmp_path)


def load(folder: Path) -> Any:
    from datasets import load_dataset

    return load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))


def front_matter(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    return found


def publish(*arguments: object) -> tuple[int, str]:
    return run(["publish", *map(str, arguments)])


def test_training_data_open_with_datasets_and_hold_every_row(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store")
    out = tmp_path / "out"
    assert publish(chain.english.address, chain.basque.address, "--to", out) == (0, "")
    opened = load(out)
    assert list(opened) == ["train"]
    rows = opened["train"]
    assert len(rows) == 12 + 9
    records = [
        *read_records(chain.english.path / "records"),
        *read_records(chain.basque.path / "records"),
    ]
    for row, record in zip(rows, records, strict=True):
        assert (row["id"], row["group"], row["language"]) == (
            record.id,
            record.group,
            record.language,
        )
        assert (row["licence"], row["provenance"]) == (record.licence, record.provenance)
        assert row["parent"] == record.parent
        assert json.loads(row["meta"]) == record.meta
        assert [m["role"] for m in row["messages"]] == ["user", "assistant"]
        image, question = row["messages"][0]["content"]
        assert (image["type"], image["index"], question["type"]) == ("image", 0, "text")
        assert question["text"] == record.turns[0].text
        assert row["images"][0].size == (40 + int(record.id[3:]), 30)


def test_pictures_are_kept_byte_for_byte(tmp_path: Path) -> None:
    from datasets import Image, List

    chain = build_chain(tmp_path / "store", rows=3)
    assert publish(chain.english.address, "--to", tmp_path / "out") == (0, "")
    rows = load(tmp_path / "out")["train"].cast_column("images", List(Image(decode=False)))
    for number, row in enumerate(rows):
        (image,) = row["images"]
        assert image["bytes"] == png(number)
        assert image["path"] == f"{hashlib.sha256(png(number)).hexdigest()}.png"
        assert Picture.open(io.BytesIO(image["bytes"])).format == "PNG"


def test_pictures_are_referenced_where_all_have_an_address(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", rows=3, urls=True)
    assert publish(chain.english.address, "--to", tmp_path / "out") == (0, "")
    images = load(tmp_path / "out")["train"]["images"]
    assert list(images) == [
        [
            {
                "url": f"https://pictures.example/{n}.png",
                "sha256": hashlib.sha256(png(n)).hexdigest(),
            }
        ]
        for n in range(3)
    ]
    assert publish(chain.english.address, "--to", tmp_path / "in", "--images", "embed") == (0, "")
    assert load(tmp_path / "in")["train"][2]["images"][0].size == (42, 30)


def test_a_benchmark_has_splits_by_language_and_the_reviewed_one(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", answers=True)

    def write(out: Path) -> None:
        from ikusi.core.records import write_records

        (out / "records").mkdir()
        reviewed = list(read_records(chain.basque.path / "records"))[:4]
        write_records(out / "records" / "part-00000.parquet", reviewed)

    review = chain.store.build(
        Spec("review", "pixmo-eu", 1, {}, {"records": chain.basque.address}), write
    )
    names = [a.address for a in (chain.english, chain.basque, review)]
    assert publish(*names, "--to", tmp_path / "out") == (0, "")
    opened = load(tmp_path / "out")
    assert {name: len(rows) for name, rows in opened.items()} == {
        "en": 12,
        "eu": 9,
        "eu_reviewed": 4,
    }
    assert front_matter(tmp_path / "out")["task_categories"] == ["visual-question-answering"]
    assert publish(*names, "--to", tmp_path / "train", "--training") == (0, "")
    assert {name: len(rows) for name, rows in load(tmp_path / "train").items()} == {"train": 25}


def test_the_card_tells_what_the_store_knows(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store")
    assert publish(chain.basque.address, "--to", tmp_path / "out") == (0, "")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    tags = front_matter(tmp_path / "out")
    assert tags["license"] == "cc-by-4.0"
    assert tags["language"] == ["eu"]
    assert tags["size_categories"] == ["n<1K"]
    rows = [tuple(c.strip() for c in line.split("|")[1:-1]) for line in text.splitlines()]
    assert any(row[:4] == ("import pixmo-en", "12", "12", "0") for row in rows)
    assert any(row[:4] == ("translate pixmo-eu", "12", "9", "3") for row in rows)
    assert ("translate pixmo-eu", "untranslated", "3") in rows
    assert ("translate pixmo-eu", "quality.chrf", "51.5") in rows
    assert any(row[0] == TRANSLATOR and row[2] == "9" for row in rows if len(row) == 3)
    assert "9 of 9 rows were written by a model" in text
    assert "Zer dago en-0 irudian?" in text


def test_nothing_in_the_data_becomes_markup_of_the_card(tmp_path: Path) -> None:
    hostile = "``` \n---\n<script>alert(1)</script> ````` {n} | x"
    chain = build_chain(tmp_path / "store", rows=2, question=hostile)
    assert publish(chain.english.address, "--to", tmp_path / "out") == (0, "")
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "\n``````text\nuser: [picture] ``` " in text
    assert front_matter(tmp_path / "out")["license"] == "cc-by-4.0"


def test_norwegian_is_a_language_on_the_hub(tmp_path: Path) -> None:
    """YAML 1.1, which the hub reads, takes a bare `no` for a boolean."""
    from dataclasses import replace

    from ikusi.core.records import write_records

    chain = build_chain(tmp_path / "store", rows=2, urls=True)
    file = tmp_path / "no.parquet"
    records = read_records(chain.english.path / "records")
    write_records(file, (replace(record, language="no") for record in records))
    assert publish(file, "--to", tmp_path / "out") == (0, "")
    assert front_matter(tmp_path / "out")["language"] == ["no"]


def test_checksums(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store")
    out = tmp_path / "out"
    assert publish(chain.basque.address, "--to", out) == (0, "")
    lines = (out / "checksums.txt").read_text().splitlines()
    assert lines
    for line in lines:
        digest, name = line.split("  ")
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest


def test_a_wider_licence_is_refused_in_one_line(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", translator="CC-BY-NC-4.0")
    out = tmp_path / "out"
    both = (chain.english.address, chain.basque.address, "--to", out)
    code, line = publish(*both, "--licence", "CC-BY-4.0")
    assert code == 1
    assert "9 of 21 rows" in line
    assert TRANSLATOR in line
    assert "non-commercial" in line
    assert "--licence 'CC-BY-NC-4.0'" in line
    assert "\n" not in line
    assert not out.exists()
    assert publish(*both) == (0, "")
    assert front_matter(out)["license"] == "cc-by-nc-4.0"


def test_what_may_not_be_translated_is_not_published(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", licence="CC-BY-ND-4.0")
    code, line = publish(chain.basque.address, "--to", tmp_path / "out")
    assert code == 1
    assert "no derivatives" in line
    assert publish(chain.english.address, "--to", tmp_path / "en") == (0, "")


WRONG = [
    (["--to", "out", "--licence", "CC-BY-9"], "'CC-BY-9' is not known. Did you mean"),
    (["--to", "out", "--images", "reference"], "Use --images embed"),
    ([], "--to FOLDER"),
    (["--hub", "name"], "org/name"),
    (["--to", "full"], "holds 'mine.txt'"),
    (["--to", "full/mine.txt"], "is no folder"),
]


@pytest.mark.parametrize(("options", "part"), WRONG, ids=[" ".join(o) for o, _ in WRONG])
def test_mistakes_are_one_line_and_write_nothing(
    options: list[str], part: str, tmp_path: Path
) -> None:
    chain = build_chain(tmp_path / "store", rows=2)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    code, line = publish(chain.english.address, *options)
    assert code == 1
    assert part in line
    assert "\n" not in line
    assert "unexpected" not in line
    assert not chain.store.ls("publish")


def test_pictures_that_are_nowhere_are_told(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", rows=2)
    part = chain.english.path / "records" / "part-00000.parquet"
    (tmp_path / "alone.parquet").write_bytes(part.read_bytes())
    code, line = publish(tmp_path / "alone.parquet", "--to", tmp_path / "out")
    assert code == 1
    assert "2 pictures are in no artifact" in line
    assert "'en-0'" in line


def test_a_dry_run_writes_nothing_and_tells_the_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    chain = build_chain(tmp_path / "store", translator="CC-BY-NC-4.0")
    code, _ = publish(chain.basque.address, "--to", tmp_path / "out", "--dry-run")
    assert code == 0
    assert "licence of the whole: CC-BY-NC-4.0" in capsys.readouterr().out
    assert not (tmp_path / "out").exists()
    assert not chain.store.ls("publish")


def test_shards_resume_and_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publishing, "_BATCH_ROWS", 2)
    monkeypatch.setattr(publishing, "_SHARD_ROWS", 5)
    whole = build_chain(tmp_path / "a")
    assert publish(whole.english.address, "--to", "whole", "--store", "a") == (0, "")
    assert len(list(Path("whole/data").iterdir())) == 2
    broken = build_chain(tmp_path / "b")
    write_shard, calls = publishing._write_shard, []

    def die(*arguments: Any) -> int:
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return write_shard(*arguments)

    monkeypatch.setattr(publishing, "_write_shard", die)
    with pytest.raises(Killed):
        publish(broken.english.address, "--to", "resumed", "--store", "b")
    assert not Path("resumed").exists()
    calls.clear()
    calls.extend([1, 1])
    assert publish(broken.english.address, "--to", "resumed", "--store", "b") == (0, "")
    assert len(calls) == 4  # the first shard was not written again: the second, and the empty last
    checksums = [Path(name, "checksums.txt").read_text() for name in ("whole", "resumed")]
    assert checksums[0] == checksums[1]


def test_a_published_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = build_chain(tmp_path / "store", answers=True)
    assert publish(first.english.address, "--to", out) == (0, "")
    (out / ".cache").mkdir()
    assert publish(first.basque.address, "--to", out) == (0, "")
    assert [path.name for path in (out / "data").iterdir()] == ["eu-00000.parquet"]
    assert (out / ".cache").is_dir()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


class Killed(BaseException):
    """What no code can catch as an ordinary error."""


class FakeHub:
    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[tuple[str, str, bool]] = []

    def upload(self, folder: Path, name: str, *, private: bool) -> str:
        if self.failures:
            self.failures -= 1
            raise HubError(f"{name}: the hub answered 503. Try again: it goes on.")
        for path in folder.rglob("*"):
            self.sent.append((name, path.relative_to(folder).as_posix(), private))
        return hub.page(name, "dataset")


def test_the_push_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = FakeHub(failures=1)
    monkeypatch.setattr(hub, "connect", lambda: fake)
    chain = build_chain(tmp_path / "store")
    wanted = (chain.basque.address, "--hub", "hitz/pixmo-eu", "--private")
    code, line = publish(*wanted)
    assert (code, "503" in line) == (1, True)
    (artifact,) = chain.store.ls("publish")
    assert publish(*wanted) == (0, "")
    assert [a.address for a in chain.store.ls("publish")] == [artifact.address]
    assert {name for _, name, _ in fake.sent} == {
        *("README.md", "checksums.txt", "data", "data/train-00000.parquet")
    }
    assert {(name, private) for name, _, private in fake.sent} == {("hitz/pixmo-eu", True)}
    assert "https://huggingface.co/datasets/hitz/pixmo-eu" in capsys.readouterr().out
    folder = tmp_path / "runs" / "publish" / "pixmo-eu"
    assert "load_dataset('hitz/pixmo-eu'" in (folder / "README.md").read_text()
    artifact.verify()  # what an upload leaves beside the files is not in the store


def test_unknown_licences_are_not_sent_to_the_hub_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeHub()
    monkeypatch.setattr(hub, "connect", lambda: fake)
    chain = build_chain(tmp_path / "store", licence="")
    code, line = publish(chain.english.address, "--hub", "hitz/x")
    assert code == 1
    assert re.search(r"12 rows \(pixmo, such as en-0\) have no licence", line)
    assert not fake.sent
    assert publish(chain.english.address, "--hub", "hitz/x", "--licence", "unknown") == (0, "")
    assert fake.sent
