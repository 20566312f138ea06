"""The steps that train: the world's tower and backbones, and the two stages.

Place: plan -> [train_steps] -> store; see steps.py for the contract.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ikusi.core.errors import ConfigError
from ikusi.core.log import track
from ikusi.core.records import read_records
from ikusi.core.seeds import seed_for
from ikusi.data.images import ImageReader
from ikusi.study.parts import IMAGES, MODEL, RECORDS, Inputs, vocabulary_of
from ikusi.train.settings import TrainSettings
from ikusi.world.scene import SIDE_PX

if TYPE_CHECKING:
    from ikusi.batch.chat import ChatRenderer, Sample
    from ikusi.batch.features import FeatureTable
    from ikusi.core.artifact import Artifact
    from ikusi.model.checkpoint import Checkpoint
    from ikusi.train.loop import Objective
    from ikusi.train.params import Stage

logger = logging.getLogger(__name__)

_HELD_OUT = 512  # conversations: a share of them is known to 0.02
_LOOK_EVERY = 50  # steps; a look takes as long as two or three of them


def train_encoder(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Train the world's vision tower from scratch."""
    import torch
    from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel

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
    history = _fit(objective, settings, "encoder")
    tower.train(False)
    tower.save_pretrained(out / MODEL)
    processor.save_pretrained(out / MODEL)
    return {**history, "accuracy": objective.accuracy(500)}


def _fit(
    objective: Objective,
    settings: TrainSettings,
    label: str,
    is_enough: Callable[[int], bool] | None = None,
) -> dict[str, Any]:
    from ikusi.train.loop import fit, num_steps

    with track(f"train {label}", total=num_steps(objective, settings)) as advance:
        history = fit(
            objective,
            settings,
            on_step=lambda step, steps, loss: advance(1),
            is_enough=is_enough,
        )
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

    from ikusi.model.checkpoint import Checkpoint, load_checkpoint
    from ikusi.model.small import small_llama

    torch.manual_seed(seed_for("backbone", config["seed"]) % 2**31)
    if "init" in inputs:
        checkpoint = load_checkpoint(inputs["init"].path / MODEL)
    else:
        tokenizer = AutoTokenizer.from_pretrained(inputs["tokenizer"].path / MODEL)
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "initializer_range")
        llama = small_llama(tokenizer, **{key: config[key] for key in sizes})
        checkpoint = Checkpoint(llama, tokenizer)
    settings = TrainSettings.parse(config["train"], "backbone.train")
    order = seed_for("order", config["seed"], settings.seed)
    label = f"backbone {config['name']}"
    until = config["until"]
    return _train(checkpoint, "text", label, settings, inputs["mixture"], None, order, out, until)


def train_stage(config: Mapping[str, Any], inputs: Inputs, out: Path) -> Mapping[str, Any]:
    """Train stage 1 (`align`) or stage 2 (`instruct`)."""
    import torch

    from ikusi.model.checkpoint import load_checkpoint

    stage = config["stage"]
    torch.manual_seed(seed_for(stage, config["seed"]) % 2**31)
    if stage == "align":
        checkpoint = assemble_checkpoint(config["model"] | config["folders"], inputs)
    else:
        checkpoint = load_checkpoint(inputs["model"].path / MODEL)
    features = picture_features(checkpoint, inputs)
    if stage == "align":
        from ikusi.model.connector import scale_output, standardise_input

        table = torch.from_numpy(features.features)
        connector = cast(Any, checkpoint.model).model.multi_modal_projector
        standardise_input(connector, table.mean((0, 1)), table.std((0, 1)))
        words = cast(Any, checkpoint.model).get_input_embeddings().weight
        scale_output(connector, table[:1000], float(words.detach().std()))
    settings = TrainSettings.parse(config["train"], f"{stage}.train")
    order = seed_for("order", stage, config["seed"], settings.seed)
    return _train(checkpoint, stage, stage, settings, inputs["mixture"], features, order, out)


