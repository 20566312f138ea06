"""Checkpoints: standard folders that plain transformers loads without ikusi.

A multimodal one is a `LlavaForConditionalGeneration` folder with its processor, a text one a
causal-LM folder with its tokenizer. The linear connector is written as LLaVA's two-layer projector
by an exact fold (`connector.fold_linear`) and recognised again when it is read, so training goes on
with the single layer. Only a pixel-shuffle connector has no such form: it stands beside the model
in `connector.safetensors`, `ikusi.json` says so, and plain transformers refuses to load the folder.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoProcessor,
    AutoTokenizer,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from ikusi.core.errors import DataError
from ikusi.model.connector import (
    Connector,
    ConnectorKind,
    LinearConnector,
    MlpConnector,
    build_connector,
    fold_linear,
    unfold_linear,
)
from ikusi.model.tokenizer import add_image_token
from ikusi.model.vlm import assemble, check_head

_NOTE = "ikusi.json"
_CONNECTOR = "connector.safetensors"
_PROJECTOR = "multi_modal_projector"
_LLAVA_NAMES = {
    "0.weight": "linear_1.weight",
    "0.bias": "linear_1.bias",
    "2.weight": "linear_2.weight",
    "2.bias": "linear_2.bias",
}


@dataclass
class Checkpoint:
    """A model with what it needs to read a conversation.

    `image_processor` is None for a text-only model.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    image_processor: Any | None = None

    @property
    def image_token_id(self) -> int | None:
        """The token that stands for one image token, or None for a text-only model."""
        return getattr(self.model.config, "image_token_id", None)

    @property
    def tokens_per_image(self) -> int:
        """How many tokens the language model sees for an image."""
        return int(getattr(self.model.config, "image_seq_length", 0))


def join_parts(
    vision: str | Path,
    llm: str | Path,
    *,
    connector: ConnectorKind,
    scale: int = 2,
    feature_layer: int = -2,
) -> Checkpoint:
    """Return vision encoder x connector x language model as one checkpoint, the connector new.

    Args:
        vision: hub id or folder of a vision tower, or of a CLIP-like model that has one.
        llm: hub id or folder of a causal language model.
        connector: its kind.
        scale: block side of `pixel-shuffle`.
        feature_layer: hidden state of the tower that is read; -2 is LLaVA's convention.

    Raises:
        DataError: there is no such model.
        ConfigError: the parts do not fit.
    """
    text = load_checkpoint(llm)
    whole = _load_weights(AutoModel, str(vision), foreign="pooler")  # which nothing reads
    processor = _pretrained(AutoImageProcessor, str(vision))
    tower = getattr(whole, "vision_model", whole)
    image_token_id = add_image_token(text.tokenizer)
    vocabulary = len(text.tokenizer)
    model = cast(Any, text.model)
    if vocabulary > model.get_input_embeddings().num_embeddings:
        # The new row is never read: the connector's output stands in its place.
        model.resize_token_embeddings(vocabulary, mean_resizing=False)
    widths = tower.config.hidden_size, model.config.hidden_size
    joint = build_connector(connector, *widths, scale)
    joined = assemble(tower, joint, model, image_token_id, feature_layer=feature_layer)
    return Checkpoint(joined, text.tokenizer, processor)


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `checkpoint` to `folder` in the standard form."""
    folder.mkdir(parents=True, exist_ok=True)
    model = checkpoint.model
    if not isinstance(model, LlavaForConditionalGeneration):
        model.save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
        return
    inner = cast(Any, model).model
    connector = inner.multi_modal_projector
    note = {"connector": "linear"}
    config = cast(Any, model.config)
    if isinstance(connector, LinearConnector):
        state, config.projector_hidden_act = fold_linear(connector)
    elif isinstance(connector, MlpConnector):
        note = {"connector": "mlp"}
        config.projector_hidden_act = connector.activation
        state = {_LLAVA_NAMES[name]: tensor for name, tensor in connector.state_dict().items()}
    else:
        note = {"connector": "pixel-shuffle", "scale": str(connector.scale)}
        save_file(dict(connector.state_dict()), folder / _CONNECTOR)
        # Of another shape than LLaVA's: who loads the folder without ikusi is told so.
        state = {"linear_1.weight": connector.projection.weight.detach()}
    inner.multi_modal_projector = _projector_of(state)
    for part in (config.vision_config, config.text_config):
        part._name_or_path = ""  # where it was on this machine is no part of the model
    try:
        model.save_pretrained(folder)
    finally:
        inner.multi_modal_projector = connector
    (folder / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    make: Any = LlavaProcessor  # its __init__ has no annotations
    processor = make(
        image_processor=checkpoint.image_processor,
        tokenizer=checkpoint.tokenizer,
        patch_size=config.vision_config.patch_size,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        chat_template=checkpoint.tokenizer.chat_template,
        image_token=checkpoint.tokenizer.convert_ids_to_tokens(config.image_token_id),
        num_additional_image_tokens=int(config.vision_feature_select_strategy == "default"),
    )
    processor.save_pretrained(folder)
    checkpoint.tokenizer.save_pretrained(folder)  # with the template in the tokenizer too


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Return the checkpoint in a folder or under a hub id, on the CPU in float32.

    Raises:
        DataError: there is no model there, or not all of it.
        ConfigError: it is a language model that ikusi cannot use.
    """
    name = str(source)
    note = _read_note(Path(name))
    config = _pretrained(AutoConfig, name)
    if config.model_type != "llava":
        tokenizer = _pretrained(AutoTokenizer, name)
        model = _load_weights(AutoModelForCausalLM, name)
        check_head(model)
        return Checkpoint(model, _with_padding(tokenizer))
    processor = _pretrained(AutoProcessor, name)
    tokenizer = processor.tokenizer
    tokenizer.chat_template = tokenizer.chat_template or processor.chat_template
    if note.get("connector") == "pixel-shuffle":
        llava = _load_weights(LlavaForConditionalGeneration, name, foreign=_PROJECTOR)
        connector = _load_pixel_shuffle(llava, Path(name), int(note["scale"]))
    else:
        llava = _load_weights(LlavaForConditionalGeneration, name)
        connector = _read_projector(llava)
    cast(Any, llava).model.multi_modal_projector = connector
    return Checkpoint(llava, _with_padding(tokenizer), processor.image_processor)


