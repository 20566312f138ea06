"""What each kind of step does: inputs and a configuration in, a payload in a folder out.

Place: plan -> [steps] -> store. Contract: a step reads its configuration and its inputs and
nothing else that could change its output; its `version` changes when its output does.
"""

from __future__ import annotations

import io
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.errors import ConfigError
from ikusi.core.log import track
from ikusi.core.memory import peak_mb, start_peak
from ikusi.core.records import read_records, write_records
from ikusi.core.seeds import seed_for
from ikusi.core.types import Record
from ikusi.data.images import ImageReader, ImageWriter
from ikusi.languages.pack import load_pack
from ikusi.train.settings import TrainSettings
from ikusi.world.grammar import LETTERS, Voice
from ikusi.world.items import make_items
from ikusi.world.scene import SIDE_PX, Design, Scene, draw
from ikusi.world.source import training_records, training_scene
from ikusi.world.vocabulary import Vocabulary, choose_vocabulary

if TYPE_CHECKING:
    from ikusi.batch.chat import Sample

Inputs = Mapping[str, Artifact]
StepFunction = Callable[[Mapping[str, Any], Inputs, Path], Mapping[str, Any]]

RECORDS, IMAGES, SHAS, MODEL = "records.parquet", "images", "pictures.json", "model"


def vocabulary_of(world: Mapping[str, Any]) -> Vocabulary:
    """Return the vocabulary that a step's `world` settings describe."""
    return choose_vocabulary(
        world["pivot"],
        world["target"],
        num_paired=world["paired"],
        num_probe=world["probe"],
        kinds=world["kinds"],
        cldr=world["cldr"],
    )


def voices(world: Mapping[str, Any], vocabulary: Vocabulary) -> dict[str, Voice]:
    """Return the world's two languages."""
    pivot, target = load_pack(world["pivot"]), load_pack(world["target"])
    return {
        pivot.code: Voice(pivot, target, vocabulary),
        target.code: Voice(target, pivot, vocabulary),
    }


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

    pivot, target = config["pivot"], config["target"]
    pools: dict[str, dict[str, list[Record]]] = {}
    pivot_only: list[Record] = []
    for role, artifact in inputs.items():
        modality, _, language = role.partition("@")
        records = list(read_records(artifact.path / RECORDS))
        if modality == "pivot_only":
            pivot_only.extend(records)
        else:
            pools.setdefault(modality, {}).setdefault(language, []).extend(records)
    settings = MixtureSettings.parse(config["mixture"], "mixture")
    records, report = mix(cast(Any, pools), pivot_only, settings, pivot, target, config["seed"])
    write_records(out / RECORDS, records)
    return asdict(report)


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


