"""What chat backends are told, and the examples that they are shown; the words are in prompts.yaml.

Contract: nothing here knows a language. Names, guidelines and examples come from the packs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from ikusi.core.artifact import hash_file
from ikusi.core.config import read_yaml
from ikusi.core.types import Image, Text, Turn, assistant, user
from ikusi.data.translate.faults import Fault
from ikusi.data.translate.units import write_tagged
from ikusi.languages.pack import Pack

Prompt = Literal["translate", "strict", "describe", "describe_strict"]

_FILE = Path(__file__).with_name("prompts.yaml")
_MAX_FAULT = 300  # characters: the reason for a refusal, not the refused text


@cache
def _prompts() -> dict[str, str]:
    found: dict[str, str] = read_yaml(_FILE)
    return found


def prompts_hash() -> str:
    """Return the hash of the prompts: what is translated with others is another artifact."""
    return hash_file(_FILE)


def language_name(pack: Pack) -> str:
    """Return the English name of a language with its CLDR id, such as `Basque (eu)`."""
    return f"{pack.names.en or pack.names.own} ({pack.ids.cldr})"


def opening(
    prompt: Prompt, source: Pack, target: Pack, fault: Fault | None = None
) -> tuple[Turn, ...]:
    """Return the system prompt and the examples, which do not depend on what is translated."""
    system = Turn("system", (Text(system_prompt(prompt, source, target, fault)),))
    # The stricter ones are another prompt: they go without examples.
    shown = examples(source, target) if prompt in ("translate", "describe") else []
    return (system, *shown)


def system_prompt(prompt: Prompt, source: Pack, target: Pack, fault: Fault | None = None) -> str:
    """Return the system prompt for a pair of languages."""
    guidelines = "".join(f"- {line}\n" for line in target.translation.guidelines)
    text = _prompts()[prompt]
    for mark, value in (
        ("source", language_name(source)),
        ("target", language_name(target)),
        ("guidelines", guidelines.rstrip()),
        ("fault", str(fault or "")[:_MAX_FAULT]),
    ):
        text = text.replace("{" + mark + "}", value)
    return text.strip()


def examples(source: Pack, target: Pack) -> list[Turn]:
    """Return the examples that both packs have, as a conversation."""
    turns: list[Turn] = []
    for name, text in target.translation.examples.items():
        if name in source.translation.examples:
            turns.append(user(write_tagged([("user1", source.translation.examples[name])])))
            turns.append(assistant(write_tagged([("user1", text)])))
    return turns


def conversation(
    begun: Sequence[Turn], asked: Sequence[str], answered: Sequence[str], images: int = 0
) -> tuple[Turn, ...]:
    """Return the turns of a request.

    Args:
        begun: see `opening`.
        asked: the tagged texts so far, of which the last one is to be translated now.
        answered: the translations of all but the last.
        images: how many pictures go with the last text.
    """
    turns = list(begun)
    for question, answer in zip(asked[:-1], answered, strict=True):
        turns += (user(question), assistant(answer))
    turns.append(user(*(Image(index) for index in range(images)), asked[-1]))
    return tuple(turns)
