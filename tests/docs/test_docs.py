"""The documents: what they show runs, links lead somewhere, what is generated is up to date."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ikusi.__main__ import run
from ikusi.languages.pack import Pack

ROOT = Path(__file__).parent.parent.parent
PAGES = (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "data").glob("*.md"))
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, *kinds: str) -> list[tuple[str, str]]:
    """Return kind and text of the page's blocks of these kinds, in order."""
    found = FENCE.findall(TEXTS[page])
    return [
        (kind, re.sub(f"^{indent}", "", text, flags=re.M))
        for indent, kind, text in found
        if kind in kinds
    ]


def with_blocks(*kinds: str) -> list[str]:
    return sorted(page for page in TEXTS if blocks(page, *kinds))


@pytest.fixture
def finished(tiny_study: Path, tmp_path: Path) -> Path:
    """A folder in which the quickstart was run, so to speak, and with a picture."""
    shutil.copytree(tiny_study / "store", tmp_path / "store", symlinks=True)  # pages add to it
    (tmp_path / "runs").mkdir()
    links = tmp_path / "runs" / "quickstart"
    links.mkdir()
    for link in (tiny_study / "runs" / "tiny").iterdir():
        if link.is_symlink():
            (links / link.name).symlink_to(os.readlink(link))
    Image.new("RGB", (120, 90), "orange").save(tmp_path / "picture.png")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.xdist_group("tiny study")
@pytest.mark.parametrize("page", with_blocks("bash", "python"))
def test_what_is_shown_runs(page: str, finished: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for kind, text in blocks(page, "bash", "python", "yaml"):
        if kind == "yaml":
            if name := re.match(r"# (\S+\.yaml)\n", text):
                (finished / name[1]).write_text(text, encoding="utf-8")
            continue
        command = ["bash", "-euo", "pipefail", "-c"] if kind == "bash" else [sys.executable, "-c"]
        done = subprocess.run(
            [*command, text],
            cwd=finished,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{text}\n{done.stdout}{done.stderr}"
        assert "Traceback" not in done.stderr


def shown_commands() -> Iterator[tuple[str, str]]:
    """Yield the commands of all `console` blocks, with the output that is shown."""
    for page in with_blocks("console"):
        if page == "docs/languages.md":  # which says how to make the pack that its study needs
            continue
        for _, text in blocks(page, "console"):
            for command in re.split(r"^\$ |^(?=make )", text, flags=re.MULTILINE)[1:]:
                line, _, output = command.partition("\n")
                yield line.partition(" #")[0].strip(), output.strip()


COMMANDS = dict(shown_commands())


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if c.startswith(("ikusi study ", "ikusi run "))]
)
def test_shown_studies_can_be_planned(command: str, tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    code, line = run([*shlex.split(command)[1:], "--dry-run", "--store", store])
    assert line == COMMANDS[command]
    assert (code == 0) == (not line)


def test_shown_make_targets_and_scripts_are_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    assert {"study", "test"} <= {c.split()[1] for c in COMMANDS if c.startswith("make ")} <= targets
    scripts = re.findall(r"\b((?:scripts|benchmarks|tests)/[\w./]*\w)", "".join(TEXTS.values()))
    missing = {name for name in scripts if not (ROOT / name).exists()}
    assert missing <= {"benchmarks/results"}  # made by the scripts


def slugs(text: str) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", sorted(TEXTS))
def test_links_lead_somewhere(page: str) -> None:
    wrong = []
    for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[page])):
        name, _, anchor = link.partition("#")
        if "://" in name:
            continue
        target = (ROOT / page).parent / name if name else ROOT / page
        if not target.exists() or (
            anchor and anchor not in slugs(target.read_text(encoding="utf-8"))
        ):
            wrong.append(link)
    assert not wrong


def test_every_page_is_reached_from_the_readme() -> None:
    reached, todo = set(), ["README.md"]
    while todo:
        page = todo.pop()
        if page in TEXTS and page not in reached:
            reached.add(page)
            links = re.findall(r"\]\(([^)#\s]+)", TEXTS[page])
            todo += [os.path.normpath(os.path.join(os.path.dirname(page), x)) for x in links]
    assert reached == set(TEXTS)


@pytest.mark.parametrize("script", ["cli_reference", "recipe_reference"])
def test_generated_pages_are_up_to_date(script: str) -> None:
    command = [sys.executable, str(ROOT / "scripts" / script), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


OPTION = r"--[a-z][a-z-]*"
VERBS = re.findall(r"^## ikusi (.+)$", TEXTS["docs/cli.md"], re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_the_reference_has_the_options_that_help_shows(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert run([*verb.split(), "--help"]) == (0, "")
    shown = set(re.findall(OPTION, capsys.readouterr().out))
    _, _, section = TEXTS["docs/cli.md"].partition(f"\n## ikusi {verb}\n")
    written = set(re.findall(OPTION, section.partition("\n## ")[0]))
    assert written | {"--help"} == shown


def test_every_key_of_a_language_pack_is_explained() -> None:
    explained = set(re.findall(r"^\| `(\w+)", TEXTS["docs/languages.md"], re.MULTILINE))
    explained |= set(re.findall(r"`(\w+)`(?=[, ].*\|$)", TEXTS["docs/languages.md"], re.MULTILINE))
    assert set(Pack.model_fields) <= explained
