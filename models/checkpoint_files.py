"""The JSON files of a checkpoint, from a folder or by hub id. A key is read, has no effect here, or is refused."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

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

    def require(self, fixed: Mapping[str, Collection[Any]], allowed: Collection[str], can_do: str) -> None:
        """Returns if each key is in `allowed`, null, or in `fixed` with one of these values. Raises ModelInvalid.

        can_do: what a key that is refused would have to be for. Keys that begin with an underscore have no effect.
        """
        for key, value in self.content.items():
            if value is None or key in allowed or key.startswith("_") or value in fixed.get(key, ()):
                continue
            expected = " or ".join(json.dumps(one) for one in fixed.get(key, ()))
            raise self.refuse(key, f"expected {expected}" if expected else f"not supported ({can_do})")


class CheckpointFiles:
    """The files beside the weights of one checkpoint. where: a local folder, or a hub id with its revision."""

    def __init__(self, where: str, revision: str | None = None) -> None:
        self._where = where
        self._revision = revision

    def read(self, name: str) -> JsonFile | None:
        """The file of that name, None if the checkpoint has none.

        Raises ModelInvalid if it holds no JSON object or cannot be looked up. May block for a download.
        """
        path = self._path(name)
        if path is None:
            return None
        shown = str(path) if Path(self._where).is_dir() else f"{self._where}/{name}"
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ModelInvalid(f"{shown}: not JSON: {error}") from error
        if not isinstance(content, dict):
            raise ModelInvalid(f"{shown}: expected a JSON object, found a {type(content).__name__}")
        return JsonFile(shown, content)

    def _path(self, name: str) -> Path | None:
        folder = Path(self._where)
        if folder.is_dir():
            return folder / name if (folder / name).is_file() else None
        try:
            return Path(hf_hub_download(self._where, name, revision=self._revision))
        except LocalEntryNotFoundError as error:
            if constants.HF_HUB_OFFLINE:  # the cache is all there is
                return None
            raise ModelInvalid(f"{self._where}/{name}: cannot be looked up, and is not in the cache") from error
        except EntryNotFoundError:
            return None
        except (OSError, HfHubHTTPError, ValueError) as error:
            raise ModelInvalid(f"{self._where}/{name}: {str(error).strip().splitlines()[0]}") from error
