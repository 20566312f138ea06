"""Greedy answers and likelihoods of given answers, from one reading of the prompts.

Place: vlm -> [generate] -> evaluate, ask. A batch of prompts is read once; its cache then
serves both the greedy continuation and the score of every option, so scoring options costs only
their own tokens.

Shapes: `B` prompts, `T` prompt length, `V` vocabulary.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from ikusi.model.vlm import decoder, embed, head, positions


@dataclass(frozen=True, slots=True)
class Continuation:
    """What the model answers to one prompt.

    `token_ids` of the greedy answer, the end left out; `finished` is false when it was cut at the
    limit; `option_logprobs[i]` is the summed log-probability of option `i` and its end of turn.
    """

    token_ids: tuple[int, ...]
    finished: bool
    option_logprobs: tuple[float, ...]


@torch.inference_mode()
def continue_prompts(
    model: PreTrainedModel,
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor,
    features: Tensor | None,
    *,
    end_token_id: int,
    max_new_tokens: int,
    options: Sequence[Sequence[Sequence[int]]] | None = None,
) -> list[Continuation]:
    """Answer a batch of prompts greedily, and score the options of each.

    Args:
        model: a LLaVA model, or a causal LM for text alone.
        input_ids_BT: int[B, T] prompts, padded on the left.
        attention_mask_BT: int[B, T], 0 where they are padded.
        features: float[images, P, C] of their pictures in reading order, or None.
        end_token_id: ends an answer.
        max_new_tokens: an answer is cut there.
        options: for each prompt its options as token ids without the end; may be empty lists.
    """
    cache = DynamicCache(config=cast(Any, decoder(model)).config)
    mask = attention_mask_BT
    logits_BV = _step(model, embed(model, input_ids_BT, features), mask, cache)
    scores = _score_options(model, mask, cache, logits_BV, end_token_id, options)
    answers, finished = _greedy(model, mask, cache, logits_BV, end_token_id, max_new_tokens)
    return [
        Continuation(tuple(answer), done, tuple(score))
        for answer, done, score in zip(answers, finished, scores, strict=True)
    ]


def _step(model: PreTrainedModel, embeddings: Tensor, mask: Tensor, cache: DynamicCache) -> Tensor:
    """Read `embeddings` after what the cache holds; return float[B, V] after the last of them."""
    hidden = _hidden(model, embeddings, mask, cache)
    logits: Tensor = head(model)(hidden[:, -1]).float()
    return logits


def _hidden(
    model: PreTrainedModel, embeddings: Tensor, mask: Tensor, cache: DynamicCache
) -> Tensor:
    stack = decoder(model)
    output: Tensor = stack(
        inputs_embeds=embeddings,
        attention_mask=mask,
        position_ids=positions(mask)[:, -embeddings.shape[1] :],
        use_cache=True,
        **{_cache_argument(stack): cache},
    ).last_hidden_state
    return output


def _cache_argument(stack: nn.Module) -> str:
    """Return what a model calls its cache: transformers 5.24 gave it another name."""
    known = inspect.signature(stack.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def _greedy(
    model: PreTrainedModel,
    mask: Tensor,
    cache: DynamicCache,
    logits_BV: Tensor,
    end_token_id: int,
    max_new_tokens: int,
) -> tuple[list[list[int]], list[bool]]:
    rows = mask.shape[0]
    answers: list[list[int]] = [[] for _ in range(rows)]
    running = list(range(rows))  # the row that each line of the cache belongs to
    finished = [False] * rows
    for length in range(max_new_tokens + 1):
        tokens = logits_BV.argmax(-1)
        keep = []
        for line, (row, token) in enumerate(zip(list(running), tokens.tolist(), strict=True)):
            if token == end_token_id:
                finished[row] = True
            elif length < max_new_tokens:
                answers[row].append(token)
                keep.append(line)
        if not keep:
            break
        if len(keep) < len(running):
            index = torch.tensor(keep)
            cache.batch_select_indices(index)
            mask, tokens = mask[index], tokens[index]
            running = [running[line] for line in keep]
        mask = torch.cat([mask, mask.new_ones(len(running), 1)], dim=1)
        embeddings = model.get_input_embeddings()(tokens[:, None])
        logits_BV = _step(model, embeddings, mask, cache)
    return answers, finished


def _score_options(
    model: PreTrainedModel,
    mask: Tensor,
    cache: DynamicCache,
    logits_BV: Tensor,
    end_token_id: int,
    options: Sequence[Sequence[Sequence[int]]] | None,
) -> list[list[float]]:
    scores: list[list[float]] = [[] for _ in range(mask.shape[0])]
    if options is None or not any(options):
        return scores
    lines = [
        (row, [*tokens, end_token_id]) for row, choices in enumerate(options) for tokens in choices
    ]
    rows = torch.tensor([row for row, _ in lines])
    longest = max(len(tokens) for _, tokens in lines)
    ids = torch.full((len(lines), longest), end_token_id)
    real = torch.zeros(len(lines), longest, dtype=torch.long)
    for line, (_, tokens) in enumerate(lines):
        ids[line, : len(tokens)] = torch.tensor(tokens)
        real[line, : len(tokens)] = 1
    first = logits_BV.log_softmax(-1)[rows].gather(1, ids[:, :1])
    branch = copy.deepcopy(cache)
    branch.batch_select_indices(rows)
    mask = torch.cat([mask[rows], real[:, :-1]], dim=1)
    hidden = _hidden(model, model.get_input_embeddings()(ids[:, :-1]), mask, branch)
    rest = head(model)(hidden).float().log_softmax(-1)
    logprobs = torch.cat([first, rest.gather(2, ids[:, 1:, None]).squeeze(2)], dim=1)
    totals = (logprobs * real).sum(1).tolist()
    for (row, _), total in zip(lines, totals, strict=True):
        scores[row].append(total)
    return scores
