"""Checkpoints: written, read again, and refused in words when something is amiss."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.model import tiny
from transformers import (
    AutoProcessor,
    CLIPConfig,
    CLIPModel,
    LlavaForConditionalGeneration,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipConfig,
    SiglipModel,
)

from ikusi.core.errors import ConfigError, DataError
from ikusi.model.checkpoint import Checkpoint, join_parts, load_checkpoint, save_checkpoint
from ikusi.model.connector import ConnectorKind, MlpConnector


def _weights(made: Checkpoint) -> dict[str, torch.Tensor]:
    return dict(made.model.state_dict())


@pytest.mark.parametrize("width", [48, 24])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("connector", ["linear", "mlp", "pixel-shuffle"])
def test_round_trip(connector: ConnectorKind, tied: bool, width: int, tmp_path: Path) -> None:
    made = tiny.checkpoint(connector, tied=tied, hidden_size=width)
    save_checkpoint(made, tmp_path)
    found = load_checkpoint(tmp_path)
    expected, got = _weights(made), _weights(found)
    assert expected.keys() == got.keys()
    assert all(torch.equal(expected[name], got[name]) for name in expected)
    assert found.image_token_id == made.image_token_id
    assert found.tokens_per_image == made.tokens_per_image
    assert found.tokenizer.get_vocab() == made.tokenizer.get_vocab()
    assert found.tokenizer.chat_template == made.tokenizer.chat_template
    pixels = [p.image_processor([tiny.picture(0)])["pixel_values"][0] for p in (made, found)]
    assert (pixels[0] == pixels[1]).all()
    tied_now: Any = found.model
    assert (tied_now.lm_head.weight is tied_now.get_input_embeddings().weight) == tied


def test_saving_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    made = tiny.checkpoint()
    connector, before = made.model.model.multi_modal_projector, _weights(made)
    save_checkpoint(made, tmp_path)
    assert made.model.model.multi_modal_projector is connector
    assert _weights(made).keys() == before.keys()


def test_a_text_only_round_trip(tmp_path: Path) -> None:
    made = Checkpoint(tiny.llama(), tiny.tokenizer())
    save_checkpoint(made, tmp_path)
    found = load_checkpoint(tmp_path)
    assert (found.image_processor, found.image_token_id, found.tokens_per_image) == (None, None, 0)
    expected, got = _weights(made), _weights(found)
    assert all(torch.equal(expected[name], got[name]) for name in expected)


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_a_projector_that_is_not_ours(activation: str, tmp_path: Path) -> None:
    """A LLaVA folder of others: another activation, and no biases."""
    made = tiny.checkpoint()
    save_checkpoint(made, tmp_path)
    torch.manual_seed(5)
    config: Any = made.model.config
    config.projector_hidden_act, config.multimodal_projector_bias = activation, False
    theirs = LlavaForConditionalGeneration(config).eval()
    theirs.save_pretrained(tmp_path)
    (tmp_path / "ikusi.json").unlink()
    found = load_checkpoint(tmp_path)
    connector = found.model.model.multi_modal_projector
    assert isinstance(connector, MlpConnector)
    features = torch.randn(2, 3, tiny.VISION_WIDTH)
    assert torch.equal(connector(features), theirs.model.multi_modal_projector(features))
    save_checkpoint(found, tmp_path / "again")
    again = load_checkpoint(tmp_path / "again").model.model.multi_modal_projector
    assert torch.equal(again(features), connector(features))


def test_a_template_that_only_the_processor_has(tmp_path: Path) -> None:
    """As in LLaVA 1.5's folder on the hub."""
    made = tiny.checkpoint()
    save_checkpoint(made, tmp_path)
    template = made.tokenizer.chat_template
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    assert load_checkpoint(tmp_path).tokenizer.chat_template == template


def test_plain_transformers_refuses_a_pixel_shuffle_folder(tmp_path: Path) -> None:
    save_checkpoint(tiny.checkpoint("pixel-shuffle"), tmp_path)
    with pytest.raises(RuntimeError, match="ignore_mismatched_sizes"):
        LlavaForConditionalGeneration.from_pretrained(tmp_path)


