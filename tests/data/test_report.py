"""The report on a data set: complete, the same as the store, harmless whatever the data say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.browser import chromium, needs_chromium, open_quietly
from tests.data.published import Chain, build_chain

from ikusi.__main__ import run
from ikusi.core.records import read_records, write_records
from ikusi.data.dataset import open_dataset
from ikusi.data.report import content_text
from ikusi.data.report_data import PICTURES, Lengths, Lowest, gather

HOSTILE = '</text></svg><script>alert(1)</script> " onload="alert(2) \u202eevil {n} | `x`'


def report(chain: Chain, name: str, runs: Path) -> tuple[str, str]:
    store = str(chain.store.root)
    assert run(["report", name, "--store", store, "--runs", str(runs)]) == (0, "")
    (folder,) = (runs / "data").iterdir()
    return tuple((folder / f"report.{kind}").read_text(encoding="utf-8") for kind in ("html", "md"))  # type: ignore[return-value]  # two


def test_the_numbers_are_those_of_the_store(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store")
    page, text = report(chain, chain.basque.address, tmp_path / "runs")
    for words in ("12 read, 9 kept", "− 3 untranslated", "import pixmo-en", "quality.chrf", "51.5"):
        assert words in page, words
    assert f"| {chain.basque.address.replace('_', chr(92) + '_')} | 12 | 9 | 3 |" in text
    assert "| translate pixmo-eu | untranslated | 3 |" in text
    assert page.count("<img ") == 9


def test_pictures_stand_with_their_texts_in_both_languages(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store")
    found = gather(open_dataset(chain.basque.address, chain.store), chain.store)
    assert {tuple(r.language for r in records) for records in found.groups.values()} == {
        ("en", "eu")
    }
    page, _ = report(chain, chain.basque.address, tmp_path / "runs")
    assert "What is in picture 0?" in page
    assert "Zer dago en-0 irudian?" in page


def test_dropped_rows_are_shown_as_they_were(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store")
    page, text = report(chain, chain.basque.address, tmp_path / "runs")
    assert "user: [picture] What is in picture 3?" in page
    assert "came back as it was" in page
    assert "untranslated, such as en-" in text


def test_groups_are_a_whole_and_the_same_each_time(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", rows=60)
    store = chain.store
    english = list(read_records(chain.english.path / "records"))
    # Each group twice, far from each other.
    again = [replace(record, id=f"{record.id}-again") for record in english]
    first = gather(open_dataset(chain.english.address, store), store)
    assert len(first.groups) == PICTURES
    lowest = Lowest(PICTURES)
    for record in [*english, *again]:
        lowest.offer(record.group, record)
    assert set(lowest.found) == set(first.groups)
    assert all(len(records) == 2 for records in lowest.found.values())


def test_lengths() -> None:
    lengths = Lengths()
    for characters in [0, 1, *([100] * 97), 100_000]:
        lengths.add(characters)
    assert 80 <= lengths.quantile(0.5) <= 120
    assert lengths.quantile(0.001) == 0
    assert 80_000 <= lengths.quantile(1.0) <= 120_000
    assert Lengths().quantile(0.5) == 0


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        ('{"turns": [{"role": "user", "parts": [{"type": "text", "text": "a"}]}]}', "user: a"),
        ('{"caption": "x"}', '{"caption": "x"}'),
        ("not json", "not json"),
        ('{"turns": 3}', '{"turns": 3}'),
        ("[1]", "[1]"),
        ('{"turns": [{"role": "user", "parts": [7]}]}', '{"turns": [{"role"'),
    ],
)
def test_whatever_a_ledger_holds_is_shown(content: str, shown: str) -> None:
    assert content_text({"content": content}).startswith(shown)


def test_a_plain_file_has_a_report_too(tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", rows=2)
    file = tmp_path / "mine.parquet"
    write_records(file, read_records(chain.english.path / "records"))
    page, _ = report(chain, str(file), tmp_path / "runs")
    assert "what was before them is not known" in page


def test_an_empty_set_has_a_report_too(tmp_path: Path) -> None:
    write_records(tmp_path / "none.parquet", [])
    chain = build_chain(tmp_path / "store", rows=1)
    page, _ = report(chain, str(tmp_path / "none.parquet"), tmp_path / "runs")
    assert "0 records in no language" in page


WRONG = [
    (["quickstrat"], "Did you mean 'quickstart'"),
    (["none.parquet"], "is no recipe, and no data set"),
    (["{set}", "target=eu"], "takes no such changes"),
    (["nothing.yaml"], "no such file"),
]


@pytest.mark.parametrize(("arguments", "part"), WRONG, ids=[a[0] for a, _ in WRONG])
def test_mistakes_are_one_line(arguments: list[str], part: str, tmp_path: Path) -> None:
    chain = build_chain(tmp_path / "store", rows=1)
    filled = [text.format(set=chain.english.address) for text in arguments]
    code, line = run(["report", *filled, "--store", str(chain.store.root)])
    assert code == 1
    assert part in line
    assert "\n" not in line
    assert "unexpected" not in line


def test_a_step_that_is_gone_is_named(tmp_path: Path) -> None:
    import shutil

    chain = build_chain(tmp_path / "store", rows=4)
    shutil.rmtree(chain.english.path)
    page, text = report(chain, chain.basque.address, tmp_path / "runs")
    assert f"Not in the store any more: {chain.english.address}" in page
    assert "Not in the store any more" in text


@needs_chromium
@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1200, "light")])
def test_in_a_browser(tmp_path: Path, width: int, scheme: str) -> None:
    chain = build_chain(tmp_path / "store", rows=9, question=HOSTILE, licence=HOSTILE[:40])
    report(chain, chain.basque.address, tmp_path / "runs")
    (path,) = (tmp_path / "runs").rglob("report.html")
    with chromium() as browser:
        page = open_quietly(browser, path, width, scheme)
        images = page.locator("img")
        assert images.count() == 7
        assert all(
            image.evaluate("i => i.complete && i.naturalWidth > 0") for image in images.all()
        )
        assert page.locator("script").count() == 0
        assert page.locator(".flow rect").count() == 4
