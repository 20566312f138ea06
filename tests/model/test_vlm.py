"""Joining three parts, and the paths through the joined model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.model import tiny
from transformers import (
    CohereConfig,
    CohereForCausalLM,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    GPT2Config,
    GPT2LMHeadModel,
)

from ikusi.batch.loader import collate
from ikusi.core.errors import ConfigError, DataError
from ikusi.model.connector import LinearConnector
from ikusi.model.vlm import (
    assemble,
    decoder,
    embed,
    head,
    splice_image_features,
    supervised_logits,
    tower_features,
)


def test_splice_puts_features_where_the_marks_are() -> None:
    text = torch.zeros(2, 4, 3)
    features = torch.arange(9.0).view(3, 3) + 1
    marks = torch.tensor([[False, True, True, False], [True, False, False, False]])
    spliced = splice_image_features(text, features, marks)
    assert torch.equal(spliced[marks], features)
    assert not spliced[~marks].any()
    assert not text.any()


@pytest.mark.parametrize("given", [0, 2, 4])
def test_another_number_of_features_is_refused_with_both(given: int) -> None:
    marks = torch.tensor([[True, True, True, False]])
    with pytest.raises(DataError, match=f"3 image tokens in the text, but {given} image features"):
        splice_image_features(torch.zeros(1, 4, 5), torch.zeros(given, 5), marks)


def test_a_marked_text_without_pictures_is_refused() -> None:
    made = tiny.checkpoint()
    ids = torch.tensor([[1, made.image_token_id, 5]])
    with pytest.raises(DataError, match="1 image tokens in the text, but 0 image features"):
        embed(made.model, ids, None)


def _batch(made: Any) -> Any:
    renderer = tiny.renderer(made)
    records = [
        tiny.record("What is in the picture?", "a cat and a dog", 0),
        tiny.record("Zer dago irudian?", "katua", 2, 1),
        tiny.record("a", "b"),
    ]
    samples = [renderer.render(record) for record in records]
    return collate(samples, tiny.features(made), 0)


@pytest.mark.parametrize("connector", ["linear", "mlp", "pixel-shuffle"])
def test_supervised_logits_are_those_of_the_full_forward(connector: Any) -> None:
    made = tiny.checkpoint(connector)
    batch = _batch(made)
    pixels = made.image_processor(
        images=[tiny.picture(number) for number in (0, 2, 1)], return_tensors="pt"
    )["pixel_values"]
    with torch.no_grad():
        full = made.model(
            input_ids=batch.input_ids, attention_mask=batch.attention_mask, pixel_values=pixels
        ).logits
        some = supervised_logits(
            made.model, batch.input_ids, batch.attention_mask, batch.is_target, batch.features
        )
    expected = full[:, :-1][batch.is_target[:, 1:]]
    torch.testing.assert_close(some, expected, rtol=1e-5, atol=1e-5)


def test_a_text_only_model_takes_the_same_path() -> None:
    model = tiny.llama(tied=False)
    ids = torch.randint(3, 300, (3, 7))
    target = torch.rand(3, 7) > 0.5
    with torch.no_grad():
        some = supervised_logits(model, ids, torch.ones_like(ids), target, None)
        expected = model(ids).logits[:, :-1][target[:, 1:]]
    torch.testing.assert_close(some, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("layer", [-2, -1])
def test_features_are_the_hidden_state_that_the_pixel_path_reads(layer: int) -> None:
    tower, llm = tiny.clip_tower(), tiny.llama()
    joined = assemble(
        tower, LinearConnector(tiny.VISION_WIDTH, tiny.TEXT_WIDTH), llm, 3, feature_layer=layer
    )
    pixels = torch.randn(2, 3, tiny.SIDE_PX, tiny.SIDE_PX)
    with torch.no_grad():
        ours = joined.model.multi_modal_projector(tower_features(joined, pixels))
        theirs = joined.get_image_features(pixels).pooler_output
    assert torch.equal(ours, torch.stack(list(theirs)))


@pytest.mark.parametrize(
    ("make", "strategy"),
    [
        (tiny.siglip_tower, "full"),
        (lambda: Dinov2Model(Dinov2Config(**tiny.TOWER)), "default"),
    ],
)
def test_towers_with_and_without_a_class_token(make: Callable[[], Any], strategy: str) -> None:
    connector = LinearConnector(tiny.VISION_WIDTH, tiny.TEXT_WIDTH)
    joined = assemble(make(), connector, tiny.llama(), 3)
    assert joined.config.vision_feature_select_strategy == strategy
    assert tower_features(joined, torch.randn(2, 3, 32, 32)).shape == (2, 16, 16)
    assert joined.config.image_seq_length == 16


def test_a_tower_with_registers_is_refused() -> None:
    config = Dinov2WithRegistersConfig(**tiny.TOWER, num_register_tokens=4)
    tower: Any = Dinov2WithRegistersModel(config)
    connector = LinearConnector(tiny.VISION_WIDTH, tiny.TEXT_WIDTH)
    with pytest.raises(ConfigError, match="makes 21 tokens of 16 patches"):
        assemble(tower, connector, tiny.llama(), 3)


def test_a_language_model_of_another_layout() -> None:
    config = GPT2Config(
        vocab_size=50, n_embd=32, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2
    )
    llm: Any = GPT2LMHeadModel(config).eval()
    ids = torch.randint(0, 50, (2, 5))
    with torch.no_grad():
        ours = head(llm)(decoder(llm)(inputs_embeds=embed(llm, ids, None)).last_hidden_state)
        assert torch.equal(ours, llm(ids).logits)
    with pytest.raises(ConfigError, match="has not the layout of Llama"):
        assemble(tiny.clip_tower(), LinearConnector(tiny.VISION_WIDTH, 32), llm, 3)


def test_a_language_model_that_scales_its_logits_is_refused() -> None:
    config = CohereConfig(vocab_size=50, logit_scale=0.06, **tiny.LAYERS, **tiny.SPECIAL)
    llm: Any = CohereForCausalLM(config)
    with pytest.raises(ConfigError, match=r"changed after the head \(logit_scale\)"):
        assemble(tiny.clip_tower(), LinearConnector(tiny.VISION_WIDTH, 16), llm, 3)


@pytest.mark.parametrize("tied", [True, False])
def test_parts_are_used_and_not_copied(tied: bool) -> None:
    tower, llm = tiny.clip_tower(), tiny.llama(tied=tied)
    connector = LinearConnector(tiny.VISION_WIDTH, tiny.TEXT_WIDTH)
    joined = assemble(tower, connector, llm, 3)
    own = {id(p) for part in (tower, connector, llm) for p in part.parameters()}
    assert {id(p) for p in joined.parameters()} == own
    assert not any(p.is_meta for p in joined.parameters())
    assert (joined.lm_head.weight is joined.get_input_embeddings().weight) == tied
