"""A small language model with new weights, that learns to compare words quickly."""

from __future__ import annotations

from typing import Any, cast

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase


def small_llama(
    tokenizer: PreTrainedTokenizerBase,
    *,
    hidden_size: int,
    num_hidden_layers: int,
    num_attention_heads: int,
    initializer_range: float,
) -> LlamaForCausalLM:
    """Return a Llama with tied embeddings and new weights, from torch's random state.

    Keys start as queries, so that a token attends to those like it from the first step (mimetic
    initialisation, Trockman and Kolter 2023, arXiv:2305.09828). Without it the tasks that compare
    a word with others (is there, multiple choice) stayed at chance for thousands of steps.

    Args:
        tokenizer: gives the vocabulary and the special tokens.
        hidden_size: width; the feed-forward part is three times as wide.
        num_hidden_layers: layers.
        num_attention_heads: heads; they divide the width.
        initializer_range: deviation of new weights.
    """
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=hidden_size,
            intermediate_size=3 * hidden_size,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            num_key_value_heads=num_attention_heads,
            max_position_embeddings=1024,
            initializer_range=initializer_range,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    with torch.no_grad():
        for layer in cast(Any, model).model.layers:
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)
    return model
