"""One record into another language: whole conversations, sentences, ladders, options, pivots."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from tests.data.translate.fakes import Fake, last_text, record, shift, texts_of, voice

from ikusi.backends.base import Answer, Request
from ikusi.core.types import Record
from ikusi.data.translate.hop import Hop, Translated
from ikusi.data.translate.ladder import Fallen
from ikusi.data.translate.protect import Glossary
from ikusi.data.translate.settings import TranslateSettings
from ikusi.data.translate.voices import Units

TALK = ("What is it?", "It is a dog.", "Where is it?", "It is at https://a.org.")


def translate(
    *records: Record,
    fakes: Sequence[Fake],
    units: Sequence[Units] = ("conversation", "conversation"),
    tally: Counter[str] | None = None,
    glossary: Glossary | None = None,
    images: tuple[bytes, ...] = (),
    **settings: Any,
) -> list[Translated | Fallen]:
    data = {"to": "eu", "backend": {"kind": "memory", "path": "none.tsv"}, **settings}
    parsed = TranslateSettings.parse(data, "test")

    async def run() -> list[Translated | Fallen]:
        async with AsyncExitStack() as stack:
            voices = [
                await voice(stack, fake, unit) for fake, unit in zip(fakes, units, strict=False)
            ]
            more = {"glossary": glossary} if glossary else {}
            hop = Hop("eu", voices, parsed, **more)
            counter = tally if tally is not None else Counter()
            return list(
                await asyncio.gather(*(hop.translate(one, counter, images) for one in records))
            )

    return asyncio.run(run())


def kept(made: Translated | Fallen) -> Record:
    assert isinstance(made, Translated), made
    return made.record


def fallen(made: Translated | Fallen) -> Fallen:
    assert isinstance(made, Fallen), made
    return made


def test_a_conversation_is_one_request() -> None:
    fake = Fake()
    (made,) = translate(record(*TALK), fakes=[fake])
    assert texts_of(kept(made)) == [shift(text) for text in TALK[:3]] + [
        shift("It is at ") + "https://a.org."
    ]
    assert len(fake.requests) == 1
    assert fake.asked[0] == (
        "<user1>What is it?</user1>\n<assistant2>It is a dog.</assistant2>\n"
        "<user3>Where is it?</user3>\n<assistant4>It is at ⟦1⟧.</assistant4>"
    )
    request = fake.requests[0]
    assert request.temperature == 0
    assert "from English (en) into Basque (eu)" in request.turns[0].text
    assert "euskara batua" in request.turns[0].text
    assert [turn.role for turn in request.turns[1:-1]] == ["user", "assistant"] * 2


def test_a_long_conversation_is_several_requests_of_which_each_sees_the_one_before() -> None:
    fake = Fake()
    texts = [f"This is the text of number {word}." for word in ("one", "two", "three")]
    (made,) = translate(record(*texts), fakes=[fake], max_characters=40)
    assert texts_of(kept(made)) == [shift(text) for text in texts]
    assert len(fake.requests) == 3
    before = fake.requests[2].turns[-3:-1]
    assert [turn.text for turn in before] == [
        f"<assistant1>{texts[1]}</assistant1>",
        f"<assistant1>{shift(texts[1])}</assistant1>",
    ]


def test_sentences_go_alone_and_come_back_with_what_was_between_them() -> None:
    fake = Fake(chat=False)
    text = "- One dog here.  See `x`!\n\n2. Two dogs there. One dog here."
    (made,) = translate(record(text), fakes=[fake], units=["sentence"])
    assert texts_of(kept(made)) == [
        f"- {shift('One dog here.')}  {shift('See')} `x`!\n\n2. {shift('Two dogs there.')} "
        + shift("One dog here.")
    ]
    assert sorted(fake.asked) == ["One dog here.", "See XQ1!", "Two dogs there."]


def test_equal_sentences_of_many_records_are_asked_once() -> None:
    fake = Fake(chat=False)
    records = [record("A dog runs at 3.5 km/h.", id=f"r{n}") for n in range(20)]
    for made in translate(*records, fakes=[fake], units=["sentence"]):
        assert "3.5 km/h" in texts_of(kept(made))[0]
    assert len(fake.requests) == 1


@pytest.mark.parametrize("units", ["conversation", "sentence"])
def test_options_in_the_question_and_the_answer_are_the_translated_options(units: Units) -> None:
    fake = Fake(chat=units == "conversation")
    asked = record(
        "Which of these is it? A) a big dog B) a cat", "B) a cat",
        choices=["a big dog", "a cat"], answers=("a cat",),
    )  # fmt: skip
    (made,) = translate(asked, fakes=[fake], units=[units])
    one = kept(made)
    dog, cat = shift("a big dog"), shift("a cat")
    assert one.choices == (dog, cat)
    assert one.answers == (cat,)
    question, answer = texts_of(one)
    assert question == f"{shift('Which of these is it?')} A) {dog} B) {cat}"
    assert answer == f"B) {cat}"


def test_options_that_become_the_same_are_refused() -> None:
    fake = Fake(lambda request: re.sub(r"(<option\d+>)[^<]*", r"\1txakurra", shifted(request)))
    made = translate(record("Which?", "a dog", choices=["a dog", "a cat"]), fakes=[fake])
    assert fallen(made[0]).reason == "options-merged"
    alone = Fake(lambda request: "txakurra", chat=False)
    made = translate(
        record("Which?", choices=["a dog", "a cat"]), fakes=[alone], units=["sentence"]
    )
    assert fallen(made[0]).reason == "options-merged"


def test_what_has_no_words_is_not_asked_for() -> None:
    fake = Fake()
    (made,) = translate(record("https://a.org 3.5 km", "12"), fakes=[fake])
    assert texts_of(kept(made)) == ["https://a.org 3.5 km", "12"]
    assert fake.requests == []


def test_a_glossary_name_stays_and_a_term_has_its_one_translation() -> None:
    glossary = Glossary({"Ana Etxe": "", "traffic light": "semaforoa"})
    talk = record("Is Ana Etxe at the traffic light?", "No, the traffic light is broken.")
    (made,) = translate(talk, fakes=[Fake()], glossary=glossary)
    for text in texts_of(kept(made)):
        assert "semaforoa" in text
    assert "Ana Etxe" in texts_of(kept(made))[0]


# -- the ladder


def shifted(request: Request) -> str:
    return shift(last_text(request))


def first_time(wrong: Callable[[str], str | Answer]) -> Callable[[Request], str | Answer]:
    """Return a reply that is wrong to the first prompt and right to the second."""

    def reply(request: Request) -> str | Answer:
        good = shifted(request)
        return good if "refused" in request.turns[0].text else wrong(good)

    return reply


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (lambda good: good.replace("⟦1⟧", ""), "placeholder-lost"),
        (lambda good: good.replace("⟦1⟧", "⟦1⟧ ⟦1⟧"), "placeholder-doubled"),
        (lambda good: good.replace("⟦1⟧", "⟦7⟧"), "placeholder-unknown"),
        (lambda good: "Kaixo", "format"),
        (lambda good: Answer("", good[:20], "length"), "translation-cut"),
        (lambda good: Answer("", good, "other"), "translation-stopped"),
        (lambda good: good.replace("<user1>", "<user1>Itzulpena: "), "preamble"),
        (lambda good: re.sub(r">([^<]+)</user1>", r'>"\1"</user1>', good), "quotes"),
        (lambda good: re.sub(r">([^<]+)</user1>", r">⟦1⟧</user1>", good), "translation-empty"),
        (lambda good: good.replace("</user1>", " bai" * 9 + "</user1>"), "repetition"),
    ],
)
def test_a_content_fault_is_mended_by_another_prompt(
    wrong: Callable[[str], str | Answer], reason: str
) -> None:
    fake, tally = Fake(first_time(wrong)), Counter[str]()
    asked = record("What is in the picture that I see at https://a.org now?")
    (made,) = translate(asked, fakes=[fake], tally=tally)
    kept(made)
    assert tally == {reason: 1}
    assert len(fake.requests) == 2
    assert reason in fake.requests[1].turns[0].text  # the model is told


def test_text_outside_the_tags_is_left_out_and_counted() -> None:
    tally = Counter[str]()
    fake = Fake(lambda request: f"Hona hemen:\n{shifted(request)}\nOndo?")
    (made,) = translate(record("What is it?"), fakes=[fake], tally=tally)
    assert texts_of(kept(made)) == [shift("What is it?")]
    assert tally == {"text-outside-tags": 1}


def test_the_ladder_is_prompt_then_sample_then_fallback_then_drop() -> None:
    main, other = Fake(lambda request: "ez", name="main"), Fake(lambda request: "inola ere ez")
    tally = Counter[str]()
    (made,) = translate(record("What is it?"), fakes=[main, other], tally=tally)
    end = fallen(made)
    assert end.reason == "format"
    assert end.answer == "inola ere ez"
    assert end.detail.endswith("Last answer: inola ere ez")
    assert [request.temperature for request in main.requests] == [0, 0, 0.7]
    assert [request.sample for request in main.requests] == [0, 0, 1]
    assert len(other.requests) == 3
    assert tally == {"format": 6}


def test_a_fallback_of_sentences_mends_what_a_chat_model_could_not() -> None:
    main, other = Fake(lambda request: "ez", name="main"), Fake(chat=False, name="other")
    (made,) = translate(record(*TALK), fakes=[main, other], units=["conversation", "sentence"])
    assert isinstance(made, Translated)
    assert texts_of(made.record)[1] == shift(TALK[1])
    assert [one.name for one in made.voices] == ["other"]


def test_a_problem_of_the_backend_is_the_reason() -> None:
    fake = Fake(
        lambda request: Answer("", "", "other", problem="memory-missing", detail="no entry"),
        chat=False,
    )
    (made,) = translate(record("What is it?"), fakes=[fake], units=["text"])
    assert fallen(made).faults[-1].reason == "memory-missing"
    assert "no entry" in fallen(made).detail


def test_a_memory_gets_whole_texts_unprotected_and_their_task() -> None:
    fake = Fake(chat=False)
    (made,) = translate(
        record("One dog. Two at 3.5 km.", task="where"), fakes=[fake], units=["text"]
    )
    assert fake.asked == ["One dog. Two at 3.5 km."]
    assert fake.requests[0].extra == {"context": "where"}
    assert fallen(made).reason == "span-changed"  # the fake turns `km` round


def test_a_text_that_is_too_long_is_dropped_unasked() -> None:
    fake = Fake()
    (made,) = translate(record("word " * 100), fakes=[fake], max_text=100)
    assert fallen(made).reason == "too-long"
    assert fake.requests == []


def test_describing_sends_the_picture_and_not_the_answer() -> None:
    fake = Fake(
        lambda request: (
            "<user1>" + shift("What is it?") + "</user1><assistant2>Txakur bat da.</assistant2>"
        ),
        images=True,
    )
    (made,) = translate(
        record("What is it?", "A dog."), fakes=[fake], mode="describe", images=(b"png",)
    )
    assert texts_of(kept(made)) == [shift("What is it?"), "Txakur bat da."]
    (request,) = fake.requests
    assert request.images == (b"png",)
    assert "A dog" not in request.turns[-1].text
    assert "picture" in request.turns[0].text
