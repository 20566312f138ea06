"""Evaluation items: unseen pairs, balanced answers, and splits that differ in one thing only."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from tests.world.test_grammar import is_even
from tests.world.worlds import PAIRS, vocabulary_of, voices_of, wording_of

from ikusi.languages.pack import Pack
from ikusi.world.grammar import LETTERS, MAX_THINGS, TEXT_TASKS, VISUAL_TASKS, Voice
from ikusi.world.items import SPLITS, Item, item_records, make_items
from ikusi.world.scene import COLOURS, SIDES
from ikusi.world.source import TRAIN_SETS, training_scene

TASKS = VISUAL_TASKS + TEXT_TASKS


def items_of(split: str, per_task: int = 30, seed: int = 0) -> list[Item]:
    return make_items(split, vocabulary_of("en", "eu"), per_task, seed, TASKS)


@pytest.mark.parametrize("split", SPLITS)
def test_every_item_shows_pairs_that_no_training_scene_does(split: str) -> None:
    world = vocabulary_of("en", "eu")
    items = items_of(split)
    for item in items:
        cells = {thing.cell for thing in item.scene.things}
        assert len(cells) == len(item.scene.things) > 0
        assert all(world.unseen_colour[e] == item.scene.colour for e in item.scene.emojis)
    shown = {emoji for item in items for emoji in item.scene.emojis}
    assert shown == set(world.probe if split == "probe" else world.paired)


def test_items_are_no_training_scenes_and_change_with_their_seed() -> None:
    world = vocabulary_of("en", "eu")
    trained = {
        training_scene(name, i, seed, TASKS, world).id
        for name in TRAIN_SETS
        for i in range(30)
        for seed in (0, 1)
    }
    by_seed = [{item.scene.id for item in items_of("main", seed=seed)} for seed in (0, 1)]
    assert items_of("main") == items_of("main")
    assert not by_seed[0] & by_seed[1]
    assert not (by_seed[0] | by_seed[1]) & trained


def test_a_kind_that_only_the_probe_has_is_no_answer_about_the_others() -> None:
    world = vocabulary_of("en", "eu")
    kept = tuple(emoji for emoji in world.paired if world.kinds[emoji] != "building")
    for item in make_items("main", replace(world, paired=kept), 40, 0, ("kind",)):
        assert item.question.answer != "building"


def test_held_out_wordings_and_the_second_design_ask_the_same_of_the_same_scenes() -> None:
    main, wording, design = (items_of(split) for split in ("main", "wording", "design"))
    for one, two, three in zip(main, wording, design, strict=True):
        assert one.scene == two.scene == three.scene
        assert one.question == two.question == three.question
    assert {item.design for item in main + wording + items_of("probe")} == {"noto"}
    assert {item.design for item in design} == {"twemoji"}
    others = {item.scene.id for item in items_of("probe") + items_of("text")}
    assert not others & {item.scene.id for item in main}


@pytest.mark.parametrize("split", SPLITS)
def test_each_task_has_as_many_items_and_answers_are_balanced(split: str) -> None:
    items = items_of(split, 240)
    assert set(Counter(item.question.task for item in items).values()) == {240}
    values = {
        "where": len(SIDES),
        "count": MAX_THINGS,
        "exists": 2,
        "colour": len(COLOURS),
        "choice": len(LETTERS),
        "kind": 6,
        "kind_of": 6,
    }
    seen = set()
    for task in {item.question.task for item in items}:
        answers = Counter(str(i.question.answer) for i in items if i.question.task == task)
        seen.add(task)
        if task in values:
            assert is_even(answers, values[task]), (task, answers)
    expected = {
        "probe": {"what", "exists", "choice"},
        "text": {*TASKS} - {"caption"},
    }.get(split, set(VISUAL_TASKS))
    assert seen == expected


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("pair", PAIRS)
def test_records_are_paired_and_carry_options_and_answer(split: str, pair: tuple[str, str]) -> None:
    items = make_items(split, vocabulary_of(*pair), 6, 0, TASKS)
    pictures = None if split == "text" else [f"{n:064x}" for n in range(len(items))]
    by_voice = [list(item_records(items, voice, pictures)) for voice in voices_of(*pair)]
    assert len({record.id for records in by_voice for record in records}) == 2 * len(items)
    for number, (one, other) in enumerate(zip(*by_voice, strict=True)):
        item = items[number]
        assert (one.group, one.task) == (other.group, other.task)
        assert (one.group, one.task) == (item.scene.id, item.question.task)
        assert [image.sha256 for image in one.images] == (pictures or [])[number : number + 1]
        assert one.images == other.images
        if one.choices and one.task != "choice":
            assert one.choices.index(one.answers[0]) == other.choices.index(other.answers[0])
        for record, voice in zip((one, other), voices_of(*pair), strict=True):
            pool = "held_out" if split == "wording" else "train"
            assert wording_of(record.turns[0].text, voice)[:2] == (record.task, pool)
            assert [turn.role for turn in record.turns] == ["user", "assistant"]
            assert record.answers == (record.turns[-1].text,)
            assert record.answers[0] in record.choices or not record.choices


def test_a_world_without_a_probe_has_no_items_about_it() -> None:
    assert make_items("probe", vocabulary_of("en", "eu", 40, 0), 5, 0, TASKS) == []


def test_only_what_both_can_word_is_asked_and_what_cannot_be_worded_is_left_out() -> None:
    world = vocabulary_of("en", "eu")
    items = make_items("main", world, 5, 0, ("what", "exists"))
    assert Counter(item.question.task for item in items) == {"what": 5, "exists": 5}
    pack = Pack.parse(
        {"code": "eu", "names": {"own": "euskara"}, "tasks": {"what": ["Zer da hau?"]}}, "test"
    )
    bare = Voice(pack, voices_of("en", "eu")[0].pack, world)
    assert [record.task for record in item_records(items, bare, ["0" * 64] * 10)] == ["what"] * 5
    wording = make_items("wording", world, 5, 0, ("what",))
    assert not list(item_records(wording, bare, ["0" * 64] * 5))
