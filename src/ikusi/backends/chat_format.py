"""What goes to a chat server and what comes back, as OpenAI's API has it.

Place: under [endpoint]. Contract: whatever a server sends becomes an `Answer` or a
`TransportFault`.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from ikusi.backends.base import (
    Answer,
    BackendError,
    Finish,
    Request,
    RequestRefused,
    TransportFault,
)
from ikusi.core.types import Text, Turn

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "png",
    b"\xff\xd8\xff": "jpeg",
    b"GIF8": "gif",
    b"BM": "bmp",
}


def to_message(turn: Turn, images: tuple[bytes, ...]) -> dict[str, Any]:
    """Return a turn as a message, its pictures as data URIs.

    Raises:
        RequestRefused: a picture is missing, or of a format that no server reads.
    """
    if all(isinstance(part, Text) for part in turn.parts):
        return {"role": turn.role, "content": turn.text}
    parts: list[dict[str, Any]] = []
    for part in turn.parts:
        if isinstance(part, Text):
            parts.append({"type": "text", "text": part.text})
        elif not 0 <= part.index < len(images):
            raise RequestRefused(
                "image-missing", f"picture {part.index} of a request that has {len(images)}."
            )
        else:
            uri = _data_uri(images[part.index])
            parts.append({"type": "image_url", "image_url": {"url": uri}})
    return {"role": turn.role, "content": parts}


def _data_uri(image: bytes) -> str:
    kind = next((kind for start, kind in _SIGNATURES.items() if image.startswith(start)), None)
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        kind = "webp"
    if kind is None:
        raise RequestRefused("image-format", "a picture that is no PNG, JPEG, GIF, BMP or WebP.")
    return f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}"


def parse_completion(data: Any, request: Request) -> Answer:
    """Return the answer that a chat completion holds.

    Args:
        data: what the server sent, as plain data.
        request: what was asked.

    Raises:
        TransportFault: it is no completion, or has no text.
    """
    if not isinstance(data, Mapping):
        raise TransportFault("wrong-type", detail=f"a {type(data).__name__} and no object")
    if data.get("error"):
        raise TransportFault("error-in-body", detail=what_it_says(json.dumps(data).encode()))
    choices = data.get("choices")
    if not isinstance(choices, list):
        raise TransportFault("wrong-type", detail="no list of choices")
    if not choices:
        raise TransportFault("empty-choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise TransportFault("wrong-type", detail="a choice without a message")
    finish: Finish = "other"
    if choice.get("finish_reason") in ("stop", "length"):
        finish = choice["finish_reason"]
    text = _text_of(message.get("content"))
    # A model that thinks until its tokens are used up would do so again: that is its answer.
    thought = any(message.get(key) for key in ("reasoning_content", "reasoning"))
    if not text.strip() and not (thought and finish == "length"):
        reason = "no-content" if message.get("content") is None else "empty-content"
        raise TransportFault(reason, detail=f"finish_reason {choice.get('finish_reason')!r}"[:80])
    usage = data.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    return Answer(
        request.id,
        text,
        finish,
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
    )


def read_prompt_logprobs(data: Any) -> list[float | None]:
    """Return the likelihood of every token of the prompt; the first one has none.

    Raises:
        BackendError: the server gives none.
    """
    tokens = data.get("prompt_logprobs") if isinstance(data, Mapping) else None
    if not isinstance(tokens, list):
        raise BackendError(
            "The server gives no `prompt_logprobs`, so it cannot score texts. Set `score: false`."
        )
    found: list[float | None] = []
    for token in tokens:
        # Token -> its likelihood; asked for 0 others, the server names the prompt's own alone.
        told = next(iter(token.values()), None) if isinstance(token, Mapping) else None
        value = told.get("logprob") if isinstance(told, Mapping) else None
        found.append(float(value) if isinstance(value, int | float) else None)
    return found


def _text_of(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if all(isinstance(text, str) for text in texts):
            return "".join(map(str, texts))
    raise TransportFault("wrong-type", detail=f"a content that is a {type(content).__name__}")


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def read_json(body: bytes) -> Any:
    """Return what a body says as JSON.

    Raises:
        TransportFault: it is none.
    """
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        start = body[:100].lstrip()
        reason = "html" if start.startswith(b"<") else "broken-json"
        raise TransportFault(reason, detail=repr(start[:60].decode("utf-8", "replace"))) from None


def what_it_says(body: bytes) -> str:
    """Return what an error's body says, on one line."""
    text = body.decode("utf-8", "replace")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, Mapping):
        error = data.get("error", data)
        for key in ("message", "detail", "error"):
            if isinstance(error, Mapping) and isinstance(error.get(key), str):
                text = error[key]
        if isinstance(error, str):
            text = error
    line = " ".join(text.split()).rstrip(".")
    return line[:200] or "no word why"
