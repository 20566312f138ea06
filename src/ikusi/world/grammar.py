"""Questions about scenes, and the words for them.

A `Question` is free of language: it is made once per scene and worded in each language by a
`Voice`, so the same picture gets the same question in both. A scene can be shown as a picture or
written down as text (`Voice.write_scene`), which is how a text-only backbone learns the tasks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ikusi.languages.pack import Pack
from ikusi.world.scene import COLOURS, GRID, SIDES, Scene
from ikusi.world.vocabulary import Vocabulary

VISUAL_TASKS = ("caption", "what", "where", "count", "exists", "colour", "kind", "choice")
TEXT_TASKS = ("kind_of", "translate")
DRILLS = {"exists": 2.0, "choice": 3.0, "what": 1.0}
"""What is also asked as a drill, and how often: about a scene's names written as a list, in the
fewest words that there are. Comparing words is learned from them within some hundred steps, and
hardly ever from long texts alone; multiple choice, which takes longest, has most (docs/log.md)."""
LETTERS = ("A", "B", "C", "D")
EMPTY_CELL, ROW_END = "-", "/"
MAX_THINGS = 4
_BARE_SCENE: str = Pack.model_fields["scene"].default
_SIDE_OF_CELL = {cell: side for side, cell in SIDES.items()}


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and the answer's key.

    `about` is the concept that the question names; `options` the four of a choice. `answer` is a
    key into the pack's words: a side, `yes`/`no`, a number, a colour, a kind, a letter, or the
    concepts to name. A `drill` is asked in the fewest words.
    """

    task: str
    answer: str | int | tuple[str, ...]
    about: str | None = None
    options: tuple[str, ...] = ()
    drill: bool = False


def question(
    task: str,
    scene: Scene,
    vocabulary: Vocabulary,
    rng: np.random.Generator,
    concepts: Sequence[str],
) -> Question:
    """Return a question of `task` about `scene`; `can_ask` tells whether there is one.

    Wrong options are drawn from `concepts`, those that the scene was drawn from: else a concept's
    group alone would tell whether it is there.
    """
    emojis = scene.emojis
    if task == "where":
        sided = [thing for thing in scene.things if thing.cell in _SIDE_OF_CELL]
        thing = sided[int(rng.integers(len(sided)))]
        return Question(task, _SIDE_OF_CELL[thing.cell], about=thing.emoji)
    if task == "exists":
        if rng.random() < 0.5:
            return Question(task, "yes", about=emojis[int(rng.integers(len(emojis)))])
        return Question(task, "no", about=_others(concepts, vocabulary, emojis, 1, rng)[0])
    if task == "choice":
        shown = emojis[int(rng.integers(len(emojis)))]
        options = [shown, *_others(concepts, vocabulary, emojis, len(LETTERS) - 1, rng)]
        order = rng.permutation(len(LETTERS))
        shuffled = tuple(options[i] for i in order)
        return Question(task, LETTERS[shuffled.index(shown)], options=shuffled)
    if task in ("kind", "kind_of"):
        return Question(task, vocabulary.kinds[emojis[0]], about=emojis[0])
    if task == "count":
        return Question(task, len(emojis))
    if task == "colour":
        return Question(task, scene.colour)
    return Question(task, emojis, about=emojis[0])


def can_ask(task: str, scene: Scene) -> bool:
    """Return whether `task` has an answer in `scene`: one thing to name, or one on a side."""
    if task in ("what", "kind"):
        return len(scene.things) == 1
    if task == "where":
        return any(thing.cell in _SIDE_OF_CELL for thing in scene.things)
    return True


def _others(
    concepts: Sequence[str],
    vocabulary: Vocabulary,
    shown: Sequence[str],
    count: int,
    rng: np.random.Generator,
) -> list[str]:
    enough = len(concepts) >= count + len(shown)
    pool = concepts if enough else vocabulary.all
    chosen: list[str] = []
    while len(chosen) < count:
        emoji = pool[int(rng.integers(len(pool)))]
        if emoji not in shown and emoji not in chosen:
            chosen.append(emoji)
    return chosen