def _truncate(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return damage


def _drop_a_weight(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    del state[next(name for name in state if "q_proj" in name)]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (shutil.rmtree, "no model can be loaded from there"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model can be loaded"),
        (_truncate("model.safetensors"), "no model can be loaded"),
        (_truncate("config.json"), "no model can be loaded"),
        (_truncate("tokenizer.json"), "no model can be loaded"),
        (_truncate("processor_config.json"), "no model can be loaded"),
        (_drop_a_weight, "lacks 1 of its weights, such as .*q_proj"),
        (_truncate("ikusi.json"), "ikusi.json: is damaged"),
        (_truncate("connector.safetensors"), "the connector cannot be read"),
        (lambda folder: (folder / "connector.safetensors").unlink(), "connector cannot be read"),
    ],
)
def test_what_is_missing_or_damaged_is_told_in_one_line(
    damage: Callable[[Path], None], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    save_checkpoint(tiny.checkpoint("pixel-shuffle"), folder)
    damage(folder)
    with pytest.raises(DataError, match=told) as caught:
        load_checkpoint(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_a_model_that_is_no_language_model(tmp_path: Path) -> None:
    tiny.clip_tower().save_pretrained(tmp_path)
    with pytest.raises(DataError, match="no model can be loaded"):
        load_checkpoint(tmp_path)


# As models are published on the hub: CLIP and SigLIP with both towers, an LLM with its template.

_TEXT = tiny.LAYERS | tiny.SPECIAL | {"vocab_size": 50}


def _publish_tower(family: str, folder: Path) -> Any:
    torch.manual_seed(3)
    if family == "clip":
        model: Any = CLIPModel(CLIPConfig(vision_config=tiny.TOWER, text_config=_TEXT))
        tiny.image_processor().save_pretrained(folder)
    else:
        model = SiglipModel(SiglipConfig(vision_config=tiny.TOWER, text_config=_TEXT))
        tiny.siglip_processor().save_pretrained(folder)
    model.save_pretrained(folder)
    return model.vision_model


def _publish_llm(family: str, template: str | None, folder: Path) -> Any:
    """A Llama with a row for each token, or a Qwen2 with rows to spare."""
    words = tiny.published_tokenizer(template)
    words.save_pretrained(folder)
    if family == "llama":
        model: Any = tiny.llama(vocab_size=len(words))
    else:
        sizes = _TEXT | {"hidden_size": tiny.TEXT_WIDTH, "vocab_size": 512}
        model = Qwen2ForCausalLM(Qwen2Config(num_key_value_heads=1, **sizes))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("vision", ["clip", "siglip"])
@pytest.mark.parametrize("llm", ["llama", "qwen2"])
def test_published_parts_are_joined(vision: str, llm: str, tmp_path: Path) -> None:
    tower = _publish_tower(vision, tmp_path / "vision")
    text = _publish_llm(llm, tiny.CHATML, tmp_path / "llm")
    made = join_parts(tmp_path / "vision", tmp_path / "llm", connector="linear")
    model: Any = made.model
    for part, source in ((model.model.vision_tower, tower), (model.model.language_model, text)):
        for name, wanted in source.base_model.state_dict().items():
            assert torch.equal(part.state_dict()[name][: len(wanted)], wanted)
    rows = 512 if llm == "qwen2" else len(made.tokenizer)
    assert rows == model.get_input_embeddings().num_embeddings == model.lm_head.out_features
    assert rows == model.config.text_config.vocab_size
    assert made.image_token_id == len(made.tokenizer) - 1
    prompt = tiny.renderer(made).render_prompt(tiny.record("Zer dago irudian?", None, 0))
    assert prompt.input_ids.tolist().count(made.image_token_id) == 16
    save_checkpoint(made, tmp_path / "joined")
    processor: Any = AutoProcessor.from_pretrained(tmp_path / "joined")
    parts = [{"type": "image"}, {"type": "text", "text": "Zer dago irudian?"}]
    chat = processor.apply_chat_template(
        [{"role": "user", "content": parts}], add_generation_prompt=True
    )
    theirs = processor(images=tiny.picture(0), text=chat, return_tensors="pt")
    assert theirs["input_ids"][0].tolist() == prompt.input_ids.tolist()
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path / "joined")
    assert torch.isfinite(plain(**theirs).logits).all()


def test_an_llm_without_a_template_is_refused_by_the_renderer(tmp_path: Path) -> None:
    _publish_tower("clip", tmp_path / "vision")
    _publish_llm("llama", None, tmp_path / "llm")
    made = join_parts(tmp_path / "vision", tmp_path / "llm", connector="linear")
    with pytest.raises(ConfigError, match="has no chat template"):
        tiny.renderer(made)


def test_parts_that_are_not_there(tmp_path: Path) -> None:
    _publish_llm("llama", tiny.CHATML, tmp_path / "llm")
    with pytest.raises(DataError, match="absent: no model can be loaded"):
        join_parts(tmp_path / "absent", tmp_path / "llm", connector="linear")
    with pytest.raises(DataError, match="absent: no model can be loaded"):
        join_parts(tmp_path / "llm", tmp_path / "absent", connector="linear")