def _pretrained(kind: Any, name: str, **how: Any) -> Any:
    try:
        return kind.from_pretrained(name, **how)
    except Exception as error:  # damaged files: the readers raise anything, a bare Exception too
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{name}: no model can be loaded from there ({reason}).") from None


def _load_weights(kind: Any, name: str, foreign: str | None = None) -> Any:
    """Load a model and refuse it when weights are missing, but those under `foreign`."""
    how = {"ignore_mismatched_sizes": foreign is not None}
    model, info = _pretrained(kind, name, dtype=torch.float32, output_loading_info=True, **how)
    absent = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
    absent = sorted(key for key in absent if foreign is None or foreign not in key)
    if absent:
        raise DataError(
            f"{name}: the model there lacks {len(absent)} of its weights, such as {absent[0]}. "
            "Copy or download it again."
        )
    return model


def _with_padding(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # any will do: padding is masked
    return tokenizer


def _read_note(folder: Path) -> dict[str, str]:
    file = folder / _NOTE
    try:
        note = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        note = None
    if not isinstance(note, dict):
        raise DataError(f"{file}: is damaged. Copy or make the checkpoint again.")
    return note


def _load_pixel_shuffle(
    model: LlavaForConditionalGeneration, folder: Path, scale: int
) -> Connector:
    connector = build_connector("pixel-shuffle", *_widths(model), scale)
    try:
        connector.load_state_dict(load_file(folder / _CONNECTOR))
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"{folder / _CONNECTOR}: the connector cannot be read ({reason}). "
            "Copy or make the checkpoint again."
        ) from None
    return connector


def _read_projector(model: LlavaForConditionalGeneration) -> Connector:
    config = cast(Any, model.config)
    state = cast(Any, model).model.multi_modal_projector.state_dict()
    for layer in ("linear_1", "linear_2"):  # a projector without biases is one with zeros
        state.setdefault(f"{layer}.bias", torch.zeros(state[f"{layer}.weight"].shape[0]))
    config.multimodal_projector_bias = True
    linear = unfold_linear(state, config.projector_hidden_act)
    if linear is not None:
        return linear
    mlp = MlpConnector(*_widths(model), config.projector_hidden_act)
    mlp.load_state_dict({ours: state[llava] for ours, llava in _LLAVA_NAMES.items()})
    return mlp


def _widths(model: LlavaForConditionalGeneration) -> tuple[int, int]:
    config = cast(Any, model.config)  # its parts are typed as what they may be before set-up
    return config.vision_config.hidden_size, config.text_config.hidden_size


def _projector_of(state: Mapping[str, Tensor]) -> nn.Module:
    """Return a module that is saved under the names of LLaVA's projector."""
    layers = {name.partition(".")[0]: nn.ParameterDict() for name in state}
    for name, tensor in state.items():
        layer, _, kind = name.partition(".")
        layers[layer][kind] = nn.Parameter(tensor)
    return nn.ModuleDict(layers)
