"""The runner: rows as the report reads them, and controls that see other pictures."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.model import tiny
from tests.train.test_loop import SETTINGS

from ikusi.batch.features import FeatureTable
from ikusi.core.types import ImageRef, Record, user
from ikusi.evaluate.fidelity import Confusion, Fidelity, Lexicon
from ikusi.evaluate.results import RESULT_SCHEMA, result_table
from ikusi.evaluate.runner import BLANK, answer_items, gold_of, with_blank, with_shuffled
from ikusi.model.checkpoint import Checkpoint
from ikusi.train.chat_objective import ChatObjective
from ikusi.train.loop import fit
from ikusi.train.params import choose_trainable

NAMES = {"eu": ("katua", "etxea", "zuhaitza"), "en": ("cat", "house", "tree")}
YES = {"eu": ("bai", "ez"), "en": ("yes", "no")}
NOTHING = dict.fromkeys(("target", "pivot", "neither"), 0)
FIDELITY = Fidelity(
    Lexicon([*NAMES["eu"], *YES["eu"]], [*NAMES["en"], *YES["en"]]),
    Confusion({"target": "eu", "pivot": "en"}, {"target": NOTHING, "pivot": NOTHING}),
)


def items() -> list[Record]:
    """Three pictures; of each its name, and whether it is the first one; in both languages."""
    made = []
    for language in ("en", "eu"):
        for number in range(3):
            about = {"identity": f"scene-{number}", "language": language}
            name = NAMES[language][number]
            what = tiny.record(f"What {language}?", name, number, task="what", **about)
            yes = YES[language][number > 0]
            is_it = tiny.record(
                f"Is it {language}?", yes, number, task="exists", choices=YES[language], **about
            )
            made += [
                replace(r, id=f"{r.id}/{r.task}@{language}", answers=(r.turns[-1].text,))
                for r in (what, is_it)
            ]
    return made


@pytest.fixture(scope="module")
def trained() -> tuple[Any, FeatureTable]:
    """A model that learned the items by heart."""
    made: Any = tiny.checkpoint()
    table = tiny.features(made, 3).join(
        FeatureTable(np.zeros((1, 16, tiny.VISION_WIDTH), np.float32), {BLANK: 0})
    )
    renderer = tiny.renderer(made)
    trainable, _ = choose_trainable(made.model, "instruct")
    samples = [renderer.render(record) for record in items()]
    goal = ChatObjective(made.model, trainable, samples, table, 0, batch_size=12, seed=0)
    settings = {"max_steps": 50, "learning_rate": 1e-2, "max_grad_norm": 1.0}
    fit(goal, SETTINGS.model_copy(update=settings))
    return made, table


def ask(trained: tuple[Any, Any], records: list[Record], split: str, **how: Any) -> list[Any]:
    made, table = trained
    how = {"batch_size": 5, "max_new_tokens": 12} | how
    rows = list(answer_items(made, records, split, gold_of(items()), FIDELITY, table, **how))
    return sorted(rows, key=lambda row: row["sample_id"])


def test_rows_are_what_the_report_reads(trained: Any) -> None:
    rows = ask(trained, items(), "main")
    table = result_table(rows)
    assert table.schema == RESULT_SCHEMA
    assert table.num_rows == 12
    assert [set(row) for row in rows] == [set(RESULT_SCHEMA.names)] * 12
    assert {row["sample_id"] for row in rows} == {f"main:{record.id}" for record in items()}
    for row in rows:
        assert row["correct"]
        assert row["answer"] == row["gold"]
        assert row["finished"]
        assert row["said"] == ("target" if row["language"] == "eu" else "pivot")
        assert not row["right_elsewhere"]
        assert row["prompt"].endswith(f"{row['language']}?")
        assert row["prompt_sha256"] == hashlib.sha256(row["prompt"].encode()).hexdigest()
        closed = row["task"] == "exists"
        assert (row["likely"], row["likely_correct"]) == (
            (row["gold"], True) if closed else (None, None)
        )


def test_the_batch_size_changes_nothing(trained: Any) -> None:
    assert ask(trained, items(), "main") == ask(trained, items(), "main", batch_size=1)


def test_an_answer_in_the_other_language_is_told(trained: Any) -> None:
    """The question of one language, filed as the other's."""
    gold, other = gold_of(items()), {"eu": "en", "en": "eu"}
    switched = []
    for record in items():
        language = other[record.language]
        answer = gold[f"{record.group}/{record.task}"][language]
        switched.append(replace(record, language=language, answers=(answer,)))
    for row in ask(trained, switched, "main"):
        assert not row["correct"]
        assert row["right_elsewhere"]
        assert row["said"] == ("pivot" if row["language"] == "eu" else "target")


def test_an_answer_that_is_cut_is_not_finished(trained: Any) -> None:
    rows = ask(trained, items(), "main", max_new_tokens=1)
    assert {row["finished"] for row in rows if row["gold"] == "zuhaitza"} == {False}


def test_controls_differ_from_main(trained: Any) -> None:
    main = {row["sample_id"].partition(":")[2]: row for row in ask(trained, items(), "main")}
    for split, control in (("blank", with_blank(items())), ("shuffled", with_shuffled(items()))):
        rows = ask(trained, control, split)
        assert {row["split"] for row in rows} == {split}
        assert [row["gold"] for row in rows] == [
            main[row["sample_id"].partition(":")[2]]["gold"] for row in rows
        ]
        named = [row for row in rows if row["task"] == "what"]
        assert sum(row["correct"] for row in named) <= len(named) / 3


def test_blank_has_a_blank_for_each_picture() -> None:
    two = replace(items()[0], images=(ImageRef(sha256="0"), ImageRef(sha256="1")))
    assert with_blank([two])[0].images == (ImageRef(sha256=BLANK),) * 2
    assert with_blank([two])[0].turns == two.turns


def test_shuffled_is_a_rotation_of_each_tasks_pictures() -> None:
    records = items()
    shuffled = with_shuffled(records)
    assert [r.id for r in shuffled] == [r.id for r in records]
    assert shuffled == with_shuffled(records)
    by_question: dict[tuple[str, str], set[Any]] = {}
    for before, after in zip(records, shuffled, strict=True):
        assert before.images != after.images
        by_question.setdefault((before.group, before.task), set()).add(after.images)
    assert all(len(pictures) == 1 for pictures in by_question.values())  # both languages alike
    for task in ("what", "exists"):
        shown = [found for (_, asked), found in by_question.items() if asked == task]
        assert len(set.union(*shown)) == 3


def test_several_questions_about_one_picture_never_keep_it() -> None:
    same = [replace(record, task="vqa") for record in items()]
    assert all(a.images != b.images for a, b in zip(same, with_shuffled(same), strict=True))


def test_a_task_with_one_picture_has_no_shuffled_control() -> None:
    alone = [record for record in items() if record.group == "scene-0"]
    assert with_shuffled(alone) == []
    assert len(with_shuffled([*alone, items()[2]])) == 3


def test_a_text_only_model() -> None:
    made = Checkpoint(tiny.llama(), tiny.tokenizer())
    records = [replace(r, images=(), turns=(user("Zer da?"), r.turns[-1])) for r in items()]
    rows = list(
        answer_items(
            made, records, "text", gold_of(records), FIDELITY, None, batch_size=4, max_new_tokens=3
        )
    )
    assert result_table(rows).num_rows == 12
