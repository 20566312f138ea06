"""`ikusi ask`: a question about a picture, or about a scene that is drawn for it.

Place: over `api`. The scene is one of the embedded world that the model was made in, told by the
configuration of what it was trained on: its concepts, its languages, and pairs of concept and
ground that training never showed. The answer alone goes to stdout, all else to stderr.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from ikusi.api import load, open_picture
from ikusi.core import log
from ikusi.core.artifact import Artifact
from ikusi.core.errors import DataError
from ikusi.core.seeds import rng_for
from ikusi.core.store import Store
from ikusi.study.parts import vocabulary_of, voices
from ikusi.world.grammar import MAX_THINGS, VISUAL_TASKS, Voice, can_ask
from ikusi.world.grammar import question as make_question
from ikusi.world.scene import Scene, draw
from ikusi.world.source import make_scene

if TYPE_CHECKING:
    from rich.text import Text

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"})
_COLUMNS = 48


def ask(model: str, about: Sequence[str], *, seed: int | None, store: Path) -> None:
    """Print a model's answer, and what else one wants to know about the question.

    Args:
        model: what `api.load` takes.
        about: a picture and a question, one of them, or neither.
        seed: of the scene that is drawn when there is no picture; None for a new one each time.
        store: where artifacts are looked up by address.

    Raises:
        DataError: the model, the picture or what to ask cannot be had.
    """
    from rich.console import Console

    picture, question = tell_apart(about)
    shown = None if picture is None else open_picture(picture)
    _silence_libraries()
    log.setup()
    loaded = load(model, store)
    aside = Console(stderr=True, highlight=False, soft_wrap=True)
    expected = None
    if shown is None and loaded.sees:
        voice = _voice(loaded.artifact, "give a picture")
        seed = int(np.random.default_rng().integers(1_000_000)) if seed is None else seed
        scene = draw_scene(voice, seed)
        shown = Image.fromarray(draw(scene))
        if aside.is_terminal:
            aside.print(render(shown))
        aside.print(f"picture   {_save(shown, seed)}  (--seed {seed} draws it again)", markup=False)
        if question is None:
            question, expected = ask_about(scene, voice, seed)
    if question is None:
        voice = _voice(loaded.artifact, "give a question")
        question = voice.pack.wordings("what", "train")[0]
    talks = len(about) < 2
    if talks:
        aside.print(f"question  {question}", markup=False)
    answer = loaded.answer(shown, question)
    print(f"answer    {answer}" if talks and sys.stdout.isatty() else answer)
    if not answer:
        aside.print("(the model answered nothing)", markup=False)
    if expected is not None:
        aside.print(f"expected  {expected}", markup=False)


def tell_apart(about: Sequence[str]) -> tuple[Path | None, str | None]:
    """Return the picture and the question among up to two arguments.

    A single one is a picture when it is a file or is named like one, and a question otherwise.
    """
    if len(about) == 2:
        return Path(about[0]), about[1]
    if not about:
        return None, None
    try:
        is_picture = Path(about[0]).is_file()
    except OSError:  # a question can be longer than a file's name
        is_picture = False
    if is_picture or Path(about[0]).suffix.lower() in _SUFFIXES:
        return Path(about[0]), None
    return None, about[0]


def draw_scene(voice: Voice, seed: int) -> Scene:
    """Return a scene that training never showed, the same for the same seed."""
    vocabulary = voice.vocabulary
    rng = rng_for("ask", seed)

    def scene(num_things: int) -> Scene:
        return make_scene(
            f"ask-{seed}",
            vocabulary.paired,
            vocabulary,
            rng,
            num_things=num_things,
            on_a_side=True,
            unseen=True,
        )

    drawn = scene(int(rng.integers(1, MAX_THINGS + 1)))
    return drawn if _tasks(drawn, voice) else scene(1)


def ask_about(scene: Scene, voice: Voice, seed: int) -> tuple[str, str]:
    """Return a question of the world about a scene, and the answer that the scene gives."""
    rng = rng_for("ask", "question", seed)
    tasks = _tasks(scene, voice)
    task, vocabulary = tasks[int(rng.integers(len(tasks)))], voice.vocabulary
    asked = make_question(task, scene, vocabulary, rng, vocabulary.paired)
    text = voice.ask(asked, "train", rng)
    assert text is not None, "a task that is ready has a wording"
    return text, voice.caption(scene) if asked.task == "caption" else voice.answer(asked)


def _tasks(scene: Scene, voice: Voice) -> list[str]:
    ready = voice.pack.tasks_ready()
    return [task for task in VISUAL_TASKS if task in ready and can_ask(task, scene)]


def render(picture: Image.Image, columns: int = _COLUMNS) -> Text:
    """Return a picture as text: a half block for two pixels, one above the other."""
    from rich.color import Color
    from rich.style import Style
    from rich.text import Text

    rows = max(2, round(columns * picture.height / picture.width / 2) * 2)
    pixels = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX))
    text = Text()
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        for above, below in zip(upper, lower, strict=True):
            text.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
        text.append("\n")
    text.rstrip()
    return text


def _silence_libraries() -> None:
    from transformers.utils import logging as transformers_logging

    hide_bars: Any = transformers_logging.disable_progress_bar  # it has no annotations
    hide_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)


def _voice(artifact: Artifact | None, instead: str) -> Voice:
    """Return the target language's voice in the world that a model was made in."""
    world = _world(artifact) if artifact is not None else None
    if world is None:
        raise DataError(
            "the model was not made in the embedded world, or what it was made from is gone, so "
            f"its world cannot be drawn or asked about: {instead}."
        )
    try:
        return voices(world, vocabulary_of(world))[world["target"]]
    except KeyError as error:
        raise DataError(
            f"the model's world was described by another version of ikusi (no {error}), so it "
            f"cannot be drawn: {instead}."
        ) from None


def _world(artifact: Artifact) -> dict[str, Any] | None:
    """Return the world's settings from the nearest of what `artifact` was made from."""
    store = Store(artifact.store_root)
    nearest: list[Artifact | None] = [artifact]
    seen: set[str] = set()
    while nearest:
        made_from: list[Artifact | None] = []
        for one in nearest:
            if one is None or one.address in seen:
                continue
            seen.add(one.address)
            if "world" in one.manifest.config:
                return dict(one.manifest.config["world"])
            made_from.extend(store.find(address) for address in one.manifest.inputs.values())
        nearest = made_from
    return None


def _save(picture: Image.Image, seed: int) -> Path:
    with tempfile.NamedTemporaryFile(
        prefix=f"ikusi-scene-{seed}-", suffix=".png", delete=False
    ) as stream:
        picture.save(stream, "PNG")
    return Path(stream.name)
