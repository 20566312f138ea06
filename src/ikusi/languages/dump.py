"""Write a language pack as YAML that reads well, or an empty one to fill in.

Place: beside `pack.py`, for `new` and `import`. Contract: reading a written pack gives the same
pack; a skeleton becomes a pack with a name and one sentence.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from ikusi.core.errors import ConfigError
from ikusi.languages.pack import TASKS, Pack
from ikusi.languages.parts import Pools
from ikusi.languages.rules import TASK_HELP

MAX_INLINE = 8
"""Groups of up to so many words stand on one line."""


def write_pack(pack: Pack, path: Path, *, overwrite: bool = False) -> None:
    """Write a pack as YAML that reads well.

    Raises:
        ConfigError: the file exists and `overwrite` is not set, or it cannot be written.
    """
    write_text(dump_pack(pack), path, overwrite=overwrite)


def write_text(text: str, path: Path, *, overwrite: bool = False) -> None:
    """Write a pack's text, and refuse to replace a file unless told.

    Raises:
        ConfigError: the file exists and `overwrite` is not set, or it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if overwrite else "x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise ConfigError(
            f"{path}: exists already. Add --overwrite to replace it, or move it away."
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}).") from None


def dump_pack(pack: Pack) -> str:
    """Return a pack as YAML 1.2: sentences a line each in quotes, short things on one line."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString as Quoted

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            node: Any = CommentedMap({key: inline(item) for key, item in value.items()})
        elif isinstance(value, list):
            node = CommentedSeq([inline(item) for item in value])
        else:
            return value
        node.fa.set_flow_style()
        return node

    def quoted(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: quoted(item) for key, item in value.items() if item}
        return [Quoted(item) for item in value] if isinstance(value, list) else Quoted(value)

    data = pack.model_dump(mode="json", exclude_defaults=True)
    for key in ("names", "ids", "yes_no", "articles", "unwanted"):
        if key in data:
            data[key] = inline(data[key])
    if "numbers" in data:
        data["numbers"] = inline([n[0] if len(n) == 1 else n for n in data["numbers"]])
    if "terms" in data:
        data["terms"] = {
            group: inline(words) if len(words) <= MAX_INLINE else words
            for group, words in data["terms"].items()
        }
    for key in ("answer_phrases", "prompts", "translation", "scene", "caption_answer"):
        if key in data:
            data[key] = quoted(data[key])
    # one or two sentences stay a plain list, so that they are dealt to pools when more are added
    data["tasks"] = {
        task: quoted(pools["train"] if _is_short(pack.tasks[task]) else pools)
        for task, pools in data["tasks"].items()
    }
    yaml = YAML()
    yaml.width = 4096  # a sentence or a group of words is never broken
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump(data, stream)
    name = pack.names.en or pack.names.own
    return (
        f"# {name}. The names of the keys are explained in docs/languages.md.\n{stream.getvalue()}"
    )


def _is_short(pools: Pools) -> bool:
    return len(pools.train) < 3 and len(pools.each()) == len(pools.train)


def dump_skeleton(code: str, reference: Pack) -> str:
    """Return an empty pack to fill in, with the reference's words and sentences as comments."""
    word = f"the {reference.names.en or reference.names.own} is given after each #"
    lines = [
        f"# A language pack; {word}. What each key means: docs/languages.md.",
        "# Only names.own and one sentence of `what` are needed. Then: ikusi languages check "
        + code,
        f"code: {code}",
        "names:",
        "  own:                 # the language's name in the language itself",
        "  en:                  # ... and in English",
        "checked_by: unreviewed # or who read it and found it right",
        "",
        "# Sentences. {name} is never inflected: put it after a colon or in quotes.",
        "# The more, the better; they are shared out between training and evaluation.",
        "tasks:",
    ]
    for task in ("what", *(task for task in TASKS if task != "what")):
        lines.append(f"  {task}:{' ' * (20 - len(task))} # {TASK_HELP[task]}")
        lines += [f'  #  - "{text}"' for _, text in reference.tasks.get(task, Pools()).each()[:5]]
    lines += ["", "# Words, as they stand in an answer; those of a group must differ.", "terms:"]
    data = reference.model_dump(mode="json")
    for group, words in data["terms"].items():
        lines.append(f"  {group}:")
        lines += [f"    {key}:{' ' * (18 - len(key))} # {text}" for key, text in words.items()]
    yes, no = data["yes_no"]["yes"][:1], data["yes_no"]["no"][:1]
    lines += [
        "yes_no:",
        f"  yes: []              # {', '.join(yes)}; the first is written, all are understood",
        f"  no: []               # {', '.join(no)}",
        f"numbers: []            # {', '.join(forms[0] for forms in data['numbers'])}",
        "articles: []           # words to ignore in an answer",
        f"unwanted: []           # words of pornography, spam: {', '.join(data['unwanted'][:4])}",
        'answer_phrases: []     # such as "The answer is {answer}"',
        "prompts:",
        *(f"  {key}:{' ' * (20 - len(key))} # {text}" for key, text in data["prompts"].items()),
        f'scene:                 # "{data["scene"]}"',
        f'caption_answer:        # "{data["caption_answer"]}"',
    ]
    return "\n".join(lines) + "\n"
