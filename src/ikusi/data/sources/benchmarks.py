"""Published evaluation sets: prompts with `choices` and `answers`, under the task's own name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace

from ikusi.data.sources.choices import split_options
from ikusi.data.sources.pictures import Known, Pictures
from ikusi.data.sources.source import Fault, Fields, Row, RowFault, Source, Values, View, columns

_TRANSLATOR = "HiTZ/Latxa-Llama-3.1-70B-Instruct"
_BY_SPLIT = {"en": "en", "eu": "eu", "eu_reviewed": "eu"}


def _mmstar(values: Values, language: str) -> Values:
    """Return the row with the options taken out of the question.

    Where they cannot be told apart, the question stays as it is, and the letters are the options.
    """
    question = values.get("question")
    split = split_options(question) if isinstance(question, str) else None
    if split is None:
        return {**values, "options": list("ABCD")}
    return {**values, "question": split[0], "options": list(split[1])}


def _xm3600(values: Values, language: str) -> Values | None:
    """Return the row of one language; None if the picture has no caption in it."""
    told = values.get(language)
    if not isinstance(told, dict) or not told.get("caption"):
        return None
    key = values.get("image/key")
    if not isinstance(key, str):
        raise RowFault("column-type", "image/key is no text")
    return {"key": key, "image": f"{key}.jpg", "captions": told["caption"]}


_REFERENCE_CHARACTERS = 64  # of LMUData: a shorter `image` is the index of the row that has it


def _lmudata(rows: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows; one that names another row's picture gets it, as a sha256."""
    known: dict[str, str] = {}
    pictures = Pictures(None, lambda data, _: hashlib.sha256(data).hexdigest())
    for row in rows:
        cell = row.values.get("image")
        if row.fault is not None or not isinstance(cell, str):
            yield row
        elif 0 < len(cell.strip()) <= _REFERENCE_CHARACTERS:
            other = known.get(cell.strip())
            if other is None:
                told = f"no row before has the index {cell.strip()!r}"
                yield replace(row, fault=Fault("image-missing", told))
            else:
                yield replace(row, values={**row.values, "image": Known(other)})
        else:
            try:
                known[str(row.values.get("index"))] = pictures.take(cell, "base64").sha256 or ""
            except RowFault as error:
                row = replace(row, fault=error.fault)
            yield row