class Voice:
    """One language's way to word questions and answers about a world.

    Args:
        pack: the language pack.
        other: the pack of the world's other language, for translations.
        vocabulary: the world's concepts.
    """

    def __init__(self, pack: Pack, other: Pack, vocabulary: Vocabulary) -> None:
        self.pack = pack
        self.other = other
        self.vocabulary = vocabulary
        self.names = vocabulary.names[pack.code]
        # A partial pack may lack colours; its scenes are then written without the ground.
        all_colours = pack.terms.colours.keys() >= COLOURS.keys()
        bare = "{colour}" in pack.scene and not all_colours
        self._scene = _BARE_SCENE if bare else pack.scene

    def ask(self, question: Question, pool: str, rng: np.random.Generator) -> str | None:
        """Return the question in words of the pool `text`, `train` or `held_out`, or None."""
        if question.drill:
            return self._drill(question)
        wordings = self.pack.wordings(question.task, pool)
        if not wordings:
            return None
        text = wordings[int(rng.integers(len(wordings)))]
        if question.about is not None:
            text = text.replace("{name}", self.names[question.about])
        for letter, option in zip("abcd", question.options, strict=False):
            text = text.replace("{" + letter + "}", self.names[option])
        return text.replace("{language}", self.pack.name_of_language(self.other))

    def answer(self, question: Question) -> str:
        """Return the answer in words."""
        task, key = question.task, question.answer
        pack, names = self.pack, self.names
        if task == "caption":
            raise AssertionError("a caption needs its scene: use caption()")
        if task == "translate":
            assert question.about is not None
            return self.vocabulary.names[self.other.code][question.about]
        if task == "choice":
            return str(key)
        if task == "exists":
            return pack.word("yes_no", str(key))
        if task == "count":
            return pack.word("numbers", str(key))
        if task == "where":
            return pack.word("sides", str(key))
        if task == "colour":
            return pack.word("colours", str(key))
        if task in ("kind", "kind_of"):
            return pack.word("kinds", str(key))
        assert isinstance(key, tuple)
        return names[key[0]]

    def names_in(self, scene: Scene) -> list[str]:
        """Return the names of what a scene shows, in reading order."""
        return [self.names[emoji] for emoji in scene.emojis]

    def caption(self, scene: Scene) -> str:
        """Return the scene's caption: what it shows in reading order, and the ground's colour."""
        return self._fill(
            self.pack.caption_answer, "{names}", ", ".join(self.names_in(scene)), scene
        )

    def write_scene(self, scene: Scene) -> str:
        """Return the scene written down as text, cell by cell in reading order, row by row."""
        cells = [EMPTY_CELL] * GRID**2
        for thing in scene.things:
            cells[thing.cell] = self.names[thing.emoji]
        rows = (" ".join(cells[start : start + GRID]) for start in range(0, GRID**2, GRID))
        return self._fill(self._scene, "{cells}", f" {ROW_END} ".join(rows), scene)

    def options(self, question: Question) -> tuple[str, ...]:
        """Return every answer that the question's task allows, for likelihood scoring."""
        pack, task = self.pack, question.task
        if task == "choice":
            return LETTERS
        if task == "exists":
            return tuple(pack.word("yes_no", key) for key in ("yes", "no"))
        if task == "count":
            return tuple(pack.word("numbers", str(n)) for n in range(1, MAX_THINGS + 1))
        if task == "where":
            return tuple(pack.word("sides", side) for side in SIDES)
        if task == "colour":
            return tuple(pack.word("colours", key) for key in sorted(pack.terms.colours))
        if task in ("kind", "kind_of"):
            return tuple(pack.word("kinds", key) for key in self.vocabulary.used_kinds)
        return ()

    def _drill(self, question: Question) -> str:
        if question.task == "exists":
            assert question.about is not None
            return f"{self.names[question.about]}?"
        if question.task == "choice":
            marked = zip(LETTERS, question.options, strict=True)
            return " ".join(f"{letter}) {self.names[option]}" for letter, option in marked)
        assert question.task == "what", question.task
        return "..."

    def _fill(self, template: str, mark: str, text: str, scene: Scene) -> str:
        if "{colour}" in template:
            template = template.replace("{colour}", self.pack.word("colours", scene.colour))
        return template.replace(mark, text)
