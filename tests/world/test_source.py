"""Training sets: paired between the languages, and without what evaluation holds out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.world.worlds import PAIRS, vocabulary_of, voices_of, wording_of

from ikusi.core.seeds import rng_for
from ikusi.core.types import Image, Record
from ikusi.world.grammar import DRILLS, LETTERS, MAX_THINGS, TEXT_TASKS, VISUAL_TASKS, can_ask
from ikusi.world.scene import SIDES, Scene
from ikusi.world.source import (
    MAX_TURNS,
    TRAIN_SETS,
    make_scene,
    training_questions,
    training_records,
    training_scene,
)

TASKS = VISUAL_TASKS + TEXT_TASKS
PICTURED = ("align", "instruct", "probe")
SETS = [name for name in TRAIN_SETS if name != "drills"]
SHA = "0" * 64


def scenes_of(
    set_name: str, count: int = 200, seed: int = 0, tasks: Sequence[str] = TASKS
) -> list[Scene]:
    world = vocabulary_of("en", "eu")
    return [training_scene(set_name, index, seed, tasks, world) for index in range(count)]


def records_of(
    set_name: str,
    pair: tuple[str, str] = ("en", "eu"),
    count: int = 200,
    tasks: Sequence[str] = TASKS,
) -> list[list[Record]]:
    """Return the set in the pivot and in the target."""
    world = vocabulary_of(*pair)
    scenes = [training_scene(set_name, index, 0, tasks, world) for index in range(count)]
    pictures = [SHA] * count if set_name in PICTURED else None
    return [
        list(training_records(set_name, scenes, pictures, voice, tasks, world))
        for voice in voices_of(*pair)
    ]


@pytest.mark.parametrize("set_name", SETS)
@pytest.mark.parametrize("pair", PAIRS)
def test_both_languages_ask_the_same_of_the_same_scenes_in_the_wordings_of_its_pool(
    set_name: str, pair: tuple[str, str]
) -> None:
    pivots, targets = records_of(set_name, pair, 60)
    assert len(pivots) == len(targets) == 60
    world = vocabulary_of(*pair)
    scenes = [training_scene(set_name, index, 0, TASKS, world) for index in range(60)]
    for scene, one, other in zip(scenes, pivots, targets, strict=True):
        assert (one.group, one.task, one.images) == (other.group, other.task, other.images)
        assert (one.language, other.language) == pair
        assert len(one.turns) == len(other.turns)
        assert one.turns != other.turns
        if training_questions(set_name, scene, TASKS, world)[0].drill:
            assert set_name == "backbone"
            continue  # without wordings; see below
        asked = [
            [wording_of(turn.text, voice) for turn in record.turns[::2]]
            for record, voice in zip((one, other), voices_of(*pair), strict=True)
        ]
        assert asked[0] == asked[1]
        # Backbones read other wordings than stage 1 and 2 use, and neither reads the held-out ones.
        assert {pool for _, pool, _ in asked[0]} == {"text" if set_name == "backbone" else "train"}


@pytest.mark.parametrize("set_name", SETS)
def test_a_conversation_is_questions_and_answers_about_one_picture(set_name: str) -> None:
    for record in (record for records in records_of(set_name) for record in records):
        assert [turn.role for turn in record.turns] == ["user", "assistant"] * (
            len(record.turns) // 2
        )
        assert 1 <= len(record.turns) // 2 <= max(MAX_TURNS, len(TEXT_TASKS))
        assert all(turn.text.strip() for turn in record.turns)
        parts = [part for turn in record.turns for part in turn.parts if isinstance(part, Image)]
        pictured = set_name in PICTURED
        assert parts == [Image(0)] * pictured
        assert [image.sha256 for image in record.images] == [SHA] * pictured
        if pictured:
            assert isinstance(record.turns[0].parts[0], Image)
        assert record.licence and record.source == set_name
    counts = Counter(len(record.turns) // 2 for record in records_of(set_name)[0])
    assert set(counts) >= ({1} if set_name == "align" else {1, 2, 3})


@pytest.mark.parametrize("set_name", SETS)
def test_no_training_scene_shows_an_unseen_pair_and_ids_are_unique(set_name: str) -> None:
    world = vocabulary_of("en", "eu")
    scenes = scenes_of(set_name, 1000)
    assert len({scene.id for scene in scenes}) == len(scenes)
    shown = Counter(emoji for scene in scenes for emoji in scene.emojis)
    for scene in scenes:
        assert len(set(scene.emojis)) == len(scene.things) <= MAX_THINGS
        assert len({thing.cell for thing in scene.things}) == len(scene.things)
        assert all(world.unseen_colour[emoji] != scene.colour for emoji in scene.emojis)
    allowed = {"probe": world.probe, "backbone": world.all}.get(set_name, world.paired)
    assert set(shown) == set(allowed)  # the target's pictures never show the probe


@given(
    st.sampled_from([(24, 0), (24, 2), (60, 12)]),
    st.integers(1, 9),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 999),
)
def test_a_scene_keeps_its_promises_however_small_the_world(
    size: tuple[int, int], wanted: int, side: bool, unseen: bool, probe: bool, seed: int
) -> None:
    world = vocabulary_of("en", "eu", *size)
    concepts = world.probe if probe and world.probe else world.paired
    scene = make_scene(
        "x", concepts, world, rng_for(seed), num_things=wanted, on_a_side=side, unseen=unseen
    )
    assert 1 <= len(scene.things) <= wanted
    assert set(scene.emojis) <= set(concepts)
    assert len(set(scene.emojis)) == len({thing.cell for thing in scene.things})
    assert all((world.unseen_colour[e] == scene.colour) == unseen for e in scene.emojis)
    assert not side or any(thing.cell in SIDES.values() for thing in scene.things)
    if not unseen and not probe:
        assert len(scene.things) == wanted


def test_scenes_depend_on_the_set_and_the_seed_and_can_be_asked_about() -> None:
    ids = set()
    for set_name in TRAIN_SETS:
        for seed in (0, 1):
            scenes = scenes_of(set_name, 50, seed)
            assert scenes == scenes_of(set_name, 50, seed)
            ids |= {(scene.colour, scene.emojis, scene.rgb) for scene in scenes}
    assert len(ids) == len(TRAIN_SETS) * 2 * 50


def test_every_task_is_trained_and_the_named_thing_of_where_is_on_any_side() -> None:
    world = vocabulary_of("en", "eu")
    asked: Counter[str] = Counter()
    sides: Counter[object] = Counter()
    for scene in scenes_of("instruct", 600):
        questions = training_questions("instruct", scene, TASKS, world)
        assert len({q.task for q in questions}) == len(questions)
        assert all(can_ask(q.task, scene) for q in questions)
        asked.update(q.task for q in questions)
        sides.update(q.answer for q in questions if q.task == "where")
    assert set(asked) == set(VISUAL_TASKS)
    assert min(asked.values()) > asked.total() / 40
    assert set(sides) == set(SIDES)
    assert max(sides.values()) < 2 * min(sides.values())
    texts = [q.task for s in scenes_of("text") for q in training_questions("text", s, TASKS, world)]
    assert set(texts) == set(TASKS)


@pytest.mark.parametrize("tasks", [("what",), ("what", "where"), ("what", "translate"), TASKS[1:]])
@pytest.mark.parametrize("set_name", SETS)
def test_every_scene_can_be_asked_about_with_few_tasks(
    set_name: str, tasks: tuple[str, ...]
) -> None:
    pivots, targets = records_of(set_name, tasks=tasks)
    assert len(pivots) == len(targets) == 200
    named = {record.task for record in pivots}
    assert named <= {*tasks, "chat"}
    if set_name == "align":
        assert named == {"what"}


def test_drills_compare_words_and_their_answers_are_right() -> None:
    world = vocabulary_of("en", "eu")
    pivots, targets = records_of("drills", count=300)
    asked: Counter[str] = Counter()
    for scene, *records in zip(scenes_of("drills", 300), pivots, targets, strict=True):
        (question, *others) = training_questions("drills", scene, TASKS, world)
        if not question.drill:
            asked["plain"] += 1
            continue
        assert not others and question.task in DRILLS
        for record, voice in zip(records, voices_of("en", "eu"), strict=True):
            assert not record.images and record.task == question.task
            text, answer = (turn.text for turn in record.turns)
            shown = [voice.names[emoji] for emoji in scene.emojis]
            assert text.startswith(f"{' '.join(shown)}: ")
            about = text.removeprefix(f"{' '.join(shown)}: ")
            if question.task == "choice":
                options = re.fullmatch(" ".join(rf"{one}\) (.+)" for one in LETTERS), about)
                assert options and options[LETTERS.index(answer) + 1] in shown
                assert sum(option in shown for option in options.groups()) == 1
            elif question.task == "what":
                assert [answer] == shown
            else:
                there = about.removesuffix("?") in shown
                assert answer == voice.pack.word("yes_no", "yes" if there else "no")
        named = question.task == "what"
        asked["what" if named else f"{question.task} {records[0].turns[1].text}"] += 1
    assert len(asked) == 1 + len(LETTERS) + 2 + 1
    assert min(asked.values()) > 10


def test_what_tells_what_is_there_is_asked_last() -> None:
    world = vocabulary_of("en", "eu")
    for scene in scenes_of("instruct", 300):
        asked = [q.task for q in training_questions("instruct", scene, TASKS, world)]
        assert asked == sorted(asked, key=["what", "caption"].__contains__)
        assert "caption" not in asked[:-1]
