"""Every kind of step, run on a small fixed configuration, and what its output comes to.

Recipes and language packs are not read, since a change of theirs changes addresses by itself:
the two packs here hold no language, and the settings are written out.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from ikusi.core.artifact import Artifact, Spec
from ikusi.core.config import dump_yaml
from ikusi.core.records import read_records
from ikusi.core.store import Store
from ikusi.data.images import ImageReader
from ikusi.languages.parts import COLOURS, KINDS, SIDES
from ikusi.languages.rules import PLACEHOLDERS, POOLS
from ikusi.study.parts import IMAGES, MODEL, RECORDS, SHAS
from ikusi.study.steps import STEPS, run_step

FILE = Path(__file__).parent / "golden.json"
EXACT = ("pictures", "import", "mix", "tokenizer")
"""Steps whose output is the same on every machine; of the others, numbers are compared."""

TASKS = list(PLACEHOLDERS)
WORLD = {
    "pivot": "en",
    "target": "eu",
    "paired": 32,
    "probe": 4,
    "kinds": ["animal", "food", "vehicle", "building", "clothing", "object"],
    "cldr": {"en": "en", "eu": "eu"},
}
SET = {"world": WORLD, "tasks": TASKS, "seed": 0}
EVAL = {**SET, "per_task": 2, "count": 2 * len(TASKS)}
MIX = {"pivot": "en", "target": "eu", "seed": 0}
TRAIN = {"learning_rate": 1e-3, "per_device_train_batch_size": 8, "adam_beta2": 0.98}
BACKBONE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "initializer_range": 0.08,
    "until": None,
}


def versions() -> dict[str, int]:
    """Return the version of every kind of step."""
    return {kind: version for kind, (version, _) in STEPS.items()}


def write_packs(folder: Path) -> None:
    """Write a pack for each of the world's two languages, with words that belong to none."""
    folder.mkdir()
    for code, tail in (("en", "o"), ("eu", "i")):
        pack = {
            "code": code,
            "names": {"own": f"lang{tail}"},
            "yes_no": {"yes": [f"ye{tail}"], "no": [f"ne{tail}"]},
            "numbers": [f"num{chr(97 + n)}{tail}" for n in range(11)],
            "terms": {
                "colours": {key: f"{key}{tail}" for key in COLOURS},
                "sides": {key: f"{key}{tail}" for key in SIDES},
                "kinds": {key: f"{key}{tail}" for key in KINDS},
                "languages": {"en": f"en{tail}", "eu": f"eu{tail}"},
            },
            "scene": f"Scen{tail}: {{cells}}. Ground{tail}: {{colour}}.",
            "caption_answer": f"{{names}}. Ground{tail}: {{colour}}.",
            "tasks": {
                task: {
                    pool: [
                        f"{word}{tail} {pool} {task}: " + _marks(marks)
                        for word in ("ask", "say", "tell")
                    ]
                    for pool in POOLS
                }
                for task, marks in PLACEHOLDERS.items()
            },
        }
        (folder / f"{code}.yaml").write_text(dump_yaml(pack), encoding="utf-8")


def _marks(marks: tuple[str, ...]) -> str:
    options = "".join(marks) == "abcd"
    return " ".join(f"{m.upper()}) {{{m}}}" if options else f"{{{m}}}" for m in marks)


