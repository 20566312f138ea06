"""Greedy answers are transformers' own, and likelihoods those of a plain forward pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.model import tiny

from ikusi.batch.loader import Batch, collate
from ikusi.model.generate import Continuation, continue_prompts

QUESTIONS = ("Zer dago irudian?", "What is this?", "Beth sydd yn y llun, cath neu gi bach?", "a")
END = 2


def _prompts(made: Any, pictures: bool) -> list[Any]:
    renderer = tiny.renderer(made)
    return [
        renderer.render_prompt(tiny.record(question, None, *([number] if pictures else ())))
        for number, question in enumerate(QUESTIONS)
    ]


def _batch(made: Any, samples: list[Any]) -> Batch:
    table = tiny.features(made) if made.image_processor else None
    return collate(samples, table, 0, pad_left=True)


def _continue(made: Any, batch: Batch, **how: Any) -> list[Continuation]:
    how = {"end_token_id": END, "max_new_tokens": 12} | how
    return continue_prompts(
        made.model, batch.input_ids, batch.attention_mask, batch.features, **how
    )


def _more_ends(made: Any, bias: float) -> None:
    """Make the end of turn likely enough that answers end at different lengths."""
    layer = torch.nn.Linear(tiny.TEXT_WIDTH, made.model.lm_head.out_features)
    with torch.no_grad():
        layer.weight.copy_(made.model.lm_head.weight)
        layer.bias.zero_()
        layer.bias[END] = bias
    made.model.lm_head = layer


@pytest.mark.parametrize("bias", [0.0, 4.5])
def test_greedy_equals_transformers_generate(bias: float) -> None:
    made = tiny.checkpoint(tied=False)
    _more_ends(made, bias)
    batch = _batch(made, _prompts(made, pictures=True))
    pixels = made.image_processor(
        images=[tiny.picture(number) for number in range(4)], return_tensors="pt"
    )["pixel_values"]
    said: Any = made.model.generate(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        pixel_values=pixels,
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=END,
        pad_token_id=0,
    )
    lengths = set()
    for row, ours in zip(said.tolist(), _continue(made, batch), strict=True):
        answer = row[batch.input_ids.shape[1] :]
        ended = END in answer
        expected = answer[: answer.index(END)] if ended else answer
        assert list(ours.token_ids) == expected
        assert ours.finished == ended or len(expected) == 12
        lengths.add(len(expected))
    assert (len(lengths) > 1) == (bias > 0)  # rows that end early leave the batch


@pytest.mark.parametrize("pictures", [True, False])
def test_a_padded_batch_answers_as_one_by_one(pictures: bool) -> None:
    made = tiny.checkpoint(tied=False)
    _more_ends(made, 4.5)
    samples = _prompts(made, pictures)
    options = [[[5, 6], [7]], [], [[8, 9, 10]], [[11], [12], [13, 14]]]
    together = _continue(made, _batch(made, samples), options=options)
    for sample, choices, found in zip(samples, options, together, strict=True):
        alone = _continue(made, _batch(made, [sample]), options=[choices])[0]
        assert (found.token_ids, found.finished) == (alone.token_ids, alone.finished)
        assert found.option_logprobs == pytest.approx(alone.option_logprobs, rel=1e-5)


def test_likelihoods_are_those_of_a_plain_forward() -> None:
    made = tiny.checkpoint()
    samples = _prompts(made, pictures=True)
    options = [[[20, 21, 22], [23]], [[24, 25]], [], [[26]]]
    found = _continue(made, _batch(made, samples), options=options, max_new_tokens=1)
    for number, (sample, choices) in enumerate(zip(samples, options, strict=True)):
        assert len(found[number].option_logprobs) == len(choices)
        pixels = made.image_processor(images=[tiny.picture(number)], return_tensors="pt")
        for choice, logprob in zip(choices, found[number].option_logprobs, strict=True):
            prompt = sample.input_ids.tolist()
            ids = torch.tensor([[*prompt, *choice, END]])
            with torch.no_grad():
                logits = made.model(input_ids=ids, **pixels).logits[0].double()
            predicted = logits.log_softmax(-1)[len(prompt) - 1 : -1]
            expected = predicted.gather(1, ids[0, len(prompt) :, None]).sum()
            assert logprob == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("limit", [1, 3])
def test_an_answer_is_cut_at_the_limit(limit: int) -> None:
    made = tiny.checkpoint(tied=False)
    _more_ends(made, -100.0)
    answers = _continue(made, _batch(made, _prompts(made, True)), max_new_tokens=limit)
    assert [(len(a.token_ids), a.finished, a.option_logprobs) for a in answers] == [
        (limit, False, ())
    ] * 4


def test_an_answer_that_ends_just_at_the_limit_is_finished() -> None:
    made = tiny.checkpoint(tied=False)
    _more_ends(made, 4.5)
    batch = _batch(made, _prompts(made, True))
    for row, whole in enumerate(_continue(made, batch)):
        if whole.finished and whole.token_ids:
            cut = _continue(made, batch, max_new_tokens=len(whole.token_ids))[row]
            assert cut == whole
            return
    raise AssertionError("no answer ended: choose another bias")
