"""Prints docs/configuration.md: every key with its default, its range and the meaning that its class documents.

Run as `python -m actors.config.reference`. A class documents each of its keys in one docstring line, `key: meaning`, in
the order of its fields, and may state ranges of numbers in RANGES.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import sys
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from actors.config.camera_entries import KEYS
from actors.config.schema import HermesConfig

_KEY_LINE = re.compile(r"([a-z_0-9]+): (.+)")
_RAISES = re.compile(r" Raises [^.]*\.")  # of interest to programmers only

_INTRODUCTION = """# Configuration

<!-- Generated from the configuration classes by `make docs`. Change their docstrings. -->

One YAML file holds the configuration: `hermes serve --config FILE`. Every key has a default that suits a laptop, so an
empty file is a valid configuration. An unknown key is an error that names its line. `${NAME}` in a value is replaced by
the environment variable NAME; `hermes doctor --config FILE` checks a file on the machine that it is for.
"""


class Undocumented(Exception):
    """The docstring of a configuration class does not document exactly its keys; the message names both."""


def main() -> None:
    """Prints the page."""
    sys.stdout.write(page())


def page() -> str:
    """The page as Markdown. Raises Undocumented."""
    return "\n".join((_INTRODUCTION, *_section("", HermesConfig))).rstrip() + "\n"


def _section(name: str, kind: type[Any]) -> Iterator[str]:
    """The section of one class, then those of the classes in it, depth first."""
    introduction, meanings = documented(kind)
    hints = typing.get_type_hints(kind)
    yield from (f"## `{name}`" if name else "## Top level", "", introduction, "")
    yield from ("| key | default | range | meaning |", "|---|---|---|---|")
    for field in dataclasses.fields(kind):
        section = f"{name}.{field.name}" if name else field.name
        default, values = _default(field, section), _values(kind, field.name, hints[field.name])
        yield f"| `{field.name}` | {default} | {values} | {_escaped(meanings[field.name])} |"
    yield from _credentials(name)
    yield ""
    for field in dataclasses.fields(kind):
        part = _part(hints[field.name])
        if part is not None:
            yield from _section(f"{name}.{field.name}" if name else field.name, part)


def documented(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """The introduction of a configuration class and the meaning of each of its keys. Raises Undocumented."""
    introduction, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n\n")
    meanings: dict[str, str] = {}
    for line in rest.splitlines():
        match = _KEY_LINE.fullmatch(line)
        if match:
            meanings[match[1]] = match[2]
        elif line.startswith(" ") and meanings:
            meanings[next(reversed(meanings))] += f" {line.strip()}"
        elif line.strip():
            raise Undocumented(f"{kind.__name__}: docstring line {line!r} is not 'key: meaning'")
    names = [field.name for field in dataclasses.fields(kind)]
    if list(meanings) != names:
        raise Undocumented(f"{kind.__name__} documents {', '.join(meanings)}; its keys are {', '.join(names)}")
    return _RAISES.sub("", " ".join(introduction.split())), meanings


def _credentials(name: str) -> Iterator[str]:
    """The keys that an entry of a camera may have beside those of its class."""
    if name == "cameras":
        for key, meaning in KEYS.items():
            yield f"| `{key}` | not set | | {meaning} |"


def _default(field: dataclasses.Field[Any], section: str) -> str:
    if field.default_factory is dict:
        return "`{}`"
    if field.default_factory is not dataclasses.MISSING:
        return f"see [{section}](#{section.replace('.', '')})"
    if field.default is dataclasses.MISSING:
        return "required"
    return f"`{_as_yaml(field.default)}`"


def _as_yaml(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case tuple():
            return f"[{', '.join(_as_yaml(one) for one in value)}]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def _values(kind: type[Any], name: str, hint: Any) -> str:
    ranges: Mapping[str, tuple[float, float]] = getattr(kind, "RANGES", {})
    if name in ranges:
        low, high = ranges[name]
        return f"at least {low:,}" if high == math.inf else f"{low:,} to {high:,}"
    if isinstance(hint, type) and issubclass(hint, Enum):
        return ", ".join(f"`{one.value}`" for one in hint)
    return "`true`, `false`" if hint is bool else ""


def _part(hint: Any) -> type[Any] | None:
    """The configuration class in a key's type: the type itself, or that of a list's entries."""
    inner = hint if isinstance(hint, type) else (*typing.get_args(hint), None)[0]
    return inner if isinstance(inner, type) and dataclasses.is_dataclass(inner) else None


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    main()
