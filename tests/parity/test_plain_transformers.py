"""A checkpoint of ours in a process without ikusi: the same ids, logits and answers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.model import tiny
from tests.parity.test_gradients import within

from ikusi.api import Model
from ikusi.batch.features import encode_pictures
from ikusi.batch.loader import collate
from ikusi.model.checkpoint import Checkpoint, save_checkpoint
from ikusi.model.connector import LinearConnector
from ikusi.model.vlm import assemble, decoder, embed, head

QUESTIONS = ("Zer dago irudian?", "What is it?", "¿Qué hay en la imagen?")


def siglip() -> Checkpoint:
    tower = tiny.siglip_tower()
    connector = LinearConnector(tiny.VISION_WIDTH, tiny.TEXT_WIDTH)
    model = assemble(tower, connector, tiny.llama(), 3)
    return Checkpoint(model.eval(), tiny.tokenizer(), tiny.siglip_processor())


CHECKPOINTS = {
    "linear, folded": lambda: tiny.checkpoint("linear"),
    "linear, too wide to fold": lambda: tiny.checkpoint("linear", hidden_size=24),
    "mlp": lambda: tiny.checkpoint("mlp", tied=False),
    "linear, SigLIP": siglip,
}
PICTURES = [tiny.picture(n, side=30 + 20 * n) for n in range(3)]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Checkpoint, Path]]:
    """Every checkpoint, and the folder with what plain transformers makes of it."""
    root = tmp_path_factory.mktemp("plain")
    made = {}
    for kind, make in CHECKPOINTS.items():
        made[kind] = make(), root / kind.replace(" ", "-")
        save_checkpoint(made[kind][0], made[kind][1] / "model")
        for number, picture in enumerate(PICTURES):
            picture.save(made[kind][1] / f"{number}.png")
    script = Path(__file__).with_name("plain.py")
    subprocess.run([sys.executable, script, root, *QUESTIONS], check=True, timeout=250)
    return made


@pytest.mark.slow
@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_plain_transformers_says_the_same(
    kind: str, saved: dict[str, tuple[Any, Path]], record_property: Any
) -> None:
    made, folder = saved[kind]
    plain = np.load(folder / "plain.npz")
    renderer = tiny.renderer(made)
    table = encode_pictures(
        made.model, made.image_processor, ["0", "1", "2"], lambda n: PICTURES[int(n)]
    )
    error = 0.0
    for number, question in enumerate(QUESTIONS):
        prompt = renderer.render_prompt(tiny.record(question, None, number))
        assert prompt.input_ids.tolist() == plain[f"ids{number}"].tolist()
        batch = collate([prompt], table, 0)
        with torch.no_grad():
            embedded = embed(made.model, batch.input_ids, batch.features)
            hidden = decoder(made.model)(inputs_embeds=embedded).last_hidden_state
            ours = head(made.model)(hidden)[0].numpy()
        theirs = plain[f"logits{number}"]
        error = max(error, float(abs(ours - theirs).max() / abs(ours).max()))
    within(error, 1e-5, f"logits, {kind}", record_property)
    model = Model(made)
    ours = [
        model.answer(Image.open(folder / f"{n}.png"), question, max_new_tokens=12)
        for n, question in enumerate(QUESTIONS)
    ]
    assert ours == [str(answer).strip() for answer in plain["answers"]]
    assert len(set(ours)) == 3