def _train(
    checkpoint: Checkpoint,
    stage: Stage,
    label: str,
    settings: TrainSettings,
    mixture: Artifact,
    features: FeatureTable | None,
    order: int,
    out: Path,
    until: float | None = None,
) -> dict[str, Any]:
    """Train a checkpoint on a mixture's conversations, save it, and return what to tell of it."""
    from ikusi.batch.chat import ChatRenderer
    from ikusi.model.checkpoint import save_checkpoint
    from ikusi.train.chat_objective import ChatObjective
    from ikusi.train.params import choose_trainable

    renderer = ChatRenderer(
        checkpoint.tokenizer, checkpoint.image_token_id, checkpoint.tokens_per_image
    )
    samples, by_language = _render(renderer, mixture)
    held_out = samples[:: max(1, len(samples) // _HELD_OUT)] if until else []
    if until:
        kept_out = {sample.id for sample in held_out}
        samples = [sample for sample in samples if sample.id not in kept_out]
    trainable, parts = choose_trainable(checkpoint.model, stage)
    told = [str(part) for part in parts]
    logger.info("%s: %s", label, "; ".join(" ".join(part.split()) for part in told))
    objective = ChatObjective(
        checkpoint.model,
        trainable,
        samples,
        features,
        cast(int, checkpoint.tokenizer.pad_token_id),
        batch_size=settings.per_device_train_batch_size,
        seed=order % 2**31,
    )
    checkpoint.model.train()
    answered: list[list[float]] = []

    def is_enough(step: int) -> bool:
        if step % _LOOK_EVERY:
            return False
        answered.append([step, round(objective.answered(held_out), 4)])
        return until is not None and answered[-1][1] >= until

    history = _fit(objective, settings, label, is_enough if until else None)
    checkpoint.model.train(False)
    save_checkpoint(checkpoint, out / MODEL)
    told_of = {**history, "by_language": by_language, "parts": told}
    if until:
        share = objective.answered(held_out)
        if share < until:
            logger.warning(
                "%s: answers %.2f of the conversations kept out, less than the %.2f that it trains "
                "until. Give it more epochs, or another seed.",
                label,
                share,
                until,
            )
        told_of["answered"] = [*answered, [history["steps"], round(share, 4)]]
    return told_of


def _render(
    renderer: ChatRenderer, mixture: Artifact
) -> tuple[list[Sample], dict[str, dict[str, int]]]:
    """Return a mixture as tokens, and how many there are by language.

    Shares of a mixture are those of samples, which those of tokens are not.
    """
    samples: list[Sample] = []
    by_language: dict[str, dict[str, int]] = {}
    for record in read_records(mixture.path / RECORDS):
        sample = renderer.render(record)
        samples.append(sample)
        counts = by_language.setdefault(
            record.language, dict.fromkeys(("samples", "tokens", "supervised_tokens"), 0)
        )
        counts["samples"] += 1
        counts["tokens"] += len(sample)
        counts["supervised_tokens"] += int(sample.is_target.sum())
    return samples, dict(sorted(by_language.items()))


def assemble_checkpoint(model: Mapping[str, Any], inputs: Inputs) -> Checkpoint:
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


def picture_features(checkpoint: Checkpoint, inputs: Inputs) -> FeatureTable:
    """Return the vision features of every picture among the inputs, from the cache or made now."""
    from ikusi.batch.features import cached_features

    table: FeatureTable | None = None
    for role in sorted(inputs):
        if not role.startswith("pictures"):
            continue
        artifact = inputs[role]
        reader = ImageReader(artifact.path / IMAGES)
        part = cached_features(
            artifact.store_root / ".features",
            cast(Any, checkpoint.model),
            checkpoint.image_processor,
            sorted(reader.sha256s()),
            reader.open,
        )
        table = part if table is None else table.join(part)
    if table is None:
        raise ConfigError("a multimodal stage without pictures: check the recipe's data.")
    return table
