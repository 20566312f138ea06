"""A cell that means a conversation -> turns with typed parts; all that is wrong with it is told.

Read are {role, content} (ms-swift, Magpie), {from, value} (LLaVA, ShareGPT), {user, assistant}
(FineVision), and texts by turns (PixMo).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ikusi.core.types import Image, Part, Role, Text, Turn
from ikusi.data.sources.source import Fault
from ikusi.data.sources.tables import describe

MARK = "<image>"
"""Stands for a picture in the texts of LLaVA, ShareGPT and ms-swift."""
ROLES: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
}

Said = tuple[Role, str]


def read_conversation(cell: Any, faults: list[Fault]) -> list[Said]:
    """Return role and text of each turn; what cannot be read is added to `faults`."""
    if not isinstance(cell, list | tuple):
        faults.append(Fault("turns-type", f"{describe(cell)} is no list of turns"))
        return []
    said: list[Said] = []
    for number, item in enumerate(cell, 1):
        if isinstance(item, str):
            said.append(("assistant" if number % 2 == 0 else "user", item))
        elif not isinstance(item, Mapping):
            faults.append(Fault("turn-type", f"turn {number} is {describe(item)}"))
        elif "user" in item and "assistant" in item:
            _add(said, "user", item["user"], number, faults)
            _add(said, "assistant", item["assistant"], number, faults)
        else:
            role = item["from"] if "from" in item else item.get("role")
            known = ROLES.get(role.lower()) if isinstance(role, str) else None
            if known is None:
                told = f"turn {number} has the role {str(role)[:40]!r}; known: {', '.join(ROLES)}"
                faults.append(Fault("role-unknown", told))
                continue
            text = item["value"] if "value" in item else item.get("content")
            _add(said, known, text, number, faults)
    return said


def _add(said: list[Said], role: Role, text: Any, number: int, faults: list[Fault]) -> None:
    if isinstance(text, str):
        said.append((role, text))
    elif text is None:
        faults.append(Fault("turn-empty", f"turn {number} ({role}) has no text"))
    else:
        faults.append(Fault("turn-type", f"turn {number}: its text is {describe(text)}"))


def make_turns(
    said: Sequence[Said], num_images: int, marks: bool, faults: list[Fault]
) -> tuple[Turn, ...]:
    """Return the turns with their pictures in place.

    Args:
        said: role and text of each turn.
        num_images: pictures of the record.
        marks: whether `<image>` in a user's text stands for a picture; else they stand before the
            first user's text.
        faults: what is wrong is added: marks that are not as many as pictures, empty turns.
    """
    turns: list[Turn] = []
    used = 0
    for number, (role, text) in enumerate(said, 1):
        parts: list[Part] = []
        if marks and role != "user" and MARK in text:
            faults.append(Fault("image-mark-misplaced", f"turn {number} ({role}) has {MARK}"))
        if marks and role == "user" and MARK in text:
            pieces = text.split(MARK)
            for place, piece in enumerate(pieces):
                if place:
                    parts.append(Image(used))
                    used += 1
                    piece = piece.removeprefix("\n")  # separates a mark from the text in LLaVA
                if place == len(pieces) - 2 and not pieces[-1].strip():
                    piece = piece.removesuffix("\n")
                if piece.strip():
                    parts.append(Text(piece))
        else:
            if not marks and role == "user" and not used:
                parts += [Image(index) for index in range(num_images)]
                used = num_images
            if text.strip():
                parts.append(Text(text))
        if not parts:
            faults.append(Fault("turn-empty", f"turn {number} ({role}) has no text"))
        turns.append(Turn(role, tuple(parts)))
    if used != num_images:
        told = f"{used} {MARK} and {num_images} pictures" if marks else "no user's turn for them"
        faults.append(Fault("image-marks", told))
    return tuple(turns)


def check_order(said: Sequence[Said], faults: list[Fault]) -> None:
    """Add a fault unless, after the system's turn if there is one, user and assistant alternate.

    The last word has to be the assistant's.
    """
    roles = [role for role, _ in said]
    if not roles:
        if not faults:
            faults.append(Fault("turns-none", "there is no turn"))
        return
    rest = roles[1:] if roles[0] == "system" else roles
    for place, role in enumerate(rest, 1 + len(roles) - len(rest)):
        wanted = "user" if (place - (len(roles) - len(rest))) % 2 else "assistant"
        if role != wanted:
            told = f"turn {place} is the {role}'s instead of the {wanted}'s"
            faults.append(Fault("roles-out-of-order", told))
            return
    if not rest or rest[-1] != "assistant":
        faults.append(Fault("answer-missing", "the last turn is not the assistant's"))
