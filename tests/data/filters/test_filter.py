"""`ikusi filter`, from files to the ledger: pictures, duplicates, benchmarks, languages, kills."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from ikusi.__main__ import run
from ikusi.core.artifact import Artifact
from ikusi.core.records import read_records, write_records
from ikusi.core.store import Spec, Store
from ikusi.core.types import Image, ImageRef, Record, assistant, user
from ikusi.data.filters.look import is_whole
from ikusi.data.image_manifest import ManifestRow, write_rows
from ikusi.data.images import ImageWriter
from ikusi.data.inspect import perceptual_hash
from ikusi.data.steps import read_drops

SEED = int(os.environ.get("IKUSI_SEED", "0"))
LONG = (
    "The old wooden bridge crosses a narrow river between two villages in the green mountains, and "
    "every morning the shepherd takes his sheep over it to the high meadows behind the last house."
)
LONG_EU = (
    "Egurrezko zubi zaharrak ibai estua zeharkatzen du mendi berdeetako bi herrixken artean, eta "
    "goizero artzainak ardiak eramaten ditu handik azken etxearen atzeko larre garaietara."
)
QUESTION = (
    "Which of the four fishermen in the painting wears the yellow coat that his late brother lost?"
)


def said(identity: str, text: str, prompt: str = "Describe it.", **changes: Any) -> Record:
    images = changes.pop("images", ())
    parts: list[Any] = [Image(index) for index in range(len(images))]
    made = Record(
        id=identity,
        group=changes.pop("group", identity),
        turns=(user(*parts, prompt), assistant(text)),
        language=changes.pop("language", "en"),
        task="caption",
        source="s",
        images=images,
    )
    return replace(made, **changes)


class Workplace:
    """A store, links and files."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.store = folder, Store(folder / "store")
        self.capsys = capsys

    def write(self, name: str, records: Sequence[Record]) -> str:
        path = self.folder / f"{name}.parquet"
        write_records(path, records)
        return str(path)

    def build(
        self,
        kind: str,
        name: str,
        records: Sequence[Record] = (),
        *,
        rows: Sequence[ManifestRow] = (),
        pictures: Sequence[bytes] = (),
        inputs: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Make an artifact as another step would."""

        def write(out: Path) -> None:
            if records:
                (out / "records").mkdir()
                write_records(out / "records" / "part-00000.parquet", records)
            if kind == "images":
                write_rows(out / "manifest.parquet", rows)
            if pictures:
                with ImageWriter(out / "images") as writer:
                    for data in pictures:
                        writer.add(data)

        return self.store.build(Spec(kind, name, 1, {"n": name}, inputs or {}), write)

    def filter(
        self, *arguments: str, name: str = "x"
    ) -> tuple[dict[str, tuple[str, str]], list[Any]]:
        """Run the verb; return id -> reason and detail, and the records that stay."""
        places = ("--store", str(self.store.root), "--runs", str(self.folder / "runs"))
        assert run(["filter", *arguments, "--name", name, *places]) == (0, "")
        out = self.folder / "runs" / "data" / name
        drops = list(read_drops(out))
        kept = list(read_records(out / "records"))
        stats = json.loads((out / "stats.json").read_text(encoding="utf-8"))
        assert stats["read"] == len(kept) + len(drops)
        assert stats["kept"] == len(kept)
        assert sum(stats["dropped"].values()) == len(drops)
        return {row["id"]: (row["reason"], row["detail"]) for row in drops}, kept

    @property
    def out(self) -> str:
        return self.capsys.readouterr().out


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Workplace:
    return Workplace(tmp_path, capsys)


def ids(records: Sequence[Record]) -> list[str]:
    return [record.id for record in records]


# -- duplicates


def test_the_first_of_equal_and_nearly_equal_texts_stays(place: Workplace) -> None:
    short = "A dog on a beach."
    records = [
        said("a", LONG),
        said("b", LONG.replace("sheep", "goats")),
        said("c", LONG.upper().replace(",", "")),
        said("d", short),
        said("e", "A dog on a beach!"),
        said("f", "A dog on a peach."),  # too short for nearly equal
        said("g", LONG[:90] + " and nothing else of it is the same here, as far as one can see."),
        said("h", "3.5"),
        said("i", "35"),
        said("j", "?!"),
        said("k", "!!"),
        said("l", LONG, language="es"),  # another language
    ]
    dropped, kept = place.filter(place.write("r", records), "language.on=false")
    assert dropped == {
        "b": ("near-duplicate", "like a"),
        "c": ("duplicate", "like a"),
        "e": ("duplicate", "like d"),
    }
    assert ids(kept) == list("adfghijkl")
    _, kept = place.filter(place.write("r", records), "language.on=false", "duplicates.by=off")
    assert len(kept) == len(records)
    exact = ("language.on=false", "duplicates.text_similarity=1")
    dropped, _ = place.filter(place.write("r", records), *exact)
    assert set(dropped) == {"c", "e"}


def test_versions_of_a_record_stay_or_go_together(place: Workplace) -> None:
    def pair(identity: str, en: str, eu: str, **changes: Any) -> list[Record]:
        return [
            said(identity, en, **changes),
            said(f"{identity}-eu", eu, language="eu", group=identity, parent=identity, **changes),
        ]

    records = [
        *pair("a", LONG, LONG_EU),
        *pair("b", LONG.replace("sheep", "goats"), "Beste itzulpen bat, oso bestelakoa."),
        *pair("c", "Another text.", "Beste testu bat."),
        said("c-eu2", "Beste  TESTU bat", language="eu", group="c", parent="c"),  # said twice
        # No parents: paired by their place in the group.
        said("p1", "One thing.", group="p"),
        said("p2", "A second thing.", group="p"),
        said("q1", "Gauza bat.", group="p", language="eu"),
        said("q2", "Beste testu bat.", group="p", language="eu"),
    ]
    for order in (records, records[::-1]):
        dropped, kept = place.filter(place.write("r", order), "language.on=false")
        of = {record.id: record for record in order}
        versions = [{"a", "a-eu"}, {"b", "b-eu"}, {"c", "c-eu"}, {"p1", "q1"}, {"p2", "q2"}]
        for both in versions:
            if not both & {"c-eu", "q2"}:
                assert len(both & dropped.keys()) in (0, 2), dropped
        assert len(kept) == 6
        assert {"p1", "q1"} <= {*ids(kept)}
        assert len({of[i].language for i in ids(kept)}) == 2
    dropped, _ = place.filter(place.write("r", records), "language.on=false")
    assert dropped == {
        "b": ("near-duplicate", "like a"),
        "b-eu": ("parallel-duplicate", "goes with b"),
        "c-eu2": ("duplicate", "like c-eu"),
        "p2": ("parallel-duplicate", "goes with q2"),
        "q2": ("duplicate", "like c"),
    }


def test_the_same_question_of_another_picture_is_no_duplicate(place: Workplace) -> None:
    one, two = (ImageRef(url="http://x/1.jpg"),), (ImageRef(url="http://x/2.jpg"),)
    records = [
        said("a", "Red.", "Which colour?", images=one),
        said("b", "Red.", "Which colour?", images=two),
        said("c", "red", "Which colour?", images=one),
        said("d", "Blue.", "Which colour is the sky?", images=one),
    ]
    path = place.write("r", records)
    assert set(place.filter(path)[0]) == {"c"}
    assert set(place.filter(path, "duplicates.by=text")[0]) == {"b", "c"}
    assert set(place.filter(path, "duplicates.by=image")[0]) == {"c", "d"}


def test_an_id_stays_unique(place: Workplace) -> None:
    one = place.write("one", [said("a", "One text."), said("b", "Another text.")])
    two = place.write("two", [said("a", "A third text."), said("a", "Testu bat.", language="eu")])
    dropped, kept = place.filter(one, two, "language.on=false")
    assert dropped == {"a": ("duplicate-id", "like a")}
    assert [(r.id, r.language) for r in kept] == [("a", "en"), ("b", "en"), ("a", "eu")]


# -- pictures


def scene(seed: int) -> Pillow.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    return Pillow.fromarray(noise).resize((160, 120), Pillow.Resampling.BICUBIC)


def encoded(picture: Pillow.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    picture.save(stream, kind)
    return stream.getvalue()


def sha(number: int) -> str:
    return f"{number:02x}" * 32


def row(
    url: str | None, number: int, picture: Pillow.Image | None = None, **of: Any
) -> ManifestRow:
    seen = picture or scene(number)
    about = {"width": seen.width, "height": seen.height, "phash": perceptual_hash(seen), **of}
    return ManifestRow(url, sha(number), "fetched", **about)


def at(*urls: str) -> tuple[ImageRef, ...]:
    return tuple(ImageRef(url=url) for url in urls)


def test_every_picture_is_looked_up(place: Workplace) -> None:
    flat = Pillow.new("RGB", (100, 100), "white")
    rows = [
        row("u1", 1),
        replace(row("u2", 1), status="duplicate"),
        ManifestRow("u3", None, "dead", "http-404", "Not Found"),
        ManifestRow("u4", None, "broken", "not-decodable"),
        row("u5", 5, width=20),
        row("u6", 6, width=2000),
        row(None, 7),
        row("u8", 8, scene(1).resize((90, 70))),  # another file that looks like the first
        row("w1", 11, flat),
        row("w2", 12, Pillow.new("RGB", (100, 100), "black")),  # says nothing, like the one before
    ]
    images = place.build("images", "x", rows=rows)
    records = [
        said("1", "A text.", images=at("u1")),
        said("2", "Another text.", images=at("u2", "u1")),
        said("3", "b", images=at("u3")),
        said("4", "c", images=at("u1", "u4")),
        said("5", "d", images=at("u5")),
        said("6", "e", images=at("u6")),
        said("7", "f", images=(ImageRef(sha256=sha(7)),)),
        said("8", "A text", images=at("u8")),
        said("9", "g", images=at("absent")),
        said("10", "h", images=(ImageRef(sha256="no hash"),)),
        said("11", "A text.", images=at("w1")),
        said("12", "A text.", images=at("w2")),
        said("13", "No picture."),
        said("14", "i", images=(ImageRef(sha256=sha(99), url="u3"),)),
    ]
    path = place.write("r", records)
    dropped, kept = place.filter(path, "--images", images.address)
    assert dropped == {
        "3": ("image-dead", "u3: http-404 Not Found"),
        "4": ("image-broken", "u4: not-decodable "),
        "5": ("image-small", "u5: 20 x 120"),
        "6": ("image-narrow", "u6: 2000 x 120"),
        "8": ("duplicate", "like 1"),
        "9": ("image-missing", "absent: not in the manifest"),
        "10": ("image-missing", "no hash: not in the manifest"),
        "14": ("image-dead", "u3: http-404 Not Found"),
    }
    assert ids(kept) == ["1", "2", "7", "11", "12", "13"]
    assert kept[1].images == (ImageRef(sha(1), "u2"), ImageRef(sha(1), "u1"))
    dropped, _ = place.filter(path, "--images", images.address, "images.min_side=10")
    assert "5" not in dropped


def test_an_artifact_without_a_manifest_is_refused(place: Workplace) -> None:
    path = place.write("r", [said("a", "text")])
    other = place.build("import", "o", [said("a", "text")])
    code, line = run(["filter", path, "--images", other.address, "--store", str(place.store.root)])
    assert code == 1
    assert "holds no images. Give what `ikusi images` made." in line


# -- benchmarks


def test_what_meets_a_benchmark_is_dropped_and_says_what_it_met(place: Workplace) -> None:
    rows = [row("train", 1), row("other", 2), row("bench", 3, scene(1).resize((80, 60)))]
    images = place.build("images", "x", rows=rows)
    bench = place.write(
        "bench",
        [
            said("q1", "The second.", QUESTION),
            said("q2", "Red.", "Which colour?", images=at("bench")),
            *(
                said(f"f{n}", f"{n}", "Answer " + "with the letter of the option " * 3)
                for n in range(12)
            ),
        ],
    )
    chat = "Here is a story about them. " * 2 + QUESTION.replace("lost", "sold") + " And then? "
    records = [
        said("copy", "No idea.", QUESTION.upper()),
        said("inside", chat),
        said("picture", "A cat.", images=at("train")),
        said("other", "A cat.", images=at("other")),
        said("short", "Blue.", "Which colour?"),  # asked everywhere
        said("form", "B", "Answer " + "with the letter of the option " * 3),  # the benchmark's form
    ]
    dropped, kept = place.filter(
        place.write("r", records), "--against", bench, "--images", images.address
    )
    assert {identity: reason for identity, (reason, _) in dropped.items()} == {
        "copy": "contaminated-text",
        "inside": "contaminated-text",
        "picture": "contaminated-image",
    }
    assert all(detail.startswith("bench: q") for _, detail in dropped.values())
    assert dropped["picture"][1].startswith("bench: q2 (picture: ")
    assert ids(kept) == ["other", "short", "form"]
    assert "against bench: 14 records; " in place.out


def test_pictures_of_a_benchmark_are_looked_at_where_they_are(place: Workplace) -> None:
    data = encoded(scene(1).resize((80, 60)))
    import hashlib

    inline = (ImageRef(sha256=hashlib.sha256(data).hexdigest()),)
    bench = place.build(
        "import", "vqa", [said("q", "Red.", "What?", images=inline)], pictures=[data]
    )
    images = place.build("images", "x", rows=[row("train", 1), row("other", 2)])
    records = [
        said("a", "A cat.", images=at("train")),
        said("b", "A cat.", images=at("other")),
    ]
    arguments = ("--against", bench.address, "--images", images.address)
    dropped, _ = place.filter(place.write("r", records), *arguments)
    assert {k: reason for k, (reason, _) in dropped.items()} == {"a": "contaminated-image"}
    # Without a manifest, the very same bytes are still known.
    records = [said("same", "A cat.", images=inline), said("b", "A cat.", images=at("other"))]
    dropped, _ = place.filter(place.write("r", records), "--against", bench.address)
    assert dropped == {"same": ("contaminated-image", "vqa: q (the same picture)")}
    assert "without --images it is not known" in place.out


def test_a_translation_goes_with_its_original(place: Workplace) -> None:
    bench = place.write("bench", [said("q", "The second.", QUESTION)])
    english = [said("e1", "No idea.", QUESTION), said("e2", "A dog.", "What?")]
    basque = [
        said("b1", "Ez dakit.", "Zein da?", language="eu", group="e1", parent="e1"),
        said("b2", "Txakur bat.", "Zer da?", language="eu", group="e2", parent="e2"),
    ]
    # Both are filtered.
    both = place.write("both", english + basque)
    dropped, _ = place.filter(both, "--against", bench)
    assert {k: reason for k, (reason, _) in dropped.items()} == {
        "e1": "contaminated-text",
        "b1": "parallel-contaminated",
    }
    # The original is named.
    alone, source = place.write("alone", basque), place.write("source", english)
    for _ in range(2):
        dropped, kept = place.filter(alone, "--against", bench, "--originals", source)
        assert dropped["b1"][0] == "contaminated-text"
        assert dropped["b1"][1].startswith("its original: bench: q (")
        assert ids(kept) == ["b2"]
    # Or the store knows it.
    imported = place.build("import", "en", english)
    inputs = {"records": imported.address}
    translated = place.build("translate", "eu", basque, inputs=inputs)
    dropped, _ = place.filter(translated.address, "--against", bench)
    assert set(dropped) == {"b1"}
    place.capsys.readouterr()
    assert place.filter(alone, "--against", bench)[0] == {}
    assert "name what it was translated from by --originals" in place.out


def test_a_parallel_of_what_was_dropped_for_itself_stays(place: Workplace) -> None:
    records = [
        said("a", "<b>A</b> dog<br>"),
        said("a-eu", "Txakur bat.", language="eu", group="a", parent="a"),
    ]
    dropped, kept = place.filter(place.write("r", records))
    assert dropped["a"][0] == "html"
    assert ids(kept) == ["a-eu"]


# -- the verb


def test_the_address_depends_on_what_can_change_the_result(place: Workplace) -> None:
    path = place.write("r", [said("a", "A dog on a beach.")])
    config = place.folder / "filters.yaml"
    config.write_text("length: {max_tokens: 3}\n")

    def address(*arguments: str) -> str:
        place.filter(path, *arguments)
        return place.out.split()[-1]

    default = address()
    assert address("contamination.ngram=5") == default  # no benchmark, no effect
    assert address("images.min_side=5") == default
    assert address("length.max_tokens=5000") != default
    assert address("--config", str(config)) == address("length.max_tokens=3") != default
    assert address("--config", str(config), "length.max_tokens=8000") == default
    assert place.filter(path, "--config", str(config))[0]["a"][0] == "too-long"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["absent"], "'absent': no artifact, link or folder of this name"),
        (["length.max_tokens=3"], "no records are named"),
        (
            ["{r}", "length.max_token=3"],
            "unknown key 'length.max_token'. Did you mean 'max_tokens'",
        ),
        (["{r}", "length.cutoff_len=3"], "Here it is called 'max_tokens'"),
        (["{r}", "duplicates.image_distance=9"], "duplicates.image_distance: Input should be less"),
        (["{r}", "--config", "absent.yaml"], "absent.yaml: cannot be read"),
        (["{torn}"], "torn.parquet: cannot be read"),
        (["{r}", "--against", "{torn}"], "torn.parquet: cannot be read"),
        (["{r}", "--images", "absent"], "'absent': no artifact"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    place: Workplace, arguments: list[str], line: str
) -> None:
    path = place.write("r", [said("a", "text")])
    torn = place.folder / "torn.parquet"
    torn.write_bytes(Path(path).read_bytes()[:-50])
    given = [argument.format(r=path, torn=torn) for argument in arguments]
    code, told = run(["filter", *given, "--store", str(place.store.root)])
    assert code == 1
    assert line in told
    assert "\n" not in told


def test_links_are_names_and_a_dry_run_makes_nothing(
    place: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.folder)
    imported = place.build("import", "cc", [said("a", "A dog on a beach.")])
    place.store.link(Path("runs", "data", "cc"), imported)
    assert run(["filter", "cc", "--dry-run"]) == (0, "")
    out = place.out
    assert "filter/cc-" in out
    assert "would be made" in out
    assert imported.address in out
    assert place.store.ls("filter") == []
    assert run(["filter", "cc"]) == (0, "")
    assert Path("runs", "data", "cc-filtered", "records").is_dir()
    assert run(["filter", "cc", "--dry-run"]) == (0, "")
    assert "is there already" in place.out


def test_no_records_at_all(place: Workplace) -> None:
    dropped, kept = place.filter(place.write("r", []))
    assert dropped == {}
    assert kept == []


def test_show_tells_the_flow_and_what_was_dropped(place: Workplace) -> None:
    records = [said("a", "A dog."), said("b", "A <b>dog</b><br>"), said("c", "A cat.")]
    place.filter(place.write("r", records), name="shown")
    link = str(place.folder / "runs" / "data" / "shown")
    place.capsys.readouterr()
    assert run(["show", link, "--limit", "1"]) == (0, "")
    out = place.out
    assert "filter shown" in out
    assert "html 1" in out
    assert "Records: 1 of 2" in out
    assert run(["show", link, "--dropped", "html"]) == (0, "")
    out = place.out
    assert "Dropped as html: 1 of 1" in out
    assert "A <b>dog</b><br>" in out
    code, line = run(["show", link, "--dropped", "htlm"])
    assert (code, line.endswith("dropped nothing as 'htlm'. Did you mean 'html'?")) == (1, True)


# -- kills


def many(count: int) -> list[Record]:
    chance = random.Random(7)
    words = [f"hitz{n}" for n in range(500)]
    texts = [" ".join(chance.choices(words, k=30)) for _ in range(count // 2)]
    texts += [text.replace("hitz1", "hitz2", 1) for text in texts]
    return [said(f"r{n}", text) for n, text in enumerate(texts)]


def test_torn_columns_of_a_killed_run_are_made_again(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    with open(path, "wb") as stream:
        np.savez(stream, is_dropped=np.zeros(4, bool), drops=np.frombuffer(b"{}", np.uint8))
    assert is_whole(path, 4)
    assert not is_whole(path, 5)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert not is_whole(path, 4)
    assert not is_whole(tmp_path / "absent.npz", 4)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_at_random_moments_it_comes_to_the_same(tmp_path: Path) -> None:
    write_records(tmp_path / "r.parquet", many(600))
    command = [sys.executable, __file__, str(tmp_path)]
    chance = random.Random(SEED)
    kills = 0
    for _ in range(3):
        child = subprocess.Popen([*command, "store"], stdout=subprocess.PIPE)
        assert child.stdout is not None
        for _ in range(chance.randrange(1, 50)):
            child.stdout.readline()
        child.send_signal(signal.SIGKILL)
        kills += child.wait() == -signal.SIGKILL
        child.stdout.close()
    assert kills
    for store in ("store", "alone"):
        subprocess.run([*command, store], check=True, stdout=subprocess.DEVNULL, timeout=120)
    made, alone = (Store(tmp_path / store).resolve("filter/r") for store in ("store", "alone"))
    assert made.manifest.payload == alone.manifest.payload
    assert made.stats["read"] == 600
    assert made.stats["dropped"]["near-duplicate"] > 50


def filter_in_small_shards(folder: Path, store: str) -> None:
    """Run the verb and say each operation on the disk."""
    from functools import partial

    from ikusi.core import log
    from ikusi.data import filter_commands
    from ikusi.data.filters import step

    log.set_sink(lambda update: None)
    original = os.replace

    def said_so(*arguments: Any) -> None:
        original(*arguments)
        print("done", flush=True)

    os.replace = said_so  # type: ignore[assignment]
    filter_commands.filter_records = partial(step.filter_records, shard_records=40)  # type: ignore[assignment]
    places = ["--store", str(folder / store), "--runs", str(folder / "runs")]
    code, line = run(["filter", str(folder / "r.parquet"), "language.on=false", *places])
    assert code == 0, line


if __name__ == "__main__":
    filter_in_small_shards(Path(sys.argv[1]), sys.argv[2])
