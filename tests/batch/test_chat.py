"""Rendering conversations: what is supervised, and what a typed special token becomes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model import tiny

from ikusi.batch.chat import ChatRenderer, Sample
from ikusi.core.errors import ConfigError, DataError
from ikusi.core.types import Image, ImageRef, Record, Text, Turn, assistant, user
from ikusi.model.tokenizer import add_image_token

LLAMA2 = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' <|im_end|>' }}{% endif %}{% endfor %}"
)
FORGETFUL = (
    "{% for message in messages %}{% if loop.last %}{{ message['content'] }}<|im_end|>{% endif %}"
    "{% endfor %}"
)
STRICT = (
    "{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate.') }}{% endif %}"
    "{{ message['content'] }}<|im_end|>{% endfor %}"
)
ENDS = {None: "<|end|>", tiny.CHATML: "<|im_end|>"}
"""Template -> the end of an answer; None is the world's own."""
ENDLESS = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def renderer_of(template: str | None = None, tokens_per_image: int = 4) -> ChatRenderer:
    """With the world's tokenizer, or with one as LLMs on the hub have."""
    words = tiny.tokenizer() if template is None else tiny.published_tokenizer(template)
    return ChatRenderer(words, add_image_token(words), tokens_per_image)


RENDERERS = {template: renderer_of(template) for template in (None, tiny.CHATML)}
"""Made once: hypothesis asks for them again and again."""


def spans(renderer: ChatRenderer, sample: Sample) -> list[str]:
    """The supervised stretches, decoded."""
    found: list[list[int]] = []
    previous = False
    for token, target in zip(sample.input_ids.tolist(), sample.is_target.tolist(), strict=True):
        if target and not previous:
            found.append([])
        if target:
            found[-1].append(token)
        previous = target
    return [str(renderer.tokenizer.decode(ids)).strip() for ids in found]


def chat(*texts: str, **how: Any) -> Record:
    turns = tuple(assistant(t) if n % 2 else user(t) for n, t in enumerate(texts))
    return Record("r", "r", turns, "eu", "chat", "test", **how)


@pytest.mark.parametrize(
    ("template", "end"),
    [*ENDS.items(), (LLAMA2, " <|im_end|>")],
)
def test_supervised_are_the_answers_and_their_ends(template: str | None, end: str) -> None:
    renderer = renderer_of(template)
    sample = renderer.render(chat("Zer da?", "katua", "Eta hau?", "etxe gorria"))
    assert spans(renderer, sample) == [f"katua{end}", f"etxe gorria{end}"]
    assert renderer.end_token_id == renderer.tokenizer.convert_tokens_to_ids(end.strip())


def test_a_template_without_an_end_of_turn() -> None:
    renderer = renderer_of(ENDLESS)
    sample = renderer.render(chat("Zer da?", "katua"))
    assert spans(renderer, sample) == ["katua"]
    assert renderer.end_token_id == renderer.tokenizer.eos_token_id


def test_what_nothing_precedes_is_not_supervised() -> None:
    sample = renderer_of(ENDLESS).render(Record("r", "r", (assistant("katua"),), "eu", "c", "t"))
    assert not sample.is_target[0]
    assert sample.is_target[1:].all()


@pytest.mark.parametrize("template", [None, tiny.CHATML, LLAMA2])
def test_a_prompt_is_the_conversation_up_to_the_answer(template: str | None) -> None:
    renderer = renderer_of(template)
    record = chat("Zer da?", "katua", "Eta hau?", "etxea")
    whole, prompt = renderer.render(record), renderer.render_prompt(record)
    assert whole.input_ids[: len(prompt)].tolist() == prompt.input_ids.tolist()
    without_answer = chat("Zer da?", "katua", "Eta hau?")
    asked = renderer.render_prompt(without_answer)
    assert asked.input_ids.tolist() == prompt.input_ids.tolist()


@pytest.mark.parametrize("template", [None, tiny.CHATML])
@pytest.mark.parametrize("texts", [("Zer dago?", "katua", "Non?", "gora"), ("Ikusi!", "ez")])
def test_ids_are_those_of_apply_chat_template(template: str | None, texts: tuple[str, ...]) -> None:
    renderer = renderer_of(template)
    turns = [{"role": "assistant" if n % 2 else "user", "content": t} for n, t in enumerate(texts)]
    theirs: Any = renderer.tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
    assert renderer.render(chat(*texts)).input_ids.tolist() == theirs


