"""Every published schema, as small files of it: what becomes of a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.data.sources import samples
from tests.data.sources.samples import FILES, URLS, png, sha

from ikusi.core.artifact import Artifact
from ikusi.core.errors import ConfigError, DataError
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.core.types import Image, ImageRef, Record, Text, Turn, assistant, user
from ikusi.data.images import ImageReader
from ikusi.data.import_plan import Request, resolve
from ikusi.data.sources.registry import SOURCES, find_source
from ikusi.data.steps import read_drops


def make(tmp_path: Path, what: str, files: Path | None = None, **options: Any) -> Artifact:
    wanted = resolve(Request(what=what, files=files, **options))
    return Store(tmp_path / "store").build(*wanted.plan())


def records(artifact: Artifact) -> list[Record]:
    return list(read_records(artifact.path / "records"))


def imported(tmp_path: Path, name: str, **options: Any) -> list[Record]:
    return records(make(tmp_path, name, FILES[name.partition("@")[0]](tmp_path), **options))


def test_there_is_a_sample_of_every_source() -> None:
    assert set(FILES) == set(SOURCES)


@pytest.mark.parametrize("name", FILES)
def test_rows_in_are_records_and_drops(name: str, tmp_path: Path) -> None:
    source = SOURCES[name]
    told = source.is_format or source.any_language
    artifact = make(tmp_path, name, FILES[name](tmp_path), language="eu" if told else "")
    found, stats = records(artifact), artifact.stats
    made = len(found) + sum(1 for _ in read_drops(artifact.path))
    assert stats["kept"] == len(found)
    assert stats["read"] * stats["records_a_row"] == made
    assert len({record.id for record in found}) == len(found)
    assert all(record.language in ("en", "eu") for record in found)
    inline = {image.sha256 for r in found for image in r.images if image.url is None}
    if inline:
        assert inline <= set(ImageReader(artifact.path / "images").sha256s())
    else:
        assert not (artifact.path / "images").exists()
    for record in found:
        marks = [p.index for t in record.turns for p in t.parts if isinstance(p, Image)]
        assert marks == list(range(len(record.images)))
        assert source.evaluates == (record.turns[-1].role == "user")


@pytest.mark.parametrize("name", ["cc3m", "cc3m-tsv", "cc3m-wds"])
def test_three_files_of_cc3m_are_one_set(name: str, tmp_path: Path) -> None:
    found = records(make(tmp_path, "cc3m", FILES[name](tmp_path)))
    assert [r.group for r in found] == URLS
    assert {r.source for r in found} == {"cc3m"}
    caption = 'a "dog" 1' if name == "cc3m-tsv" else "a dog 1"
    assert found[1].turns == (user(Image(0)), assistant(caption))
    if name != "cc3m-wds":
        assert found[1].images == (ImageRef(url=URLS[1]),)


def test_cc3m_eu_gives_two_records_of_a_row(tmp_path: Path) -> None:
    en, eu, *_ = imported(tmp_path, "cc3m-eu")
    assert (en.language, eu.language) == ("en", "eu")
    assert en.group == eu.group == URLS[0]
    assert en.images == eu.images == (ImageRef(url=URLS[0]),)
    assert eu.parent == en.id and en.parent is None
    assert (en.provenance, eu.provenance) == ("native", "HiTZ/mt-hitz-en-eu")


def test_one_language_of_a_set_by_name(tmp_path: Path) -> None:
    artifact = make(tmp_path, "cc3m@eu", samples.cc3m_eu(tmp_path))
    found = records(artifact)
    assert artifact.manifest.name == "cc3m@eu"
    assert [r.language for r in found] == ["eu"] * 3
    assert {r.parent for r in found} == {None}
    assert {r.source for r in found} == {"cc3m"}


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("pixmo-cap@eu", None),
        ("pixmo-ama@eu", "pixmo-ama-eu"),
        ("pixmo-cap-qa@eu", "pixmo-cap-qa-eu"),
        ("magpie@eu", "magpie-eu"),
        ("vqav2@eu", "vqa-v2-eu"),
        ("vqav2@en", "vqav2"),
        ("aokvqa@eu", "a-ok-vqa-eu"),
        ("mmstar@eu", "mmstar-eu"),
        ("wit@qu", "wit"),
        ("HiTZ/ConceptualCaptions_eu", "cc3m-eu"),
        ("pixmo-ask-model-anything", "pixmo-ama"),
    ],
)
def test_names(name: str, found: str | None) -> None:
    if found is None:
        with pytest.raises(ConfigError, match=r"published in en, not in 'eu'.*ikusi translate"):
            find_source(name)
    else:
        assert find_source(name)[0].name == found


def test_pixmo(tmp_path: Path) -> None:
    (ama,) = imported(tmp_path, "pixmo-ama")
    assert ama.group == "ab" * 32
    assert ama.images == (ImageRef(sha256="ab" * 32, url=URLS[0]),)
    assert ama.turns == (user(Image(0), "What?"), assistant("A dog."))
    assert ama.licence == "ODC-BY-1.0"
    (qa,) = imported(tmp_path, "pixmo-cap-qa")
    assert [turn.role for turn in qa.turns] == ["user", "assistant"] * 2
    assert qa.turns[3].text == "On a <image> mat."  # no mark there: it is only text
    (eu,) = imported(tmp_path, "pixmo-ama-eu")
    assert eu.group == sha(png())


def test_finevision_keeps_its_ratings(tmp_path: Path) -> None:
    (found,) = imported(tmp_path, "finevision")
    assert found.turns[0].parts == (Image(0), Image(1), Text("What?"))
    assert found.ratings == {
        "relevance": (5, 0),
        "visual_dependency": (5, 1),
        "image_correspondence": (5, 2),
        "formatting": (5, 3),
    }
    assert found.meta == {"source": "ai2d"}


def test_formats_with_marks(tmp_path: Path) -> None:
    (tmp_path / "llava").mkdir()
    one, text = imported(tmp_path / "llava", "llava", language="eu")
    assert one.turns[0].parts == (Image(0), Text("What is it?"))
    assert (len(one.turns), one.images) == (4, (ImageRef(sha256=sha(png())),))
    assert (text.images, text.language) == ((), "eu")
    (tmp_path / "sharegpt").mkdir()
    (two,) = imported(tmp_path / "sharegpt", "sharegpt", language="en")
    assert two.turns[0] == Turn("system", (Text("Be short."),))
    parts = two.turns[1].parts
    assert parts == (Text("Is "), Image(0), Text(" like "), Image(1), Text("?"))
    (tmp_path / "swift").mkdir()
    inline, url, nothing = imported(tmp_path / "swift", "ms-swift", language="en")
    assert inline.images == (ImageRef(sha256=sha(png())),)
    assert url.images == (ImageRef(url=URLS[0]),)
    assert nothing.images == () and len(nothing.turns) == 3


def test_text_of_one_language_is_passed_on(tmp_path: Path) -> None:
    artifact = make(tmp_path, "wit@eu", samples.wit(tmp_path))
    (found,) = records(artifact)
    assert found.turns[-1].text == 'Txakur "bat"'
    assert artifact.stats["passed_over"] == {"other-language": 1}
    assert [drop["reason"] for drop in read_drops(artifact.path)] == ["text-empty"]
    artifact = make(tmp_path, "wikimedia-captions@eu", samples.wikimedia(tmp_path))
    (found,) = records(artifact)
    assert (found.turns[-1].text, found.group) == ("Txakur bat", URLS[0])
    with pytest.raises(ConfigError, match="Say --language"):
        resolve(Request(what="wit", files=samples.wit(tmp_path)))


def test_evaluation_sets(tmp_path: Path) -> None:
    (vqa,) = imported(tmp_path, "vqav2")
    assert vqa.answers == ("puppy",) * 5 + ("dog",) * 3 + ("animal",) * 2
    assert (vqa.group, vqa.task, len(vqa.turns)) == ("262148000", "vqav2", 1)
    (aok,) = imported(tmp_path, "aokvqa")
    assert aok.choices == ("skateboarder", "train", "delivery", "cab")
    assert aok.answers == ("cab",)
    (tmp_path / "eu").mkdir()
    (eu,) = imported(tmp_path / "eu", "a-ok-vqa-eu")
    assert (eu.answers, eu.language, eu.group) == (("taxia",), "eu", aok.group)
    (wild,) = imported(tmp_path, "wildvision")
    assert (wild.task, wild.answers, wild.turns[0].text) == ("wildvision", (), "Describe it.")
    good, whole = imported(tmp_path, "mmstar")
    assert good.turns[0].text == "Where is it?"
    assert good.choices == ("On the mat, yes.", "Under it.", "No", "Yes")
    assert good.answers == ("Under it.",)
    assert (whole.choices, whole.answers) == (("A", "B", "C", "D"), ("B",))
    assert whole.turns[0].text == "No options here"
    (tmp_path / "star").mkdir()
    (star,) = imported(tmp_path / "star", "mmstar-eu")
    assert (star.answers, star.turns[0].text, star.language) == (("Azpian",), "Non dago?", "eu")


def test_mmbench_finds_the_picture_of_another_row(tmp_path: Path) -> None:
    first, again = imported(tmp_path, "mmbench")
    assert first.turns[0].text == "Look\nclosely.\nWhat is it?"
    assert first.answers == ("dog",) == again.answers
    assert again.choices == ("dog", "cat")
    assert first.images == again.images == (ImageRef(sha256=sha(png())),)


def test_xm3600_gives_the_captions_of_one_language(tmp_path: Path) -> None:
    artifact = make(tmp_path, "xm3600", samples.xm3600(tmp_path), language="es")
    (found,) = records(artifact)
    assert found.answers == ("Un perro.", "Un perro marrón.")
    assert found.turns == (user(Image(0)),)
    assert artifact.stats["passed_over"] == {"other-language": 1}


def test_splits_of_two_languages(tmp_path: Path) -> None:
    data = samples.vqa_v2_eu(tmp_path)
    both = records(make(tmp_path, "vqa-v2-eu", data))
    assert [(r.language, r.turns[0].text) for r in both] == [
        ("en", "What is it?"),
        ("eu", "Zer da?"),
    ]
    assert both[0].group == both[1].group and both[0].id != both[1].id
    (eu,) = records(make(tmp_path, "vqav2@eu", data))
    assert eu == both[1]
    (data / "eu-00000-of-00001.parquet").rename(tmp_path / "some.parquet")
    with pytest.raises(ConfigError, match="Give --language"):
        resolve(Request(what="vqa-v2-eu", files=tmp_path / "some.parquet"))
    (told,) = records(make(tmp_path, "vqav2@eu", tmp_path / "some.parquet"))
    assert told.language == "eu"


def test_drift_shows_expected_and_found_columns(tmp_path: Path) -> None:
    row = {"url": URLS[0], "caption": 3, "transcripts": ["a"]}
    path = samples.parquet(tmp_path / "p.parquet", [row])
    with pytest.raises(DataError) as raised:
        resolve(Request(what="pixmo-cap", files=path))
    told = str(raised.value)
    assert "image_url is missing" in told and "caption is int, not text" in told
    assert "Expected: image_url (text), caption (text), transcripts (list, optional)" in told
    assert "Found: url (text), caption (int), transcripts (list)" in told
    assert "\n" not in told and "assumed" not in told
    path = samples.parquet(tmp_path / "m.parquet", [{"turns": ["a"]}])
    with pytest.raises(DataError, match="columns are assumed"):
        resolve(Request(what="magpie", files=path))


def test_drift_in_a_later_file_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    folder.mkdir()
    samples.cc3m(folder).rename(folder / "a.parquet")
    samples.parquet(folder / "b.parquet", [{"image_url": URLS[0]}])
    with pytest.raises(DataError, match=r"b\.parquet.*caption is missing"):
        make(tmp_path, "cc3m", folder)