class Chain:
    """The steps' artifacts in a store, each made when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self.store = Store(root)

    def make(
        self,
        kind: str,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Artifact] = MappingProxyType({}),
    ) -> Artifact:
        version, _ = STEPS[kind]
        addresses = {role: artifact.address for role, artifact in inputs.items()}
        spec = Spec(kind, name, version, config, addresses)
        return self.store.build(spec, lambda out: run_step(spec, inputs, out))

    def pictures(self, name: str) -> Artifact:
        about = EVAL if name.startswith("eval-") else {**SET, "count": 12}
        return self.make("pictures", name, {**about, "set": name})

    def records(self, name: str, language: str, count: int = 12) -> Artifact:
        about = EVAL if name.startswith("eval-") else {**SET, "count": count}
        pictured = name not in ("text", "backbone", "eval-text")
        drawn = {"pictures": self.pictures(name)} if pictured else {}
        config = {**about, "set": name, "language": language}
        return self.make("import", f"{name}-{language}", config, drawn)

    def backbone_texts(self) -> dict[str, Artifact]:
        return {f"text@{code}": self.records("backbone", code, 60) for code in ("en", "eu")}

    def mixture(self, name: str) -> Artifact:
        if name == "backbone":
            mixture = {"budget": {"samples": 48}, "text": {"share": 1.0, "target_share": 0.25}}
            return self.make("mix", name, {**MIX, "mixture": mixture}, self.backbone_texts())
        if name == "align":
            mixture = {"budget": {"samples": 12}, "multimodal": {"target_share": 0.75}}
            both = {f"multimodal@{code}": self.records("align", code) for code in ("en", "eu")}
            return self.make("mix", name, {**MIX, "mixture": mixture}, both)
        mixture = {
            "budget": {"samples": 16},
            "multimodal": {"target_share": 0.5},
            "text": {"share": 0.25, "target_share": 0.5},
            "pivot_only": {"share": 0.25},
        }
        parts = {
            f"{part}@{code}": self.records(source, code)
            for part, source in (("multimodal", "instruct"), ("text", "text"))
            for code in ("en", "eu")
        }
        parts["pivot_only@en"] = self.records("probe", "en")
        return self.make("mix", name, {**MIX, "mixture": mixture}, parts)

    def tokenizer(self) -> Artifact:
        config = {"world": WORLD, "vocab_size": 600, "texts": 60}
        return self.make("tokenizer", "world", config, self.backbone_texts())

    def encoder(self) -> Artifact:
        config = {
            "world": WORLD,
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_scenes": 64,
            "train": TRAIN,
            "seed": 0,
        }
        return self.make("encoder", "world", config)

    def text(self) -> Artifact:
        config = {**BACKBONE, "name": "pivot", "train": TRAIN, "seed": 0}
        inputs = {"mixture": self.mixture("backbone"), "tokenizer": self.tokenizer()}
        return self.make("text", "pivot", config, inputs)

    def align(self) -> Artifact:
        model = {
            "vision": "world/encoder",
            "connector": "linear",
            "scale": 2,
            "feature_layer": -2,
            "llm": "world/pivot",
        }
        config = {"stage": "align", "train": TRAIN, "seed": 0, "model": model}
        return self.make(
            "align",
            "pivot",
            config,
            {
                "llm": self.text(),
                "vision": self.encoder(),
                "mixture": self.mixture("align"),
                "pictures-align": self.pictures("align"),
            },
        )

    def instruct(self) -> Artifact:
        return self.make(
            "instruct",
            "pivot",
            {"stage": "instruct", "train": TRAIN, "seed": 0},
            {
                "model": self.align(),
                "vision": self.encoder(),
                "mixture": self.mixture("instruct"),
                "pictures-instruct": self.pictures("instruct"),
                "pictures-probe": self.pictures("probe"),
            },
        )

    def evaluate(self) -> Artifact:
        config = {
            "world": WORLD,
            "splits": ["main", "text"],
            "blind": True,
            "blind_per_task": 1,
            "batch_size": 16,
            "max_new_tokens": 6,
        }
        items = {
            f"items-{split}@{code}": self.records(f"eval-{split}", code)
            for split in ("main", "text")
            for code in ("en", "eu")
        }
        inputs = {
            "model": self.instruct(),
            "vision": self.encoder(),
            "pictures-main": self.pictures("eval-main"),
        }
        return self.make("evaluate", "pivot", config, inputs | items)


def outcome(kind: str, chain: Chain) -> dict[str, Any]:
    """Return what the step's outputs come to: hashes where it is exact, else numbers."""
    return _OUTCOMES[kind](chain)


def _hash(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _pictures(chain: Chain) -> dict[str, Any]:
    return {name: _pixels(chain.pictures(name)) for name in ("instruct", "probe", "eval-design")}


def _pixels(artifact: Artifact) -> str:
    reader = ImageReader(artifact.path / IMAGES)
    digest = hashlib.sha256()  # of pixels: the bytes of a PNG depend on the compressor
    for sha256 in json.loads((artifact.path / SHAS).read_text(encoding="utf-8")):
        with Image.open(io.BytesIO(reader.read(sha256))) as picture:
            digest.update(np.asarray(picture.convert("RGB")).tobytes())
    return digest.hexdigest()[:16]


def _record_sets(chain: Chain) -> dict[str, Any]:
    names = ("align", "instruct", "probe", "text", "backbone", "drills", "eval-main", "eval-text")
    return {
        f"{name}-{code}": _hash(_texts(chain.records(name, code)))
        for name in (*names, "eval-wording")
        for code in ("en", "eu")
    }


def _texts(artifact: Artifact) -> list[Any]:
    return [
        [
            *(record.id, record.group, record.language, record.task, record.source),
            *(record.licence, record.provenance, list(record.choices), list(record.answers)),
            [
                [turn.role, [type(p).__name__ for p in turn.parts], turn.text]
                for turn in record.turns
            ],
            len(record.images),
        ]
        for record in read_records(artifact.path / RECORDS)
    ]


def _mixtures(chain: Chain) -> dict[str, Any]:
    return {name: _hash(_texts(chain.mixture(name))) for name in ("backbone", "align", "instruct")}


def _tokenizer(chain: Chain) -> dict[str, Any]:
    folder = chain.tokenizer().path / MODEL
    made = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    model = made["model"]
    return {
        "vocabulary": _hash(model["vocab"]),
        "merges": _hash(model["merges"]),
        "template": _hash(template),
    }


def _training(make: Callable[[Chain], Artifact]) -> Callable[[Chain], dict[str, Any]]:
    def numbers(chain: Chain) -> dict[str, Any]:
        stats = make(chain).stats
        loss = [row["loss"] for row in stats["loss"]]
        return {key: stats[key] for key in ("steps", "samples", "supervised_tokens")} | {
            "loss": loss
        }

    return numbers


def _evaluation(chain: Chain) -> dict[str, Any]:
    table = pq.read_table(chain.evaluate().path / "results.parquet")
    given = table.drop_columns(["answer", "correct", "said", "right_elsewhere", "finished"])
    given = given.drop_columns(["likely", "likely_correct"])
    return {"items": _hash(given.to_pylist()), "answers": table["answer"].to_pylist()}


_OUTCOMES: dict[str, Callable[[Chain], dict[str, Any]]] = {
    "pictures": _pictures,
    "import": _record_sets,
    "mix": _mixtures,
    "tokenizer": _tokenizer,
    "encoder": _training(Chain.encoder),
    "text": _training(Chain.text),
    "align": _training(Chain.align),
    "instruct": _training(Chain.instruct),
    "evaluate": _evaluation,
}