@pytest.mark.parametrize("template", [None, tiny.CHATML])
@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=40), min_size=2, max_size=4))
def test_no_text_changes_the_frame(template: str | None, texts: list[str]) -> None:
    """Whatever is typed, special tokens are where they are around other texts."""
    texts = [*texts, "ikusi <|im_end|><image><|end|><|assistant|>"]
    texts += ["!"] * (len(texts) % 2)
    renderer = RENDERERS[template]
    sample, plain = renderer.render(chat(*texts)), renderer.render(chat(*["a"] * len(texts)))
    added = renderer.tokenizer.added_tokens_decoder
    special = {token for token, content in added.items() if content.special}
    assert special
    framed = [[t for t in s.input_ids.tolist() if t in special] for s in (sample, plain)]
    assert framed[0] == framed[1]
    ids = sample.input_ids[sample.is_target].tolist()
    expected = [
        token
        for answer in texts[1::2]
        for token in [*renderer.encode_text(answer), renderer.end_token_id]
    ]
    assert ids == expected


@pytest.mark.parametrize("template", [None, tiny.CHATML])
def test_several_images_stand_where_they_were_put(template: str | None) -> None:
    renderer = renderer_of(template, tokens_per_image=3)
    images = tuple(ImageRef(sha256=name) for name in ("first", "second"))
    turns = (user(Image(1), "Zer?", Image(0), "Non?"), assistant("gora"), user(Image(1), "Eta?"))
    sample = renderer.render(Record("r", "r", turns, "eu", "chat", "t", images=images))
    assert sample.images == ("second", "first", "second")
    marks = [token == renderer.image_token_id for token in sample.input_ids.tolist()]
    runs = "".join("#" if mark else "." for mark in marks).split(".")
    assert [len(run) for run in runs if run] == [3, 3, 3]
    assert spans(renderer, sample) == [f"gora{ENDS[template]}"]


def test_an_image_inside_an_answer_is_not_supervised() -> None:
    renderer = renderer_of()
    turn = Turn("assistant", (Text("hau"), Image(0), Text("da")))
    record = Record("r", "r", (user("Zer?"), turn), "eu", "c", "t", images=(ImageRef(sha256="s"),))
    assert spans(renderer, renderer.render(record)) == ["hau", "da<|end|>"]


def test_a_template_that_drops_turns_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"drops or reorders turns \(texts \[1\] of 2\)"):
        renderer_of(FORGETFUL).render(chat("Zer?", "katua"))


def test_a_template_that_refuses_the_roles_is_told() -> None:
    record = Record("r", "r", (assistant("Kaixo"), user("Zer?")), "eu", "chat", "t")
    with pytest.raises(ConfigError, match=r"refuses the turns assistant, user: Roles must"):
        renderer_of(STRICT).render(record)


def test_a_template_that_writes_no_images_is_refused() -> None:
    words = tiny.tokenizer()
    words.chat_template = str(words.chat_template).replace("{{- '<image>' -}}", "")
    renderer = ChatRenderer(words, int(words.convert_tokens_to_ids("<image>")), 4)
    with pytest.raises(ConfigError, match="writes 0 images where the turns have 1"):
        renderer.render(tiny.record("Zer?", "katua", 0))


def test_a_picture_for_a_model_that_reads_text_alone() -> None:
    renderer = ChatRenderer(tiny.tokenizer(), None, 0)
    with pytest.raises(ConfigError, match="record 'r' has a picture, and this model reads text"):
        renderer.render(tiny.record("Zer?", "katua", 0))


@pytest.mark.parametrize("images", [(), (ImageRef(url="http://example.org/a.png"),)])
def test_a_picture_that_was_not_imported(images: tuple[ImageRef, ...]) -> None:
    turns = (user(Image(0), "Zer?"), assistant("katua"))
    with pytest.raises(DataError, match=r"record 'r': picture 1 of 1 .* has no sha256"):
        renderer_of().render(Record("r", "r", turns, "eu", "c", "t", images=images))


def test_a_tokenizer_without_a_template() -> None:
    with pytest.raises(ConfigError, match="the tokenizer: has no chat template"):
        ChatRenderer(tiny.published_tokenizer(None), None, 0)
