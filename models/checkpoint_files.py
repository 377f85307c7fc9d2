"""The JSON files of a checkpoint. A key is read, has no effect here, or is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelInvalid


@dataclass(frozen=True, slots=True)
class JsonFile:
    """The content of one file. name: of the file, as messages show it."""

    name: str
    content: Mapping[str, Any]

    def refuse(self, key: str, reason: str) -> ModelInvalid:
        """The error that names file, key, value and reason."""
        value = json.dumps(self.content.get(key))
        return ModelInvalid(f"{self.name}: {key} is {value[:80]}: {reason}")

    def require(self, fixed: Mapping[str, Collection[Any]], allowed: Collection[str], supported: str) -> None:
        """Returns if each key is in `allowed`, null, or in `fixed` with one of these values. Raises ModelInvalid.

        supported: what is done, for the message. Keys that begin with an underscore have no effect.
        """
        for key, value in self.content.items():
            if value is None or key in allowed or key.startswith("_") or value in fixed.get(key, ()):
                continue
            expected = " or ".join(json.dumps(one) for one in fixed.get(key, ()))
            raise self.refuse(key, f"expected {expected}" if expected else f"not supported ({supported})")


class CheckpointFiles:
    """The files beside the weights of one checkpoint, in a folder."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def read(self, name: str) -> JsonFile | None:
        """The file of that name, None if the checkpoint has none. Raises ModelInvalid if it holds no JSON object."""
        path = self.folder / name
        if not path.is_file():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelInvalid(f"{path}: not JSON: {error}") from error
        if not isinstance(content, dict):
            raise ModelInvalid(f"{path}: expected a JSON object, found a {type(content).__name__}")
        return JsonFile(str(path), content)
