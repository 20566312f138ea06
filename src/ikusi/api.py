"""ikusi from Python: `ikusi.load(path).answer(picture, question)`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from PIL import Image, UnidentifiedImageError

from ikusi.batch.chat import ChatRenderer
from ikusi.batch.features import encode_pictures
from ikusi.batch.loader import collate
from ikusi.core.errors import DataError
from ikusi.core.types import Image as ImagePart
from ikusi.core.types import ImageRef, Record, user
from ikusi.model.checkpoint import Checkpoint, load_checkpoint
from ikusi.model.generate import continue_prompts


class Model:
    """A checkpoint that one can talk to."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint

    def answer(
        self, picture: Path | str | Image.Image | None, question: str, *, max_new_tokens: int = 64
    ) -> str:
        """Return the model's greedy answer.

        Args:
            picture: a file or a Pillow image; None asks without one.
            question: in any language that the model learned.
            max_new_tokens: the answer is cut there.

        Raises:
            DataError: the picture is missing or broken, or the model does not see.
        """
        checkpoint = self.checkpoint
        features = None
        images: tuple[ImageRef, ...] = ()
        parts: tuple[str | ImagePart, ...] = (question,)
        if picture is not None:
            if checkpoint.image_processor is None:
                raise DataError("this model is text-only: ask it without a picture.")
            opened = _open(picture)
            features = encode_pictures(
                cast(Any, checkpoint.model),
                checkpoint.image_processor,
                ["asked"],
                lambda _: opened,
            )
            images, parts = (ImageRef(sha256="asked"),), (ImagePart(0), question)
        record = Record("asked", "asked", (user(*parts),), "", "ask", "ask", images=images)
        tokenizer = checkpoint.tokenizer
        renderer = ChatRenderer(tokenizer, checkpoint.image_token_id, checkpoint.tokens_per_image)
        prompt = renderer.render_prompt(record)
        batch = collate([prompt], features, cast(int, tokenizer.pad_token_id), pad_left=True)
        said = continue_prompts(
            checkpoint.model,
            batch,
            end_token_id=cast(int, tokenizer.eos_token_id),
            max_new_tokens=max_new_tokens,
        )[0]
        return str(tokenizer.decode(list(said.token_ids), skip_special_tokens=True)).strip()


def load(path: Path | str) -> Model:
    """Return the model in a folder, under a link of `runs/`, or under a hub id.

    Raises:
        DataError: there is no model there.
    """
    folder = Path(path)
    inner = folder / "model"  # an artifact of the store keeps its checkpoint there
    return Model(load_checkpoint(inner if inner.is_dir() else path))


def _open(picture: Path | str | Image.Image) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture.convert("RGB")
    try:
        with Image.open(picture) as opened:
            return opened.convert("RGB")
    except FileNotFoundError:
        raise DataError(f"{picture}: there is no such picture.") from None
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{picture}: not a picture that can be read ({error}).") from None
