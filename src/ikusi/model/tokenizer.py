"""Tokenizers: one trained from scratch, and a text-only one taught to mark images.

Byte-level BPE, as Llama 3 has: lossless on any text. Over the embedded world's small vocabulary a
few thousand merges make most words one token; how many a word takes is measured and reported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from jinja2 import TemplateError
from tokenizers import AddedToken
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

BEGIN, END, PAD, IMAGE = "<|begin|>", "<|end|>", "<|pad|>", "<image>"
ROLES = {"system": "<|system|>", "user": "<|user|>", "assistant": "<|assistant|>"}

CHAT_TEMPLATE = """\
{{- '<|begin|>' -}}
{%- for message in messages -%}
{{- '<|' + message['role'] + '|>' -}}
{%- if message['content'] is string -%}
{{- message['content'] | trim -}}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{{- '<image>' -}}
{%- else -%}{{- part['text'] | trim -}}{%- endif -%}
{%- endfor -%}
{%- endif -%}
{{- '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""

# Put before a template that takes strings alone: parts become one string, as LLaVA writes them.
_JOIN_PARTS = """\
{%- set joined = namespace(messages=[], text='') -%}
{%- for message in messages -%}
{%- if message['content'] is string -%}
{%- set joined.messages = joined.messages + [message] -%}
{%- else -%}
{%- set joined.text = '' -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}{%- set joined.text = joined.text + '<image>\\n' -%}
{%- else -%}{%- set joined.text = joined.text + part['text'] -%}{%- endif -%}
{%- endfor -%}
{%- set joined.messages = joined.messages + \
[{'role': message['role'], 'content': joined.text}] -%}
{%- endif -%}
{%- endfor -%}
{%- set messages = joined.messages -%}
"""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with our chat template, trained on `texts`."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    # A word has the same token at the start of an answer as inside a sentence.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BEGIN, END, IMAGE, *ROLES.values()],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    make: Any = PreTrainedTokenizerFast  # its __init__ has no annotations
    fast: PreTrainedTokenizerFast = make(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        additional_special_tokens=list(ROLES.values()),
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def takes_parts(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Return whether the chat template takes a turn as typed parts, and not as a string alone."""
    turn: dict[str, Any] = {"role": "user", "content": [{"type": "text", "text": "Zer?"}]}
    try:
        text = str(tokenizer.apply_chat_template([turn], tokenize=False))
    except (TemplateError, TypeError):
        return False
    return "Zer?" in text and "'type':" not in text and '"type":' not in text


def add_image_token(tokenizer: PreTrainedTokenizerBase) -> int:
    """Give `tokenizer` the token `<image>`, where it lacks it, and a template that writes it.

    Returns:
        The token's id.
    """
    if IMAGE not in tokenizer.get_vocab():
        tokenizer.add_tokens([AddedToken(IMAGE, special=True, normalized=False)])
    tokenizer.image_token = IMAGE
    if tokenizer.chat_template and not takes_parts(tokenizer):
        tokenizer.chat_template = _JOIN_PARTS + str(tokenizer.chat_template)
    return cast(int, tokenizer.convert_tokens_to_ids(IMAGE))