def train_encoder(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Train the world's vision tower from scratch."""
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

    from ikusi.train.loop import fit
    from ikusi.world.encoder import EncoderObjective
    from ikusi.world.scene import CELL_PX

    settings = TrainSettings.parse(config["train"], "encoder.train")
    torch.manual_seed(seed_for("encoder", config["seed"]) % 2**31)
    width = config["hidden_size"]
    tower = CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=config["num_attention_heads"],
            image_size=SIDE_PX,
            patch_size=CELL_PX,
            projection_dim=width,
            hidden_act="gelu",
        )
    )
    make: Any = CLIPImageProcessorPil  # its __init__ has no annotations
    processor = make(
        size={"height": SIDE_PX, "width": SIDE_PX},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    vocabulary = vocabulary_of(config["world"])
    objective = EncoderObjective(
        tower,
        vocabulary.all,
        lambda pictures: torch.from_numpy(pictures.transpose(0, 3, 1, 2) / 127.5 - 1).float(),
        batch_size=settings.per_device_train_batch_size,
        num_scenes=config["num_scenes"],
        seed=config["seed"],
    )
    history = _fit(fit, objective, settings, "encoder")
    tower.train(False)
    tower.save_pretrained(out / MODEL)
    processor.save_pretrained(out / MODEL)
    return {**history, "accuracy": objective.accuracy(500)}


def _fit(fit: Any, objective: Any, settings: TrainSettings, label: str) -> dict[str, Any]:
    from ikusi.train.loop import num_steps

    with track(f"train {label}", total=num_steps(objective, settings)) as advance:
        history = fit(objective, settings, on_step=lambda step, steps, loss: advance(1))
    return {
        "steps": history.steps,
        "samples": history.samples,
        "supervised_tokens": history.supervised_tokens,
        "loss": history.rows,
    }


def train_text(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Train a text-only backbone, from scratch or from another one."""
    import torch
    from transformers import AutoTokenizer

    from ikusi.batch.chat import ChatRenderer
    from ikusi.model.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
    from ikusi.model.small import small_llama
    from ikusi.train.chat_objective import ChatObjective
    from ikusi.train.loop import fit
    from ikusi.train.params import choose_trainable

    torch.manual_seed(seed_for("backbone", config["seed"]) % 2**31)
    if "init" in inputs:
        checkpoint = load_checkpoint(inputs["init"].path / MODEL)
    else:
        tokenizer = AutoTokenizer.from_pretrained(inputs["tokenizer"].path / MODEL)
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "initializer_range")
        llama = small_llama(tokenizer, **{key: config[key] for key in sizes})
        checkpoint = Checkpoint(llama, tokenizer)
    settings = TrainSettings.parse(config["train"], "backbone.train")
    renderer = ChatRenderer(checkpoint.tokenizer, None, 0)
    records = list(read_records(inputs["mixture"].path / RECORDS))
    samples = [renderer.render(record) for record in records]
    trainable, parts = choose_trainable(checkpoint.model, "text")
    objective = ChatObjective(
        checkpoint.model,
        trainable,
        samples,
        None,
        cast(int, checkpoint.tokenizer.pad_token_id),
        batch_size=settings.per_device_train_batch_size,
        seed=seed_for("order", config["seed"], settings.seed) % 2**31,
    )
    checkpoint.model.train()
    history = _fit(fit, objective, settings, f"backbone {config['name']}")
    checkpoint.model.train(False)
    save_checkpoint(checkpoint, out / MODEL)
    return {
        **history,
        "by_language": _count_tokens(records, samples),
        "parts": [str(part) for part in parts],
    }


def _count_tokens(
    records: Sequence[Record], samples: Sequence[Sample]
) -> dict[str, dict[str, int]]:
    """Return, by language, what a mixture comes to: shares of samples are not those of tokens."""
    found: dict[str, dict[str, int]] = {}
    for record, sample in zip(records, samples, strict=True):
        counts = found.setdefault(
            record.language, dict.fromkeys(("samples", "tokens", "supervised_tokens"), 0)
        )
        counts["samples"] += 1
        counts["tokens"] += len(sample)
        counts["supervised_tokens"] += int(sample.is_target.sum())
    return dict(sorted(found.items()))


def train_stage(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Train stage 1 (`align`) or stage 2 (`instruct`)."""
    import torch

    from ikusi.batch.chat import ChatRenderer
    from ikusi.model.checkpoint import load_checkpoint, save_checkpoint
    from ikusi.train.chat_objective import ChatObjective
    from ikusi.train.loop import fit
    from ikusi.train.params import choose_trainable

    stage = config["stage"]
    torch.manual_seed(seed_for(stage, config["seed"]) % 2**31)
    if stage == "align":
        checkpoint = assemble_checkpoint(config["model"], inputs)
    else:
        checkpoint = load_checkpoint(inputs["model"].path / MODEL)
    records = list(read_records(inputs["mixture"].path / RECORDS))
    features = picture_features(checkpoint, inputs)
    if stage == "align":
        from ikusi.model.connector import scale_output, standardise_input

        table = torch.from_numpy(features.features)
        connector = cast(Any, checkpoint.model).model.multi_modal_projector
        standardise_input(connector, table.mean((0, 1)), table.std((0, 1)))
        words = cast(Any, checkpoint.model).get_input_embeddings().weight
        scale_output(connector, table[:1000], float(words.detach().std()))
    renderer = ChatRenderer(
        checkpoint.tokenizer, checkpoint.image_token_id, checkpoint.tokens_per_image
    )
    samples = [renderer.render(record) for record in records]
    settings = TrainSettings.parse(config["train"], f"{stage}.train")
    trainable, parts = choose_trainable(checkpoint.model, stage)
    objective = ChatObjective(
        checkpoint.model,
        trainable,
        samples,
        features,
        cast(int, checkpoint.tokenizer.pad_token_id),
        batch_size=settings.per_device_train_batch_size,
        seed=seed_for("order", stage, config["seed"], settings.seed) % 2**31,
    )
    checkpoint.model.train()
    history = _fit(fit, objective, settings, stage)
    checkpoint.model.train(False)
    save_checkpoint(checkpoint, out / MODEL)
    return {
        **history,
        "by_language": _count_tokens(records, samples),
        "parts": [str(part) for part in parts],
    }


def assemble_checkpoint(model: Mapping[str, Any], inputs: Inputs) -> Any:
    """Return vision x connector x llm as one checkpoint, the connector new.

    The vision encoder and the language model are inputs of the step where the world makes them,
    and hub ids or folders otherwise.
    """
    from ikusi.model.checkpoint import join_parts

    vision, llm = (
        inputs[part].path / MODEL if part in inputs else model[part] for part in ("vision", "llm")
    )
    chosen = {key: model[key] for key in ("connector", "scale", "feature_layer")}
    return join_parts(vision, llm, **chosen)


def picture_features(checkpoint: Any, inputs: Inputs) -> Any:
    """Return the vision features of every picture among the inputs, from the cache or made now."""
    from ikusi.batch.features import FeatureTable, cached_features

    table: FeatureTable | None = None
    for role in sorted(inputs):
        if not role.startswith("pictures"):
            continue
        artifact = inputs[role]
        reader = ImageReader(artifact.path / IMAGES)
        part = cached_features(
            artifact.path.parent.parent / ".features",
            checkpoint.model,
            checkpoint.image_processor,
            sorted(reader.sha256s()),
            reader.open,
        )
        table = part if table is None else table.join(part)
    if table is None:
        raise ConfigError("a multimodal stage without pictures: check the recipe's data.")
    return table


def evaluate(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Answer the evaluation items with a checkpoint; a text-only one gets the text split alone."""
    import numpy as np
    from PIL import Image

    from ikusi.batch.features import FeatureTable, encode_pictures
    from ikusi.evaluate.fidelity import Fidelity, measure_identification
    from ikusi.evaluate.results import write_results
    from ikusi.evaluate.runner import (
        BLANK,
        answer_items,
        gold_of,
        with_blank,
        with_shuffled,
    )
    from ikusi.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(inputs["model"].path / MODEL)
    checkpoint.model.train(False)
    vocabulary = vocabulary_of(config["world"])
    by_language = voices(config["world"], vocabulary)
    features: FeatureTable | None = None
    if checkpoint.image_processor is not None:
        blank = encode_pictures(
            cast(Any, checkpoint.model),
            checkpoint.image_processor,
            [BLANK],
            lambda _: Image.fromarray(np.full((SIDE_PX, SIDE_PX, 3), 128, dtype=np.uint8)),
        )
        features = picture_features(checkpoint, inputs).join(blank)
    items = {
        split: [
            record
            for language in by_language
            for record in read_records(inputs[f"items-{split}@{language}"].path / RECORDS)
        ]
        for split in config["splits"]
        if features is not None or split == "text"
    }
    pivot, target = (voice.pack for voice in by_language.values())
    confusion = measure_identification(target, pivot, itertools.chain(*items.values()))
    fidelity = Fidelity(_lexicon(by_language), confusion)
    rows: list[dict[str, Any]] = []
    for split, records in items.items():
        gold = gold_of(records)
        variants = [(split, records)]
        if split == "main" and config["blind"]:
            some = _first_per_task(records, config["blind_per_task"])
            variants += [("blank", with_blank(some)), ("shuffled", with_shuffled(some))]
        for name, asked in variants:
            rows.extend(
                answer_items(
                    checkpoint,
                    asked,
                    name,
                    gold,
                    fidelity,
                    features,
                    batch_size=config["batch_size"],
                    max_new_tokens=config["max_new_tokens"],
                )
            )
    rows.sort(key=lambda row: row["sample_id"])
    count = write_results(out / "results.parquet", rows)
    correct = sum(row["correct"] for row in rows) / max(1, count)
    return {"samples": count, "correct": correct, "identification": confusion.to_plain()}


def _first_per_task(records: list[Record], count: int) -> list[Record]:
    seen: dict[tuple[str, str], int] = {}
    chosen = []
    for record in records:
        key = (record.language, record.task)
        seen[key] = seen.get(key, 0) + 1
        if seen[key] <= count:
            chosen.append(record)
    return chosen


def _lexicon(by_language: Mapping[str, Voice]) -> Any:
    from ikusi.evaluate.fidelity import Lexicon

    pivot, target = by_language.values()

    def texts(voice: Voice) -> list[str]:
        pack = voice.pack
        numbers = [form for forms in pack.numbers for form in forms]
        words = [*pack.terms.colours.values(), *pack.terms.sides.values()]
        words += [*pack.terms.kinds.values(), *pack.yes_no.yes, *pack.yes_no.no]
        written = [*voice.names.values(), *map(_first_form, words), pack.caption_answer]
        return [*written, *numbers, *LETTERS]

    return Lexicon(texts(target), texts(pivot))


def _first_form(word: Any) -> str:
    return word if isinstance(word, str) else str(word[0])


def run_step(spec: Spec, inputs: Inputs, out: Path) -> dict[str, Any]:
    """Do a step and return its stats, with what it took: seconds, and peak memory in MiB."""
    from ikusi.model.fast_linear import fast_linear

    start_peak()
    begun = time.monotonic()
    with fast_linear():
        stats = dict(STEPS[spec.kind][1](spec.config, inputs, out))
    seconds = round(time.monotonic() - begun, 3)
    return {**stats, "seconds": seconds, "peak_memory_mb": peak_mb()}


STEPS: dict[str, tuple[int, StepFunction]] = {
    "pictures": (2, draw_pictures),
    "import": (3, make_records),
    "tokenizer": (1, train_tokenizer),
    "encoder": (3, train_encoder),
    "mix": (1, mix_records),
    "text": (3, train_text),
    "align": (3, train_stage),
    "instruct": (2, train_stage),
    "evaluate": (3, evaluate),
}
"""Kind of step -> its version and its function."""
