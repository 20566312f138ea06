"""The embedded world as a source of records: training sets, text, and evaluation items.

Place: assets, grammar -> [source] -> mix, train, evaluate. Contract: a scene and its questions
depend on the seed, the set and the tasks that both languages can word, so both ask the same of the
same picture, whatever one of them lacks; wordings are drawn per language. A record's `group` is its
scene.

Sets: `align` (captions), `instruct` (conversations about pictures), `probe` (the same about
concepts that only the pivot pictures), `text` (text-only instructions), `backbone` (text to
pretrain on), `drills` (mostly questions in the fewest words, to read before it).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ikusi.core.seeds import rng_for
from ikusi.core.types import Image, ImageRef, Record, Turn, assistant, user
from ikusi.world.grammar import (
    DRILLS,
    MAX_THINGS,
    TEXT_TASKS,
    VISUAL_TASKS,
    Question,
    Voice,
    can_ask,
)
from ikusi.world.grammar import question as make_question
from ikusi.world.scene import COLOURS, GRID, SIDES, Scene, place
from ikusi.world.vocabulary import Vocabulary

LICENCE = "emoji pictures: OFL-1.1 (Noto), CC-BY-4.0 (Twemoji); names: Unicode-3.0"
MAX_TURNS = 4


@dataclass(frozen=True, slots=True)
class TrainSet:
    """What sets a training set apart from the others.

    `concepts`: those that its scenes show. `pool`: of wordings. `about_words`: share of
    conversations about words alone, the rest being about a scene; only where a language can word
    them. `drills`: share of drills among the conversations about scenes.
    """

    concepts: Literal["paired", "probe", "all"] = "paired"
    pool: Literal["train", "text"] = "train"
    about_words: float = 0.0
    drills: float = 0.0


TRAIN_SETS = {
    "align": TrainSet(),
    "instruct": TrainSet(),
    "probe": TrainSet("probe"),
    "text": TrainSet(about_words=0.5),
    # A real backbone has read about everything. When comparing is learned differs from seed to
    # seed, so the drills do not end with the primer.
    "backbone": TrainSet("all", "text", about_words=0.2, drills=0.35),
    # Among the drills are plain texts, so that no word is met later for the first time: the
    # embeddings of words that are never an answer grow alike.
    "drills": TrainSet("all", "text", about_words=0.15, drills=0.85),
}
_OF_ANY_SCENE = frozenset({"caption", "count", "exists", "colour", "choice"})
# Comparing takes far more examples to learn than naming does; asked as seldom as the rest, the
# colour of written scenes was never learned.
_TURN_WEIGHT = {"where": 2.0, "colour": 2.0, "exists": 3.0, "choice": 3.0}
# These come last: an answer that names what is there would answer the questions after it.
_TELLS = {"what": 1, "caption": 2}


def make_scene(
    identity: str,
    concepts: Sequence[str],
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    *,
    num_things: int,
    on_a_side: bool,
    unseen: bool,
) -> Scene:
    """Return a random scene.

    Args:
        identity: the scene's id.
        concepts: those to draw from.
        vocabulary: tells on which ground a concept is never seen in training.
        rng: decides the rest.
        num_things: how many concepts it shows, all different; fewer where too few are unseen.
        on_a_side: put the first of them in a cell that lies on one side only.
        unseen: make every pair of concept and ground one that training never shows, or, if false,
            none.
    """
    held = vocabulary.unseen_colour
    pools = {
        colour: [emoji for emoji in concepts if (held[emoji] == colour) == unseen]
        for colour in COLOURS
    }
    # A small probe has few concepts for each ground: then its scenes hold fewer things.
    num_things = min(num_things, max(map(len, pools.values())))
    colours = [colour for colour, pool in pools.items() if len(pool) >= num_things]
    colour = colours[int(rng.integers(len(colours)))]
    pool = pools[colour]
    chosen = [pool[i] for i in rng.choice(len(pool), size=num_things, replace=False)]
    cells = [int(c) for c in rng.choice(GRID**2, size=num_things, replace=False)]
    sides = list(SIDES.values())
    if on_a_side and cells[0] not in sides:
        side = sides[int(rng.integers(len(sides)))]
        if side in cells:
            cells[cells.index(side)] = cells[0]
        cells[0] = side
    return place(identity, chosen, cells, colour, rng)


def training_scene(
    set_name: str, index: int, seed: int, tasks: Sequence[str], vocabulary: Vocabulary
) -> Scene:
    """Return scene `index` of a training set that asks `tasks`: one that something can be asked of.

    It holds a single thing in half the cases, and always where no task asks about several.
    """
    identity = f"{set_name}-{seed}-{index:06d}"
    rng = rng_for("scene", identity)
    alone = rng.random() < 0.5
    if _OF_ANY_SCENE.isdisjoint(_tasks_of(set_name, tasks)):
        alone = True
    num_things = 1 if alone else int(rng.integers(2, MAX_THINGS + 1))
    on_a_side = bool(rng.random() < 0.7)
    return make_scene(
        identity,
        _concepts_of(set_name, vocabulary),
        vocabulary,
        rng,
        num_things=num_things,
        on_a_side=on_a_side,
        unseen=False,
    )


def training_questions(
    set_name: str, scene: Scene, tasks: Sequence[str], vocabulary: Vocabulary
) -> list[Question]:
    """Return what a training set asks: a caption, up to `MAX_TURNS` questions, or one drill.

    Conversations about words alone ask every task of `TEXT_TASKS`.

    Args:
        set_name: one of `TRAIN_SETS`.
        scene: a `training_scene` of the set.
        tasks: those that both languages can word.
        vocabulary: the world's concepts.
    """
    rng = rng_for("questions", scene.id)
    concepts = _concepts_of(set_name, vocabulary)
    wanted = _tasks_of(set_name, tasks)
    chosen = TRAIN_SETS[set_name]
    about_words = [task for task in TEXT_TASKS if task in wanted and chosen.about_words]
    if about_words and rng.random() >= 1 - chosen.about_words:
        return [make_question(task, scene, vocabulary, rng, concepts) for task in about_words]
    drills = [task for task in DRILLS if task in wanted and can_ask(task, scene)]
    if drills and rng.random() < chosen.drills:
        shares = np.array([DRILLS[task] for task in drills])
        task = drills[int(rng.choice(len(drills), p=shares / shares.sum()))]
        question = make_question(task, scene, vocabulary, rng, concepts)
        return [replace(question, drill=True)]
    possible = [task for task in VISUAL_TASKS if task in wanted and can_ask(task, scene)]
    weights = np.array([_TURN_WEIGHT.get(task, 1.0) for task in possible])
    count = min(len(possible), int(rng.integers(1, MAX_TURNS + 1)))
    order = rng.choice(len(possible), size=count, replace=False, p=weights / weights.sum())
    ordered = sorted((possible[i] for i in order), key=lambda task: _TELLS.get(task, 0))
    return [make_question(task, scene, vocabulary, rng, concepts) for task in ordered]


def _concepts_of(set_name: str, vocabulary: Vocabulary) -> Sequence[str]:
    concepts: Sequence[str] = getattr(vocabulary, TRAIN_SETS[set_name].concepts)
    return concepts


def _tasks_of(set_name: str, tasks: Sequence[str]) -> Sequence[str]:
    """Return what a set asks; `what` stands in for captions that a language cannot word."""
    if set_name == "align":
        return ("caption",) if "caption" in tasks else ("what",)
    return tasks


def conversation(
    scene: Scene,
    questions: Sequence[Question],
    voice: Voice,
    pool: str,
    *,
    set_name: str,
    sha256: str | None,
) -> Record | None:
    """Return a record that asks `questions` in one language, or None without wordings for any.

    Args:
        scene: what is asked about.
        questions: one or more.
        voice: words them.
        pool: of wordings: `text`, `train` or `held_out`.
        set_name: the record's source.
        sha256: the scene's picture; None writes the scene down as text instead.
    """
    # Not of the language: where packs have as many wordings, both languages choose the same ones.
    rng = rng_for("words", scene.id, pool)
    turns: list[Turn] = []
    for asked in questions:
        text = voice.ask(asked, pool, rng)
        if text is None:
            continue
        first = not turns
        if asked.task in TEXT_TASKS:
            turns.append(user(text))
        elif asked.drill:
            turns.append(user(f"{' '.join(voice.names_in(scene))}: {text}"))
        elif sha256 is not None:
            turns.append(user(Image(0), text) if first else user(text))
        else:
            turns.append(user(f"{voice.write_scene(scene)} {text}") if first else user(text))
        answer = voice.caption(scene) if asked.task == "caption" else voice.answer(asked)
        turns.append(assistant(answer))
    if not turns:
        return None
    last = questions[-1]
    return Record(
        id=f"{scene.id}@{voice.pack.code}",
        group=scene.id,
        turns=tuple(turns),
        language=voice.pack.code,
        task=last.task if len(questions) == 1 else "chat",
        source=set_name,
        images=(ImageRef(sha256=sha256),) if sha256 is not None else (),
        licence=LICENCE,
        provenance="native",
    )


def training_records(
    set_name: str,
    scenes: Sequence[Scene],
    pictures: Sequence[str] | None,
    voice: Voice,
    tasks: Sequence[str],
    vocabulary: Vocabulary,
) -> Iterator[Record]:
    """Yield a training set in one language.

    Args:
        set_name: one of `TRAIN_SETS`.
        scenes: its scenes.
        pictures: the sha256 of each scene's picture, or None for a set without pictures.
        voice: the language.
        tasks: those that both languages can word.
        vocabulary: the world's concepts.
    """
    pool = TRAIN_SETS[set_name].pool
    for index, scene in enumerate(scenes):
        questions = training_questions(set_name, scene, tasks, vocabulary)
        record = conversation(
            scene,
            questions,
            voice,
            pool,
            set_name=set_name,
            sha256=pictures[index] if pictures is not None else None,
        )
        if record is not None:
            yield record
