"""What is wrong with a configuration, in one line that names key and value but never a secret."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from pydantic import ValidationError

from actors.config.camera_entries import KEYS
from pipeline.cameras import CameraSpec

Key = tuple[str | int, ...]

_MAY_HOLD_SECRETS = frozenset({"url", "store", *KEYS})


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """A key, from the outermost section inwards, and what is wrong with it."""

    key: Key
    text: str


def first_of(error: ValidationError, root: type[Any]) -> ConfigProblem:
    """The first thing that pydantic found wrong with the values of `root`, a dataclass of dataclasses."""
    found = error.errors(include_url=False)[0]
    # pydantic adds the types that a value was tried as, which are no keys.
    key = tuple(part for part in found["loc"] if isinstance(part, int) or part.isidentifier())
    if found["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return ConfigProblem(key, f"unknown key ({_suggestion(key, root)})")
    if found["type"] == "missing":
        return ConfigProblem(key, "missing")
    text, value = found["msg"].removeprefix("Value error, "), found["input"]
    if not isinstance(value, str | int | float | bool) or _MAY_HOLD_SECRETS & set(key):
        return ConfigProblem(key, text)
    return ConfigProblem(key, f"{text} (it is {value!r})")


def _suggestion(key: Key, root: type[Any]) -> str:
    """The key of that section that looks most like it, else all of them."""
    section: Any = root
    for part in key[:-1]:
        section = CameraSpec if isinstance(part, int) else _type_of(section, part)
    known = [field.name for field in fields(section)] if is_dataclass(section) else []
    known += [*KEYS] if section is CameraSpec else []
    close = difflib.get_close_matches(str(key[-1]), known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"


def _type_of(section: Any, name: str) -> Any:
    """The class of a part of the configuration: what its default is made by."""
    if not is_dataclass(section):
        return None
    return next((field.default_factory for field in fields(section) if field.name == name), None)
