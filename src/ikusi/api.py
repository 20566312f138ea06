"""ikusi from Python: `ikusi.load(path).answer(picture, question)`."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any, cast

import torch
from PIL import Image

from ikusi.batch.chat import ChatRenderer
from ikusi.batch.features import FeatureTable
from ikusi.batch.loader import collate
from ikusi.core.artifact import MANIFEST, Artifact
from ikusi.core.errors import CorruptArtifact, DataError, StoreError, suggest
from ikusi.core.links import read_link
from ikusi.core.store import Store
from ikusi.core.types import Image as ImagePart
from ikusi.core.types import ImageRef, Record, user
from ikusi.data.images import decode
from ikusi.model.checkpoint import Checkpoint, load_checkpoint
from ikusi.model.generate import continue_prompts
from ikusi.model.vlm import tower_features
from ikusi.study.parts import MODEL

log = logging.getLogger(__name__)

_ASKED = "asked"
_HUB_ID = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")


class Model:
    """A checkpoint that one can talk to.

    `artifact` is the store's that it came from, or None for any other folder or a hub id.
    """

    def __init__(self, checkpoint: Checkpoint, artifact: Artifact | None = None) -> None:
        self.checkpoint = checkpoint
        self.artifact = artifact

    @property
    def sees(self) -> bool:
        """Whether it takes pictures."""
        return self.checkpoint.image_processor is not None

    def answer(
        self, picture: Path | str | Image.Image | None, question: str, *, max_new_tokens: int = 64
    ) -> str:
        """Return the model's greedy answer.

        Args:
            picture: a file or a Pillow image; None asks without one.
            question: in any language that the model learned.
            max_new_tokens: the answer is cut there.

        Raises:
            DataError: the picture is missing or broken, the model does not see, or nothing is
                asked.
        """
        if not question.strip():
            raise DataError('the question is empty. Ask something, such as "Zer da hau?".')
        checkpoint = self.checkpoint
        features = None
        images: tuple[ImageRef, ...] = ()
        parts: tuple[str | ImagePart, ...] = (question,)
        if picture is not None:
            if not self.sees:
                raise DataError("this model is text-only: ask it without a picture.")
            features = self._encode(open_picture(picture))
            images, parts = (ImageRef(sha256=_ASKED),), (ImagePart(0), question)
        record = Record("asked", "asked", (user(*parts),), "", "ask", "ask", images=images)
        tokenizer = checkpoint.tokenizer
        renderer = ChatRenderer(tokenizer, checkpoint.image_token_id, checkpoint.tokens_per_image)
        prompt = renderer.render_prompt(record)
        batch = collate([prompt], features, cast(int, tokenizer.pad_token_id), pad_left=True)
        said = continue_prompts(
            checkpoint.model,
            batch.input_ids,
            batch.attention_mask,
            batch.features,
            end_token_id=renderer.end_token_id,
            max_new_tokens=max_new_tokens,
        )[0]
        return str(tokenizer.decode(list(said.token_ids), skip_special_tokens=True)).strip()

    @torch.inference_mode()
    def _encode(self, picture: Image.Image) -> FeatureTable:
        processor: Any = self.checkpoint.image_processor
        pixels = processor(images=[picture], return_tensors="pt")["pixel_values"]
        encoded = tower_features(cast(Any, self.checkpoint.model), pixels)
        return FeatureTable(encoded.float().numpy(), {_ASKED: 0})


def load(model: Path | str, store: Path | str | None = None) -> Model:
    """Return a model that one can talk to.

    Args:
        model: a folder, a link of `runs/`, an artifact of `store`, or a hub id.
        store: where an artifact's address, or the beginning of one, is looked up.

    Raises:
        DataError: there is no model there, or none that answers in words.
        CorruptArtifact: it is not what was written to the store.
    """
    artifact = _artifact(Path(model), store)
    if artifact is not None:
        if not _answers(artifact.path / MODEL):
            raise DataError(
                f"{model}: is no model that answers in words, but of kind {artifact.kind!r}. "
                f"Have a look at it: ikusi show {artifact.address}"
            )
        return Model(load_checkpoint(artifact.path / MODEL), artifact)
    folder = Path(model)
    if folder.is_dir():
        if not _answers(folder):
            raise DataError(f"{model}: no model is in this folder.{_links(folder)}")
    elif not _HUB_ID.fullmatch(str(model)) or (folder.parent != Path() and folder.parent.is_dir()):
        raise DataError(f"{model}: there is no such model.{_links(folder.parent, folder.name)}")
    else:
        log.info("%s: no folder or artifact of this name here; asking the hub", model)
    return Model(load_checkpoint(model))


def _artifact(path: Path, store: Path | str | None) -> Artifact | None:
    """Return the artifact that `path` is, links to, or names in `store`, its payload checked."""
    folder = path.parent if path.name == MODEL else path
    target = read_link(folder) or folder
    if (target / MANIFEST).is_file():
        return Store(target.parent.parent).resolve(target)
    if path.exists() or store is None or not Path(store).is_dir():
        return None
    try:
        found = Store(store).locate(path)
    except CorruptArtifact:
        raise
    except StoreError:  # then it may be a hub id
        return None
    return Store(store).resolve(found.path)


def _answers(folder: Path) -> bool:
    return all((folder / name).is_file() for name in ("config.json", "tokenizer_config.json"))


def _links(folder: Path, name: str = "") -> str:
    """Return a sentence about the links in `folder`, of which `name` may be a slip of the pen."""
    names = [path.name for path in folder.glob("*") if read_link(path) is not None]
    if not names:
        return " Give a folder, a link under runs/, an artifact's address, or a hub id."
    return f" {suggest(name, names)}" if name else f" Choose one in it: {', '.join(sorted(names))}."


def open_picture(picture: Path | str | Image.Image) -> Image.Image:
    """Return a picture as RGB.

    Raises:
        DataError: there is none, or it is broken.
    """
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    try:
        return decode(Path(picture).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{picture}: there is no such picture.") from None
    except OSError as error:
        raise DataError(f"{picture}: cannot be read ({error.strerror}).") from None
    except DataError as error:
        raise DataError(f"{picture}: is a broken picture, or none: {error}.") from None
