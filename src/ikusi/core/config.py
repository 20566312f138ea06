"""Configuration: YAML 1.2 files, dotted overrides, and frozen pydantic models that reject typos.

Place: under everything. Contract: what is not understood is refused with a suggestion, never
ignored; the resolved configuration is plain data (`to_plain`) and is stored with every artifact.

YAML 1.2 matters: under YAML 1.1 the language code `no` is a boolean.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from ikusi.core.errors import ConfigError, suggest


class Settings(BaseModel):
    """Base of every configuration: frozen, and an unknown key is answered with a known one."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    foreign_keys: ClassVar[Mapping[str, str]] = {}
    """Names that other tools use for a setting of ours: theirs -> ours."""

    @classmethod
    def parse(cls, data: Any, where: str) -> Self:
        """Validate plain `data` and return the settings.

        Args:
            data: what a YAML file held.
            where: file or key that the data came from, for the message.

        Raises:
            ConfigError: says in one line which key is wrong, where, and what would be right.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ConfigError(_first_complaint(cls, error, where)) from None


def _first_complaint(model: type[BaseModel], error: ValidationError, where: str) -> str:
    # An unknown key is often the cause of the other complaints, so it is named first.
    details = sorted(error.errors(), key=lambda detail: detail["type"] != "extra_forbidden")
    first = details[0]
    path = ".".join(str(part) for part in first["loc"])
    more = f" ({len(details) - 1} more after this one)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        wrong = str(first["loc"][-1])
        owner = _model_at(model, first["loc"][:-1])
        if wrong in getattr(owner, "foreign_keys", {}):
            hint = f"Here it is called {owner.foreign_keys[wrong]!r}."  # type: ignore[attr-defined]  # guarded above
        else:
            hint = suggest(wrong, owner.model_fields)
        return f"{where}: unknown key {path!r}. {hint}{more}"
    if first["type"] == "missing":
        return f"{where}: {path!r} is missing. Add it.{more}"
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    shown = f" (got {given!r})" if isinstance(given, str | int | float) else ""
    return f"{where}: {path or 'the settings'}: {message}{shown[:80]}{more}"


def _model_at(model: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel]:
    """Follow `location` through nested models, as far as the annotations tell."""
    candidates: list[type[BaseModel]] = []
    for part in location:
        field = model.model_fields.get(str(part))
        if field:
            candidates = _models_in(field.annotation)
        else:  # the tag of a union, which says which of its models it is
            candidates = [one for one in candidates if part in _tags(one)] or candidates
        model = candidates[0] if candidates else model
    return model


def _tags(model: type[BaseModel]) -> set[Any]:
    return {
        field.default for field in model.model_fields.values() if isinstance(field.default, str)
    }


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]


def to_plain(settings: BaseModel) -> dict[str, Any]:
    """Return the settings as JSON-like data, defaults included."""
    return settings.model_dump(mode="json")


def read_yaml(path: Path) -> Any:
    """Return what a YAML 1.2 file holds, as plain Python data.

    Raises:
        ConfigError: the file is absent, unreadable or not YAML; names the file and the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except UnicodeDecodeError as error:
        message = f"{path}: is not UTF-8 text ({error.reason}). Save it as UTF-8."
        raise ConfigError(message) from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """Return what YAML 1.2 `text` holds; `where` names it in the error.

    Raises:
        ConfigError: the text is not YAML; names the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    try:
        return yaml.load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        problem = (error.problem or "not YAML").strip()
        raise ConfigError(f"{where}, line {line}: {problem}.") from None
    except YAMLError as error:
        raise ConfigError(f"{where}: not YAML: {str(error).splitlines()[0]}.") from None


def dump_yaml(data: Any) -> str:
    """Return plain `data` as YAML 1.2 text, keys in their order."""
    import io

    from ruamel.yaml import YAML

    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # keep our order
    yaml.allow_unicode = True
    yaml.width = 110
    stream = io.StringIO()
    yaml.dump(data, stream)
    return stream.getvalue()


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it: mappings merge, everything else is replaced."""
    result = dict(copy.deepcopy(base))
    for key, value in changes.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merge(old, value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def set_dotted(data: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return `data` with the nested `key` ("a.b.c") set to `value`; mappings merge."""
    head, _, rest = key.partition(".")
    inner = data.get(head)
    if rest:
        value = set_dotted(inner if isinstance(inner, Mapping) else {}, rest, value)
        return {**data, head: value}
    return merge(data, {head: value})


def parse_override(text: str) -> tuple[str, Any]:
    """Split a command line's `key=value`; the value is read as YAML.

    Raises:
        ConfigError: there is no `=` or no key.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"{text!r}: an override is written key=value, such as target=cy.")
    return key.strip(), parse_yaml(value, f"override {key}") if value.strip() else ""


def fill(data: Any, values: Mapping[str, str]) -> Any:
    """Return plain `data` with `{target}`-like marks in its strings replaced from `values`.

    Marks that `values` does not name (a wording's `{name}`) are left alone.
    """
    if isinstance(data, str):
        for name, value in values.items():
            data = data.replace("{" + name + "}", value)
        return data
    if isinstance(data, Mapping):
        return {key: fill(value, values) for key, value in data.items()}
    if isinstance(data, list):
        return [fill(value, values) for value in data]
    return data
