"""Describes an invalid configuration in one line that names key and value, but never a secret."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pydantic import ValidationError

from actors.config.camera_entries import KEYS
from pipeline.cameras import CAMERA_NAME_PATTERN, CameraSpec

Key = tuple[str | int, ...]

_MAY_HOLD_SECRETS = frozenset({"url", "store", *KEYS})
# What stands in place of a section or a list may be a URL or a token, so its value is not shown.
_NEEDED = {
    "dataclass_type": "it must be a section: keys with values",
    "dict_type": "it must be a section: keys with values",
    "tuple_type": "it must be a list",
}


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """An invalid key, from the outermost section inwards, and why it is invalid."""

    key: Key
    text: str


def first_of(error: ValidationError, root: type[Any]) -> ConfigProblem:
    """The first problem that pydantic found in the values of `root`, a dataclass of dataclasses."""
    detail = error.errors(include_url=False)[0]
    # pydantic also puts the types that it tried for a value into `loc`; those are no keys.
    key = tuple(part for part in detail["loc"] if isinstance(part, int) or part.isidentifier())
    if detail["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        written = detail["loc"][-1]  # a key of the file, whatever its form, e.g. tokens-per-layer
        key = key if key[-1:] == (written,) else (*key, written)
        return ConfigProblem(key, f"unknown key ({_suggestion(key, root)})")
    if detail["type"] == "missing":
        return ConfigProblem(key, "missing")
    if detail["type"] in _NEEDED:
        return ConfigProblem(key, _NEEDED[detail["type"]])
    text, value = detail["msg"].removeprefix("Value error, "), detail["input"]
    if not isinstance(value, str | int | float | bool) or _MAY_HOLD_SECRETS & set(key):
        return ConfigProblem(key, text)
    return ConfigProblem(key, f"{text} (it is {value!r})")


def shown(key: Key, values: object) -> str:
    """A key as a person reads it, e.g. router.port: a camera by its name, by its index where it has no valid one."""
    match key:
        case ("cameras", int(index), *rest) if name := _camera_name(values, index):
            return ".".join(map(str, (f"cameras[{name}]", *rest)))
    return ".".join(map(str, key))


def _camera_name(values: object, index: int) -> str | None:
    match values:
        case {"cameras": [*entries]} if index < len(entries):
            entry = entries[index]
            name = entry.get("name") if isinstance(entry, dict) else None
            return name if isinstance(name, str) and CAMERA_NAME_PATTERN.fullmatch(name) else None
    return None


def _suggestion(key: Key, root: type[Any]) -> str:
    """The most similar key of the same section, else all keys of it."""
    section: Any = root
    for part in key[:-1]:
        section = CameraSpec if isinstance(part, int) else _type_of(section, part)
    names = [field.name for field in fields(section)] if is_dataclass(section) else []
    names += [*KEYS] if section is CameraSpec else []
    close = difflib.get_close_matches(str(key[-1]), names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected one of: {', '.join(names)}"


def _type_of(section: Any, name: str) -> Any:
    """The class of a key's value, known from the factory of its default."""
    if not is_dataclass(section):
        return None
    return next((field.default_factory for field in fields(section) if field.name == name), None)
