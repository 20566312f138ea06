"""The steps that make data: pictures, records, mixtures, and the tokenizer of their texts.

Place: plan -> [data_steps] -> store; see steps.py for the contract.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ikusi.core.log import track
from ikusi.core.records import read_batches, read_records, write_records
from ikusi.core.types import Record
from ikusi.data.dataset import records_of
from ikusi.data.images import ImageWriter
from ikusi.study.parts import IMAGES, MODEL, RECORDS, SHAS, Inputs, vocabulary_of, voices
from ikusi.world.items import make_items
from ikusi.world.scene import Design, Scene, draw
from ikusi.world.source import training_records, training_scene
from ikusi.world.vocabulary import Vocabulary


def _png(scene: Scene, design: Design) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(draw(scene, design)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def draw_pictures(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Draw a training set's scenes, or the evaluation items' of a split."""
    vocabulary = vocabulary_of(config["world"])
    shas: list[str] = []
    with (
        ImageWriter(out / IMAGES) as writer,
        track(f"draw {config['set']}", total=config["count"]) as advance,
    ):
        for scene, design in _scenes(config, vocabulary):
            shas.append(writer.add(_png(scene, design)))
            advance(1)
    (out / SHAS).write_text(json.dumps(shas), encoding="utf-8")
    return {"pictures": len(shas)}


def _scenes(config: Mapping[str, Any], vocabulary: Vocabulary) -> Iterator[tuple[Scene, Design]]:
    name, seed = config["set"], config["seed"]
    if name.startswith("eval-"):
        split = name.removeprefix("eval-")
        for item in make_items(split, vocabulary, config["per_task"], seed, config["tasks"]):
            yield item.scene, item.design
        return
    for index in range(config["count"]):
        yield training_scene(name, index, seed, config["tasks"], vocabulary), "noto"


def make_records(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Word a set's scenes in one language."""
    from ikusi.world.items import item_records

    vocabulary = vocabulary_of(config["world"])
    voice = voices(config["world"], vocabulary)[config["language"]]
    pictures = None
    if "pictures" in inputs:
        pictures = json.loads((inputs["pictures"].path / SHAS).read_text(encoding="utf-8"))
    name, seed = config["set"], config["seed"]
    records: Iterator[Record]
    if name.startswith("eval-"):
        split = name.removeprefix("eval-")
        items = make_items(split, vocabulary, config["per_task"], seed, config["tasks"])
        records = item_records(items, voice, pictures)
    else:
        tasks = config["tasks"]
        scenes = [training_scene(name, i, seed, tasks, vocabulary) for i in range(config["count"])]
        records = training_records(name, scenes, pictures, voice, tasks, vocabulary)
    with track(f"word {name} in {config['language']}", total=config["count"]) as advance:
        count = write_records(out / RECORDS, _counted(records, advance))
    return {"records": count}


def _counted(records: Iterator[Record], advance: Callable[[float], None]) -> Iterator[Record]:
    for record in records:
        advance(1)
        yield record


def mix_records(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Mix record sets into one ordered training set."""
    from ikusi.data.mix import MixtureSettings, mix

    pools: dict[str, dict[str, list[Path]]] = {}
    for role, artifact in inputs.items():
        part, _, rest = role.partition("@")
        language = rest.partition("/")[0]  # behind it the set's name, where there are several
        pools.setdefault(part, {}).setdefault(language, []).append(records_of(artifact.path))
    settings = MixtureSettings.parse(config["mixture"], "mixture")
    pivot, target = config["pivot"], config["target"]
    scratch = out / ".mixing.arrow"
    readers = {
        part: {language: partial(_read_all, paths) for language, paths in pool.items()}
        for part, pool in pools.items()
    }
    records, report = mix(readers, settings, pivot, target, config["seed"], scratch)
    write_records(out / RECORDS, records)
    return asdict(report)


def _read_all(paths: Sequence[Path], columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the batches of several sets' records, one set after the other."""
    return chain.from_iterable(read_batches(path, columns) for path in paths)


def train_tokenizer(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Train the world's tokenizer on the texts of both languages."""
    from ikusi.model import tokenizer

    texts = (
        turn.text
        for role in sorted(inputs)
        for record in read_records(inputs[role].path / RECORDS, limit=config["texts"])
        for turn in record.turns
    )
    made = tokenizer.train_tokenizer(texts, config["vocab_size"])
    made.save_pretrained(out / MODEL)
    vocabulary = vocabulary_of(config["world"])
    fertility = {}
    for language, by_emoji in vocabulary.names.items():
        words = sum(len(name.split()) for name in by_emoji.values())
        tokens = sum(len(made.encode(n, add_special_tokens=False)) for n in by_emoji.values())
        fertility[language] = tokens / words
    return {"vocab_size": len(made), "tokens_per_word_of_names": fertility}
