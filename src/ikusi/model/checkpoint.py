"""Checkpoints: standard folders that plain transformers loads without ikusi.

A multimodal one is a `LlavaForConditionalGeneration` folder with its processor, a text one a
causal-LM folder with its tokenizer. The linear connector is written as LLaVA's two-layer projector
by an exact fold (`connector.fold_linear`) and recognised again when it is read, so training goes on
with the single layer. Only a pixel-shuffle connector has no such form; it stands beside the model
in `connector.safetensors`, and `ikusi.json` says so.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from ikusi.core.errors import DataError
from ikusi.model.connector import (
    LinearConnector,
    MlpConnector,
    PixelShuffleConnector,
    build_connector,
    fold_linear,
    unfold_linear,
)

_NOTE = "ikusi.json"
_CONNECTOR = "connector.safetensors"


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
    projector_state: dict[str, torch.Tensor] | None = None
    if isinstance(connector, LinearConnector):
        projector_state, cast(Any, model.config).projector_hidden_act = fold_linear(connector)
    elif isinstance(connector, MlpConnector):
        note = {"connector": "mlp"}
        state = connector.state_dict()
        model.config.projector_hidden_act = "gelu"
        projector_state = {
            "linear_1.weight": state["0.weight"],
            "linear_1.bias": state["0.bias"],
            "linear_2.weight": state["2.weight"],
            "linear_2.bias": state["2.bias"],
        }
    else:
        note = {"connector": "pixel-shuffle", "scale": str(connector.scale)}
        save_file(dict(connector.state_dict()), folder / _CONNECTOR)
    if projector_state is not None:
        with torch.device("meta"):
            projector: nn.Module = LlavaMultiModalProjector(model.config)
        projector.load_state_dict(projector_state, assign=True)
        inner.multi_modal_projector = projector
    try:
        model.save_pretrained(folder)
    finally:
        inner.multi_modal_projector = connector
    (folder / _NOTE).write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    config = cast(Any, model.config)
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
        DataError: there is no model there.
    """
    name = str(source)
    try:
        config = AutoConfig.from_pretrained(name)
        tokenizer = AutoTokenizer.from_pretrained(name)
        if config.model_type != "llava":
            model = AutoModelForCausalLM.from_pretrained(name, dtype=torch.float32)
            return Checkpoint(model, tokenizer)
        llava = LlavaForConditionalGeneration.from_pretrained(name, dtype=torch.float32)
        processor = cast(Any, AutoImageProcessor).from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise DataError(f"{name}: no model can be loaded from there ({reason}).") from None
    _restore_connector(llava, Path(name))
    return Checkpoint(llava, tokenizer, processor)


def _restore_connector(model: LlavaForConditionalGeneration, folder: Path) -> None:
    inner = cast(Any, model).model
    note_file = folder / _NOTE
    note = json.loads(note_file.read_text(encoding="utf-8")) if note_file.is_file() else {}
    config = cast(Any, model.config)  # its parts are typed as what they may be before set-up
    vision_width, text_width = config.vision_config.hidden_size, config.text_config.hidden_size
    if note.get("connector") == "pixel-shuffle":
        scale = int(note["scale"])
        connector = build_connector("pixel-shuffle", vision_width, text_width, scale)
        assert isinstance(connector, PixelShuffleConnector)
        connector.load_state_dict(load_file(folder / _CONNECTOR))
        inner.multi_modal_projector = connector
        return
    state = inner.multi_modal_projector.state_dict()
    linear = unfold_linear(state, config.projector_hidden_act)
    if linear is not None:
        inner.multi_modal_projector = linear
        return
    mlp = MlpConnector(vision_width, text_width)
    mlp.load_state_dict(
        {
            "0.weight": state["linear_1.weight"],
            "0.bias": state["linear_1.bias"],
            "2.weight": state["linear_2.weight"],
            "2.bias": state["linear_2.bias"],
        }
    )
    inner.multi_modal_projector = mlp
