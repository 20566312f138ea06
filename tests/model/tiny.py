"""Tiny models of the real classes, wide enough at the start that no two logits are near."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from ikusi.batch.chat import ChatRenderer
from ikusi.batch.features import FeatureTable, encode_pictures
from ikusi.core.types import Image as ImagePart
from ikusi.core.types import ImageRef, Record, assistant, user
from ikusi.model.checkpoint import Checkpoint
from ikusi.model.connector import ConnectorKind, build_connector
from ikusi.model.tokenizer import IMAGE, train_tokenizer
from ikusi.model.vlm import assemble

SIDE_PX, PATCH_PX, VISION_WIDTH, TEXT_WIDTH = 32, 8, 16, 48
LAYERS: dict[str, Any] = dict(
    hidden_size=VISION_WIDTH, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
)
TOWER: dict[str, Any] = LAYERS | dict(image_size=SIDE_PX, patch_size=PATCH_PX)
SPECIAL: dict[str, Any] = dict(pad_token_id=0, bos_token_id=1, eos_token_id=2)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TEXTS = (
    "Zer dago irudian? Etxe gorria, katua eta txakurra.",
    "What is in the picture? A red house, a cat and a dog.",
    "¿Qué hay en la imagen? Una niña y un búho, ¡sí!",
    "Beth sydd yn y llun? Tŷ coch, cath a chi bach.",
)


@functools.cache
def shared_tokenizer() -> PreTrainedTokenizerFast:
    """The same one for all; who changes it takes `tokenizer()`."""
    return train_tokenizer(TEXTS * 5, 380)


def tokenizer() -> PreTrainedTokenizerFast:
    return copy.deepcopy(shared_tokenizer())


def published_tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """As LLMs on the hub have: no space before the first word, no padding, no image token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=380,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(TEXTS * 5, trainer)
    make: Any = PreTrainedTokenizerFast
    fast: PreTrainedTokenizerFast = make(tokenizer_object=made, eos_token="<|im_end|>")
    fast.chat_template = template
    return fast


def llama(vocab_size: int = 400, *, seed: int = 0, tied: bool = True, **how: Any) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocab_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        tie_word_embeddings=tied,
        **{"hidden_size": TEXT_WIDTH} | SPECIAL | how,
    )
    return LlamaForCausalLM(config).eval()


def clip_tower(*, seed: int = 1) -> Any:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(
        **TOWER | {"num_hidden_layers": 3}, projection_dim=VISION_WIDTH, hidden_act="gelu"
    )
    return CLIPVisionModel(config).eval()


def siglip_tower(*, seed: int = 4) -> Any:
    """A tower without a class token."""
    torch.manual_seed(seed)
    return SiglipVisionModel(SiglipVisionConfig(**TOWER)).eval()


def image_processor() -> Any:
    make: Any = CLIPImageProcessorPil
    size = {"height": SIDE_PX, "width": SIDE_PX}
    return make(size=size, crop_size=size, do_center_crop=False)


def siglip_processor() -> Any:
    make: Any = SiglipImageProcessorPil
    return make(size={"height": SIDE_PX, "width": SIDE_PX})


def checkpoint(connector: ConnectorKind = "linear", **how: Any) -> Checkpoint:
    """A tower, a connector and a Llama, with the world's tokenizer."""
    words, llm, tower = tokenizer(), llama(**how), clip_tower()
    torch.manual_seed(2)
    joint = build_connector(connector, VISION_WIDTH, llm.config.hidden_size)
    model = assemble(tower, joint, llm, int(words.convert_tokens_to_ids(IMAGE)))
    return Checkpoint(model.eval(), words, image_processor())


def picture(number: int, side: int = 40) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)


def renderer(made: Checkpoint) -> ChatRenderer:
    return ChatRenderer(made.tokenizer, made.image_token_id, made.tokens_per_image)


def features(made: Checkpoint, count: int = 4) -> FeatureTable:
    """Features of `picture(0)`, `picture(1)`, ... under their numbers."""
    names = [str(number) for number in range(count)]
    return encode_pictures(
        made.model,
        made.image_processor,
        names,
        lambda name: picture(int(name)),
    )


def record(
    question: str,
    answer: str | None = None,
    *pictures: int,
    identity: str = "r",
    **how: Any,
) -> Record:
    parts = [*(ImagePart(index) for index in range(len(pictures))), question]
    turns = (user(*parts), *((assistant(answer),) if answer is not None else ()))
    images = tuple(ImageRef(sha256=str(number)) for number in pictures)
    about: dict[str, Any] = {"language": "eu", "task": "what", "source": "tiny"} | how
    return Record(identity, identity, turns, images=images, **about)
