"""A vision encoder, a connector and a causal language model as one transformers model.

Place: vision x connector x llm -> [vlm] -> train, evaluate, serve. The model is transformers' own
`LlavaForConditionalGeneration` with our connector in its projector's place. The functions here also
take a text-only causal LM, so that a backbone is trained and tested by the same code.

Shapes: `B` batch, `T` token position, `N` image tokens in the batch, `P` patches of an image,
`C` vision width, `D` language-model width.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from transformers import LlavaConfig, LlavaForConditionalGeneration, PreTrainedModel

from ikusi.core.errors import ConfigError, DataError
from ikusi.model.connector import Connector, num_image_tokens


def assemble(
    vision: PreTrainedModel,
    connector: Connector,
    llm: PreTrainedModel,
    image_token_id: int,
    *,
    feature_layer: int = -2,
) -> LlavaForConditionalGeneration:
    """Join three parts into one model; the parts are used, not copied.

    Args:
        vision: a vision tower, such as `CLIPVisionModel`.
        connector: from the tower's width to the language model's.
        llm: a causal language model of the Llama layout.
        image_token_id: the token that stands for one image token.
        feature_layer: hidden state that is read; -2 is LLaVA's convention.

    Raises:
        ConfigError: one of the parts does not fit LLaVA's frame.
    """
    check_head(llm)
    if not hasattr(decoder(llm), "embed_tokens"):
        raise ConfigError(
            f"{llm.name_or_path or type(llm).__name__}: has not the layout of Llama that LLaVA "
            "needs. Choose a model of that family, such as Llama, Qwen or Mistral."
        )
    strategy: Literal["default", "full"] = "default" if has_class_token(vision) else "full"
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=llm.config,
        image_token_index=image_token_id,
        image_seq_length=num_image_tokens(connector, num_patches(vision)),
        vision_feature_layer=feature_layer,
        vision_feature_select_strategy=strategy,
        tie_word_embeddings=bool(llm.config.tie_word_embeddings),
    )
    with torch.device("meta"):  # the shell's own weights are thrown away, so none are made
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = vision
    model.model.multi_modal_projector = connector
    model.model.language_model = cast(Any, decoder(llm))
    model.lm_head = cast(Any, head(llm))
    model.generation_config = llm.generation_config
    return model


def check_head(llm: PreTrainedModel) -> None:
    """Refuse a language model that changes its logits after the head.

    Raises:
        ConfigError: it does; here, and in LLaVA, the head's output is the prediction.
    """
    for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
        if getattr(llm.config, name, None) not in (None, 1, 1.0):
            raise ConfigError(
                f"{llm.name_or_path or type(llm).__name__}: its logits are changed after the head "
                f"({name}), for which LLaVA has no place. Choose another language model."
            )


@torch.no_grad()
def has_class_token(vision: PreTrainedModel) -> bool:
    """Return whether the tower's sequence starts with a class token (CLIP) or not (SigLIP).

    Raises:
        ConfigError: the tower makes another number of tokens than patches, or one more.
    """
    side, channels = vision.config.image_size, getattr(vision.config, "num_channels", 3)
    blank = torch.zeros(1, channels, side, side, dtype=vision.dtype)
    tokens, patches = vision(blank).last_hidden_state.shape[1], num_patches(vision)
    if tokens - patches not in (0, 1):
        raise ConfigError(
            f"{vision.name_or_path or type(vision).__name__}: makes {tokens} tokens of {patches} "
            "patches; LLaVA takes one each, and at most one class token. Choose another tower."
        )
    return bool(tokens > patches)


def num_patches(vision: PreTrainedModel) -> int:
    """Return the number of patches that the tower makes of one image."""
    return int((vision.config.image_size // vision.config.patch_size) ** 2)


def tower_features(model: LlavaForConditionalGeneration, pixel_values: Tensor) -> Tensor:
    """Return float[B, P, C]: the selected hidden state of the patches, before the connector."""
    config = model.config
    outputs = model.model.vision_tower(pixel_values, output_hidden_states=True)
    hidden: Tensor = outputs.hidden_states[config.vision_feature_layer]
    return hidden[:, 1:] if config.vision_feature_select_strategy == "default" else hidden


def splice_image_features(text_BTD: Tensor, features_ND: Tensor, is_image_BT: Tensor) -> Tensor:
    """Return `text_BTD` with the rows marked in `is_image_BT` replaced, in reading order.

    Args:
        text_BTD: float[B, T, D] token embeddings; left unchanged.
        features_ND: float[N, D] connector output, images in batch order.
        is_image_BT: bool[B, T] with exactly N true entries.

    Raises:
        DataError: the two counts differ; gives both.
    """
    marked, given = int(is_image_BT.sum()), features_ND.shape[0]
    if marked != given:
        raise DataError(
            f"{marked} image tokens in the text, but {given} image features. "
            "Check that every image has its mark, and the model's number of tokens per image."
        )
    mask = is_image_BT.unsqueeze(-1).expand_as(text_BTD)
    return text_BTD.masked_scatter(mask, features_ND.to(text_BTD.dtype))


def embed(model: PreTrainedModel, input_ids_BT: Tensor, features: Tensor | None) -> Tensor:
    """Return float[B, T, D]: token embeddings with the images' features spliced in.

    Args:
        model: a LLaVA model, or a causal LM where there are no images.
        input_ids_BT: int[B, T].
        features: float[images, P, C] from `tower_features` in batch order, or None.

    Raises:
        DataError: the text has another number of image tokens than there are features.
    """
    embeddings: Tensor = model.get_input_embeddings()(input_ids_BT)
    if not isinstance(model, LlavaForConditionalGeneration):
        return embeddings
    if features is None:
        projected = embeddings.new_zeros(0, embeddings.shape[-1])
    else:
        projected = cast(Any, model).model.multi_modal_projector(features).flatten(0, 1)
    is_image_BT = input_ids_BT == model.config.image_token_id
    return splice_image_features(embeddings, projected, is_image_BT)


def decoder(model: PreTrainedModel) -> nn.Module:
    """Return the stack of transformer layers that reads embeddings."""
    inner = model.base_model
    stack: nn.Module = getattr(inner, "language_model", inner)
    return stack


def head(model: PreTrainedModel) -> nn.Module:
    """Return the map from the decoder's output to logits."""
    found: nn.Module = cast(Any, model).get_output_embeddings()
    return found


def positions(attention_mask_BT: Tensor) -> Tensor:
    """Return int[B, T]: each token's place in its row, from 0, on whichever side the padding is."""
    return (attention_mask_BT.cumsum(-1) - 1).clamp_min(0)


def supervised_logits(
    model: PreTrainedModel,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    is_target_BT: Tensor,
    features: Tensor | None,
) -> Tensor:
    """Return float[targets, vocabulary]: the prediction of every token marked in `is_target_BT`.

    Only these rows go through the head; at a short answer per question that saves most of it.
    """
    embeddings = embed(model, input_ids_BT, features)
    hidden = decoder(model)(
        inputs_embeds=embeddings,
        attention_mask=attention_mask_BT,
        position_ids=positions(attention_mask_BT),
        use_cache=False,
    ).last_hidden_state
    predicting = hidden[:, :-1][is_target_BT[:, 1:]]
    logits: Tensor = head(model)(predicting)
    return logits
