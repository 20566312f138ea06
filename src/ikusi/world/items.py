"""Evaluation items of the embedded world.

Every split asks the same tasks about scenes whose pairs of concept and ground no training set
shows: `main` in wordings of training, `wording` in held-out wordings, `design` with pictures of the
second design, `probe` about concepts that were pictured only with the pivot language, `text` about
scenes written down as text. Answers are balanced per task: a seeded draw is uniform over them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ikusi.core.seeds import rng_for
from ikusi.core.types import Record
from ikusi.world.grammar import MAX_THINGS, TEXT_TASKS, VISUAL_TASKS, Question, Voice
from ikusi.world.grammar import question as make_question
from ikusi.world.scene import Design, Scene
from ikusi.world.source import conversation, make_scene
from ikusi.world.vocabulary import Vocabulary

VISUAL_SPLITS = ("main", "wording", "design", "probe")
SPLITS = (*VISUAL_SPLITS, "text")
_PROBE_TASKS = ("what", "exists", "choice")  # those whose answer rests on the concept itself
_SINGLE = ("what", "kind", "choice", "kind_of", "translate")
_TEXT_SPLIT_TASKS = (*(task for task in VISUAL_TASKS if task != "caption"), *TEXT_TASKS)


@dataclass(frozen=True, slots=True)
class Item:
    """A scene and a question about it, free of language."""

    split: str
    scene: Scene
    question: Question

    @property
    def design(self) -> Design:
        """The design that its picture is drawn in."""
        return "twemoji" if self.split == "design" else "noto"


def make_items(
    split: str, vocabulary: Vocabulary, per_task: int, seed: int, tasks: Sequence[str]
) -> list[Item]:
    """Return the items of a split, the same for the same arguments.

    Args:
        split: one of `SPLITS`.
        vocabulary: the world's concepts.
        per_task: items of each task.
        seed: of the scenes and questions.
        tasks: those that both languages can word.
    """
    wanted = {"probe": _PROBE_TASKS, "text": _TEXT_SPLIT_TASKS}.get(split, VISUAL_TASKS)
    concepts = vocabulary.probe if split == "probe" else vocabulary.paired
    if not concepts:  # a world may do without a probe
        return []
    # Held-out wordings and the second design ask about the scenes of `main`, so that only the
    # wording or the design differs.
    source = "main" if split in VISUAL_SPLITS and split != "probe" else split
    kinds = sorted({vocabulary.kinds[emoji] for emoji in concepts})
    items = []
    for task in wanted:
        if task not in tasks:
            continue
        for index in range(per_task):
            identity = f"eval-{source}-{seed}-{task}-{index:05d}"
            rng = rng_for("item", identity)
            num_things = 1 if task in _SINGLE else 1 + index % MAX_THINGS
            drawn = concepts
            if task in ("kind", "kind_of"):  # kinds are not equally large, their answers shall be
                kind = kinds[int(rng.integers(len(kinds)))]
                drawn = tuple(emoji for emoji in concepts if vocabulary.kinds[emoji] == kind)
            scene = make_scene(
                identity,
                drawn,
                vocabulary,
                rng,
                num_things=num_things,
                on_a_side=task == "where",
                unseen=True,
            )
            asked = make_question(task, scene, vocabulary, rng, concepts)
            items.append(Item(split, scene, asked))
    return items


def item_records(
    items: Sequence[Item], voice: Voice, pictures: Sequence[str] | None
) -> Iterator[Record]:
    """Yield the items in one language, with the options and the accepted answer.

    Args:
        items: of one split.
        voice: the language; an item that it has no wording for is left out.
        pictures: the sha256 of each item's picture, or None for the written scenes.
    """
    for number, item in enumerate(items):
        pool = "held_out" if item.split == "wording" else "train"
        record = conversation(
            item.scene,
            [item.question],
            voice,
            pool,
            set_name=f"eval-{item.split}",
            sha256=pictures[number] if pictures is not None else None,
        )
        if record is None:
            continue
        yield replace(
            record,
            id=f"{item.split}/{record.id}",
            task=item.question.task,
            choices=voice.options(item.question),
            answers=(record.turns[-1].text,),
        )
