"""What is asked in words has the answer that the scene gives, in every language."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tests.world.worlds import PAIRS, read, vocabulary_of, voices_of

from ikusi.core.seeds import rng_for
from ikusi.languages.pack import Pack
from ikusi.languages.rules import POOLS
from ikusi.world import assets
from ikusi.world.grammar import (
    LETTERS,
    TEXT_TASKS,
    VISUAL_TASKS,
    Question,
    Voice,
    can_ask,
    question,
)
from ikusi.world.scene import COLOURS, GRID, Scene, place

TASKS = VISUAL_TASKS + TEXT_TASKS
KIND = {concept.emoji: concept.kind for concept in assets.concepts()}


def some_scenes(concepts: tuple[str, ...], count: int) -> list[Scene]:
    scenes = []
    for number in range(count):
        rng = rng_for("test", number)
        emojis = rng.choice(concepts, size=1 + number % 4, replace=False).tolist()
        cells = rng.choice(GRID**2, size=len(emojis), replace=False).tolist()
        scenes.append(place(f"s{number}", emojis, cells, str(rng.choice(list(COLOURS))), rng))
    return scenes


def truth(task: str, marks: dict[str, str], scene: Scene, voice: Voice) -> str:
    """Answer a question from its words and the scene alone."""
    pack = voice.pack
    cldr = {e: name.text.lower() for e, name in assets.names(pack.code).items()}
    emoji_of = {cldr[emoji]: emoji for emoji in voice.vocabulary.all}
    shown = {cldr[thing.emoji]: thing for thing in scene.things}
    if task == "what":
        return next(iter(shown))
    if task == "caption":
        colour = pack.terms.colours[scene.colour]
        return pack.caption_answer.format(names=", ".join(shown), colour=colour)
    if task == "where":
        row, column = divmod(shown[marks["name"]].cell, GRID)
        side = {(0, 1): "top", (2, 1): "bottom", (1, 0): "left", (1, 2): "right"}[row, column]
        return pack.terms.sides[side]
    if task == "count":
        return pack.numbers[len(shown)][0]
    if task == "exists":
        return (pack.yes_no.yes if marks["name"] in shown else pack.yes_no.no)[0]
    if task == "colour":
        return pack.terms.colours[scene.colour]
    if task == "kind":
        return pack.terms.kinds[KIND[scene.things[0].emoji]]
    if task == "choice":
        (right,) = [mark for mark in "abcd" if marks[mark] in shown]
        return right.upper()
    if task == "kind_of":
        return pack.terms.kinds[KIND[emoji_of[marks["name"]]]]
    other = voice.other
    assert marks["language"] in (pack.terms.languages.get(other.code), other.names.own)
    return assets.names(other.code)[emoji_of[marks["name"]]].text.lower()


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("pivot", "target"), PAIRS)
def test_the_answer_is_what_the_scene_shows(task: str, pivot: str, target: str) -> None:
    vocabulary = vocabulary_of(pivot, target)
    for scene in some_scenes(vocabulary.paired, 40) + some_scenes(vocabulary.probe, 12):
        if not can_ask(task, scene):
            continue
        asked = question(task, scene, vocabulary, rng_for("ask", scene.id), vocabulary.all)
        for voice in voices_of(pivot, target):
            for pool in POOLS:
                text = voice.ask(asked, pool, rng_for("words", scene.id))
                assert text is not None
                found = (read(text, wording) for wording in voice.pack.wordings(task, pool))
                marks = next(marks for marks in found if marks is not None)
                answer = voice.caption(scene) if task == "caption" else voice.answer(asked)
                assert answer == truth(task, marks, scene, voice)
                options = voice.options(asked)
                assert len(set(options)) == len(options)
                assert answer in options or task in ("what", "caption", "translate")


def test_every_task_can_be_asked_of_a_scene_that_suits_it() -> None:
    scenes = some_scenes(vocabulary_of("en", "eu").all, 60)
    for task in TASKS:
        fitting = [scene for scene in scenes if can_ask(task, scene)]
        assert fitting
        if task in ("what", "kind"):
            assert {len(scene.things) for scene in fitting} == {1}


@pytest.mark.parametrize("task", TASKS)
def test_every_wording_of_a_pool_is_used_and_none_of_another_pool(task: str) -> None:
    (scene,) = some_scenes(vocabulary_of("en", "eu").paired, 1)
    asked = Question(task, scene.emojis, about=scene.emojis[0], options=scene.emojis * 4)
    for voice in voices_of("en", "eu"):
        rng = rng_for("wordings")
        said = {pool: {voice.ask(asked, pool, rng) for _ in range(150)} for pool in POOLS}
        for pool in POOLS:
            assert len(said[pool]) == len(voice.pack.wordings(task, pool))
        assert len(set.union(*said.values())) == sum(map(len, said.values()))


def is_even(counts: Counter[str], values: int) -> bool:
    """Return whether counts of `values` values fit equal shares, at four deviations of each."""
    total = counts.total()
    deviation = np.sqrt(total / values * (1 - 1 / values))
    return len(counts) == values and all(
        abs(count - total / values) < 4 * deviation for count in counts.values()
    )


def test_yes_and_no_and_the_letters_are_drawn_evenly() -> None:
    vocabulary = vocabulary_of("en", "eu")
    rng = rng_for("even")
    scenes = [scene for scene in some_scenes(vocabulary.paired, 4) if can_ask("choice", scene)]
    asked = {
        task: [question(task, scenes[0], vocabulary, rng, vocabulary.paired) for _ in range(2000)]
        for task in ("exists", "choice")
    }
    assert is_even(Counter(str(q.answer) for q in asked["exists"]), 2)
    assert is_even(Counter(str(q.answer) for q in asked["choice"]), len(LETTERS))
    wrong = Counter(e for q in asked["choice"] for e in q.options if e not in scenes[0].emojis)
    assert is_even(wrong, len(vocabulary.paired) - 1)
    assert is_even(Counter(str(q.about) for q in asked["exists"] if q.answer == "no"), 59)


def test_the_probe_is_asked_beside_the_probe_so_that_its_names_give_nothing_away() -> None:
    vocabulary = vocabulary_of("en", "eu")
    scene = next(s for s in some_scenes(vocabulary.probe, 4) if can_ask("choice", s))
    for number in range(40):
        rng = rng_for("probe", number)
        probe = vocabulary.probe
        assert set(question("choice", scene, vocabulary, rng, probe).options) <= set(probe)
        assert question("exists", scene, vocabulary, rng, probe).about in probe


@pytest.mark.parametrize(("pivot", "target"), PAIRS)
def test_a_written_scene_tells_what_stands_in_each_cell(pivot: str, target: str) -> None:
    for voice in voices_of(pivot, target):
        scenes = some_scenes(voice.vocabulary.paired, 200)
        texts = {voice.write_scene(scene) for scene in scenes}
        assert len(texts) == len(scenes)  # two scenes never read the same
        for scene in scenes:
            text = voice.write_scene(scene)
            assert voice.pack.terms.colours[scene.colour] in text
            assert all(voice.names[emoji] in text for emoji in scene.emojis)


def test_a_pack_without_all_colours_writes_scenes_without_the_ground() -> None:
    data = {
        "code": "eu",
        "names": {"own": "euskara"},
        "tasks": {"what": ["Zer da hau?"]},
        "scene": "Irudia: {cells}. Hondoa: {colour}.",
        "terms": {"colours": {"red": "gorria"}},
    }
    vocabulary = vocabulary_of("en", "eu")
    bare = Voice(Pack.parse(data, "test"), voices_of("en", "eu")[0].pack, vocabulary)
    (scene,) = some_scenes(vocabulary.paired, 1)
    text = bare.write_scene(scene)
    assert bare.names[scene.emojis[0]] in text
    assert "{" not in text
    assert "Hondoa" not in text
    assert bare.ask(Question("count", 1), "train", rng_for(0)) is None
