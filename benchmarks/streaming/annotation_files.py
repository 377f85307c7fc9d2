"""Annotation files, field by field: whatever is wrong is refused with file, item and field."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.streaming.errors import AnnotationInvalid


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of an annotation file. item: its place in the file, e.g. `item 3` counted from 1.

    Every method raises AnnotationInvalid where the field is missing or not as expected.
    """

    file: Path
    item: str
    fields: Mapping[str, object]

    def text(self, field: str) -> str:
        """A text that is not empty."""
        value = self.fields.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(field, "a text")
        return value

    def optional_text(self, field: str) -> str | None:
        """A text, or None where the field is missing or null."""
        return None if self.fields.get(field) is None else self.text(field)

    def texts(self, field: str, least: int, most: int) -> list[str]:
        """A list of texts."""
        value = self.fields.get(field)
        is_list = isinstance(value, list) and all(isinstance(one, str) for one in value)
        if not isinstance(value, list) or not is_list or not least <= len(value) <= most:
            raise self.refuse(field, f"{least} texts" if least == most else f"{least} to {most} texts")
        return value

    def seconds(self, field: str) -> float:
        """A number of seconds, at least 0."""
        value = self.fields.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
            raise self.refuse(field, "seconds, at least 0")
        return float(value)

    def integer(self, field: str, limit: int | None = None) -> int:
        """An integer of at least 0, and below `limit` if there is one."""
        value = self.fields.get(field)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0 or (limit is not None and value >= limit):
            raise self.refuse(field, "an integer, at least 0" + (f", below {limit}" if limit is not None else ""))
        return value

    def entries(self, field: str) -> list[Entry]:
        """A list of objects that is not empty."""
        value = self.fields.get(field)
        if not isinstance(value, list) or not value or not all(isinstance(one, dict) for one in value):
            raise self.refuse(field, "a list of objects")
        return [Entry(self.file, f"{self.item}, {field} {number}", one) for number, one in enumerate(value, 1)]

    def origin(self, field: str) -> str:
        """The field's place, for a message."""
        return f"{self.file}: {self.item}: {field}"

    def refuse(self, field: str, expected: str) -> AnnotationInvalid:
        """The error of a field that is not as expected."""
        if field not in self.fields:
            return AnnotationInvalid(f"{self.origin(field)} is missing (expected {expected})")
        return AnnotationInvalid(f"{self.origin(field)} is {reprlib.repr(self.fields[field])} (expected {expected})")


def read_text(file: Path) -> str:
    """The text of an annotation file. Raises AnnotationInvalid."""
    try:
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise AnnotationInvalid(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AnnotationInvalid(f"{file}: not UTF-8 at byte {error.start}") from error


def read_json(file: Path) -> list[Entry]:
    """The objects of a JSON file that is one list. Raises AnnotationInvalid."""
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise AnnotationInvalid(f"{file}: line {error.lineno}: not JSON: {error.msg}") from error
    if not isinstance(content, list) or not content:
        raise AnnotationInvalid(f"{file}: expected a list of objects")
    for number, one in enumerate(content, 1):
        if not isinstance(one, dict):
            raise AnnotationInvalid(f"{file}: item {number} is {reprlib.repr(one)} (expected an object)")
    return [Entry(file, f"item {number}", one) for number, one in enumerate(content, 1)]