BENCHMARKS: tuple[Source, ...] = (
    Source(
        name="vqav2",
        about="VQAv2: short answers to questions about pictures, of ten people each",
        hub="lmms-lab/VQAv2",
        splits=("validation",),
        columns=columns(
            "question_id any, image image, question text, answers list, "
            "multiple_choice_answer text, question_type text?, answer_type text?"
        ),
        views=(
            View(
                fields=Fields(
                    group="question_id",
                    images="image",
                    question="question",
                    answers="answers",
                    correct="multiple_choice_answer",
                    meta=("question_type", "answer_type"),
                )
            ),
        ),
        language="en",
        task="vqav2",
        evaluates=True,
        licence="CC-BY-4.0",
        provenance="native",
    ),
    Source(
        name="vqa-v2-eu",
        set="vqav2",
        about="5,000 questions of VQAv2 in Basque and in English",
        hub="lukasArana/vqa-v2-eu",
        schema="assumed",
        splits=("en", "eu"),
        split_languages=_BY_SPLIT,
        columns=columns(
            "image image, question text, question_id any?, answers list, "
            "multiple_choice_answer text?, question_type text?, answer_type text?"
        ),
        views=(
            View(
                fields=Fields(
                    group="question_id",
                    images="image",
                    question="question",
                    answers="answers",
                    correct="multiple_choice_answer",
                    meta=("question_type", "answer_type"),
                )
            ),
        ),
        task="vqav2",
        evaluates=True,
        provenance=_TRANSLATOR,
    ),
    Source(
        name="aokvqa",
        about="A-OKVQA: questions that need knowledge of the world, four options",
        hub="HuggingFaceM4/A-OKVQA",
        splits=("validation",),
        columns=columns(
            "image image, question_id text, question text, choices list, "
            "correct_choice_idx int, direct_answers any?, rationales any?"
        ),
        views=(
            View(
                fields=Fields(
                    group="question_id",
                    images="image",
                    question="question",
                    choices="choices",
                    correct="correct_choice_idx",
                    meta=("direct_answers",),
                )
            ),
        ),
        language="en",
        task="aokvqa",
        evaluates=True,
        provenance="native",
    ),
    Source(
        name="a-ok-vqa-eu",
        set="aokvqa",
        about="2,500 questions of A-OKVQA in Basque and in English",
        hub="lukasArana/A-OK-VQA-eu",
        splits=("en", "eu"),
        split_languages=_BY_SPLIT,
        columns=columns(
            "image image, question text, choices any, correct_choice_idx any, question_id any"
        ),
        views=(
            View(
                fields=Fields(
                    group="question_id",
                    images="image",
                    question="question",
                    choices="choices",
                    correct="correct_choice_idx",
                )
            ),
        ),
        task="aokvqa",
        evaluates=True,
        provenance=_TRANSLATOR,
    ),
    Source(
        name="wildvision",
        about="WildVision-Bench: 500 open questions that people asked, without answers",
        hub="WildVision/wildvision-bench",
        subset="vision_bench_0617",
        splits=("test",),
        columns=columns("question_id text, instruction text, image image, language text?"),
        views=(
            View(
                fields=Fields(
                    group="question_id", images="image", question="instruction", meta=("language",)
                )
            ),
        ),
        language="en",
        task="wildvision",
        evaluates=True,
        provenance="native",
    ),
    Source(
        name="mmstar",
        about="MMStar: 1,500 multiple-choice questions that cannot be answered unseen",
        hub="Lin-Chen/MMStar",
        splits=("val",),
        columns=columns(
            "index any, question text, image image, answer text, category text?, "
            "l2_category text?, meta_info any?"
        ),
        views=(
            View(
                fields=Fields(
                    group="index",
                    images="image",
                    question="question",
                    choices="options",
                    correct="answer",
                    correct_is="letter",
                    meta=("category", "l2_category"),
                )
            ),
        ),
        reshape=_mmstar,
        language="en",
        task="mmstar",
        evaluates=True,
        provenance="native",
    ),
    Source(
        name="mmbench",
        about="MMBench as VLMEvalKit's LMUData: a TSV with the pictures in base64",
        schema="assumed",
        columns=columns(
            "index any, question text, A text, B text, C text?, D text?, answer text, image text, "
            "hint text?, category text?, l2-category text?, split text?"
        ),
        views=(
            View(
                fields=Fields(
                    group="index",
                    images="image",
                    pictures="base64",
                    question="question",
                    hint="hint",
                    choices=("A", "B", "C", "D"),
                    correct="answer",
                    correct_is="letter",
                    meta=("category", "l2-category", "split"),
                )
            ),
        ),
        prepare=_lmudata,
        language="en",
        task="mmbench",
        evaluates=True,
        provenance="native",
    ),
    Source(
        name="xm3600",
        about="Crossmodal-3600: native captions in 36 languages; give --images with the pictures",
        schema="assumed",
        columns=columns("image/key text"),
        views=(View(fields=Fields(group="key", images="image", answers="captions")),),
        any_language=True,
        reshape=_xm3600,
        task="xm3600",
        evaluates=True,
        licence="CC-BY-4.0",
        provenance="native",
    ),
    Source(
        name="mmstar-eu",
        set="mmstar",
        about="MMStar in Basque and in English; --split eu_reviewed has what people reviewed",
        hub="HiTZ/mmstar_eu",
        splits=("en", "eu"),
        split_languages=_BY_SPLIT,
        columns=columns(
            "index any, question text, image image, answer text, category text?, "
            "l2_category text?, meta_info any?"
        ),
        views=(
            View(
                fields=Fields(
                    group="index",
                    images="image",
                    question="question",
                    choices="options",
                    correct="answer",
                    correct_is="letter",
                    meta=("category", "l2_category"),
                )
            ),
        ),
        reshape=_mmstar,
        task="mmstar",
        evaluates=True,
    ),
)
