"""Talking to a model, from Python and by `ikusi ask`, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import ikusi
from ikusi.__main__ import run
from ikusi.ask import ask_about, draw_scene, render, tell_apart
from ikusi.core.errors import CorruptArtifact, DataError
from ikusi.core.store import Store
from ikusi.languages.pack import load_pack
from ikusi.world.grammar import Voice, can_ask
from ikusi.world.scene import draw
from ikusi.world.vocabulary import choose_vocabulary

slow = [pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("tiny study")]


def test_a_picture_and_a_question_are_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "picture"
    file.touch()
    assert tell_apart([]) == (None, None)
    assert tell_apart([str(file)]) == (file, None)
    assert tell_apart(["gone.PNG"]) == (Path("gone.PNG"), None)
    assert tell_apart(["Zer dago irudian?"]) == (None, "Zer dago irudian?")
    assert tell_apart(["Zer? " * 200]) == (None, "Zer? " * 200)
    assert tell_apart([str(tmp_path)]) == (None, str(tmp_path))
    assert tell_apart(["what", "is it?"]) == (Path("what"), "is it?")


@pytest.fixture(scope="module")
def voice() -> Voice:
    vocabulary = choose_vocabulary("en", "eu", num_paired=32, num_probe=4, kinds=("animal", "food"))
    return Voice(load_pack("eu"), load_pack("en"), vocabulary)


def test_scenes_are_unseen_and_their_questions_have_answers(voice: Voice) -> None:
    asked = set()
    for seed in range(60):
        scene = draw_scene(voice, seed)
        assert all(voice.vocabulary.unseen_colour[e] == scene.colour for e in scene.emojis)
        assert scene == draw_scene(voice, seed)
        question, answer = ask_about(scene, voice, seed)
        assert (question, answer) == ask_about(scene, voice, seed)
        assert question and answer and "{" not in question + answer
        asked.add(question)
    assert len(asked) > 20


def test_a_pack_of_one_sentence_can_be_asked_about_every_scene(voice: Voice) -> None:
    whole = voice.pack
    only = whole.model_copy(update={"tasks": {"what": whole.tasks["what"]}})
    poor = Voice(only, voice.other, voice.vocabulary)
    for seed in range(20):
        scene = draw_scene(poor, seed)
        assert can_ask("what", scene)
        assert ask_about(scene, poor, seed)[1] == poor.names[scene.emojis[0]]


def test_a_scene_is_shown_in_half_blocks(voice: Voice) -> None:
    picture = Image.fromarray(draw(draw_scene(voice, 1)))
    text = render(picture, columns=12)
    assert text.plain.splitlines() == ["▀" * 12] * 6
    left = text.get_style_at_offset(_console(), 0)
    assert left.color is not None and left.bgcolor is not None
    tall = render(picture.resize((10, 90)), columns=3)
    assert len(tall.plain.splitlines()) == 14


def _console() -> object:
    from rich.console import Console

    return Console()


@pytest.mark.parametrize("name", ["nowhere/at/all", "./model", "~/model", "a b"])
def test_there_is_no_such_model(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such model"):
        ikusi.load(name, tmp_path / "store")


def test_an_empty_folder_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no model is in this folder"):
        ikusi.load(tmp_path)


BROKEN = [(None, "no such picture"), (b"", "broken"), (b"text", "broken"), ("cut", "broken")]


@pytest.mark.parametrize(("content", "part"), BROKEN)
def test_pictures_that_are_none(content: bytes | str | None, part: str, tmp_path: Path) -> None:
    picture = tmp_path / "p.png"
    if content == "cut":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(picture)
        picture.write_bytes(picture.read_bytes()[:3000])
    elif isinstance(content, bytes):
        picture.write_bytes(content)
    code, line = run(["ask", "model", str(picture), "Zer?"])
    assert code == 1
    assert part in line and str(picture) in line and "\n" not in line


class TestTrained:
    """With the models of the tiny study, which know nothing: what is asked is what is tested."""

    pytestmark = slow

    @pytest.fixture
    def best(self, tiny_study: Path) -> Path:
        return tiny_study / "runs" / "tiny" / "best"

    def test_answers_by_link_folder_address_and_from_a_file(
        self, tiny_study: Path, best: Path, tmp_path: Path
    ) -> None:
        model = ikusi.load(best)
        assert model.sees
        picture = tmp_path / "p.png"
        Image.fromarray(np.full((40, 60, 4), 200, np.uint8)).save(picture)
        said = model.answer(picture, "Zer dago irudian?", max_new_tokens=5)
        assert said == model.answer(Image.open(picture), "Zer dago irudian?", max_new_tokens=5)
        assert isinstance(model.answer(None, "Zer da hau?", max_new_tokens=2), str)
        assert model.artifact is not None
        shutil.copytree(best / "model", tmp_path / "copy")
        for same in (str(best), best / "model", tmp_path / "copy", model.artifact.address):
            other = ikusi.load(same, tiny_study / "store")
            assert other.answer(picture, "Zer dago irudian?", max_new_tokens=5) == said

    def test_models_that_do_not_fit(self, tiny_study: Path) -> None:
        store = Store(tiny_study / "store")
        text = next(a for a in store.ls("text"))
        model = ikusi.load(text.path)
        assert not model.sees
        with pytest.raises(DataError, match="text-only"):
            model.answer(Image.new("RGB", (9, 9)), "Zer?")
        with pytest.raises(DataError, match="is empty"):
            model.answer(None, " ")
        for kind in ("mix", "encoder", "tokenizer", "evaluate"):
            with pytest.raises(DataError, match=f"of kind '{kind}'"):
                ikusi.load(store.ls(kind)[0].path)
        with pytest.raises(DataError, match="Did you mean 'best'"):
            ikusi.load(tiny_study / "runs" / "tiny" / "bset")
        with pytest.raises(DataError, match="Choose one in it: best, "):
            ikusi.load(tiny_study / "runs" / "tiny")

    def test_a_damaged_model_is_not_loaded(self, best: Path, tmp_path: Path) -> None:
        copy = tmp_path / "store" / "instruct" / best.resolve().name
        shutil.copytree(best, copy)
        weights = copy / "model" / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-100] ^= 1
        weights.write_bytes(content)
        with pytest.raises(CorruptArtifact, match="not what was written"):
            ikusi.load(copy)

    def test_ask_draws_saves_and_expects(
        self, best: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["ask", str(best), "--seed", "3"]) == (0, "")
        out, err = capfd.readouterr()
        told = dict(line.split(None, 1) for line in err.splitlines())
        assert {"picture", "question", "expected"} <= set(told)
        assert len(out.splitlines()) == 1
        picture = told["picture"].split()[0]
        with Image.open(picture) as opened:
            assert opened.size == (96, 96)
        assert run(["ask", str(best), picture, told["question"]]) == (0, "")
        again, err = capfd.readouterr()
        assert again == out
        assert "question" not in err
        assert run(["ask", str(best), picture]) == (0, "")
        assert load_pack("eu").wordings("what", "train")[0] in capfd.readouterr().err
        Path(picture).unlink()

    def test_ask_a_copy_of_which_nothing_is_known(self, best: Path, tmp_path: Path) -> None:
        shutil.copytree(best / "model", tmp_path / "copy")
        code, line = run(["ask", str(tmp_path / "copy")])
        assert code == 1
        assert "give a picture" in line
