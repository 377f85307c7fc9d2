"""Models by their short names, and where a name leads. Loads neither torch nor transformers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelInvalid, ModelNotFound

CHECKPOINTS = {
    "tiny": str(Path(__file__).parent / "tiny" / "checkpoint"),
    "tiny-qwen3-vl": str(Path(__file__).parent / "tiny" / "qwen3_vl_checkpoint"),
    "llava-onevision-0.5b": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "llava-onevision-7b": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "qwen2.5-vl-3b": "Qwen/Qwen2.5-VL-3B-Instruct",
    "qwen2.5-vl-7b": "Qwen/Qwen2.5-VL-7B-Instruct",
    "qwen3-vl-2b": "Qwen/Qwen3-VL-2B-Instruct",
    "qwen3-vl-4b": "Qwen/Qwen3-VL-4B-Instruct",
    "qwen3-vl-8b": "Qwen/Qwen3-VL-8B-Instruct",
}
DRAWN_STREETS = "drawn streets"  # all that the tiny models know
# A checkpoint that is not listed was trained on real footage.
_KNOWS_ONLY = {CHECKPOINTS[name]: DRAWN_STREETS for name in ("tiny", "tiny-qwen3-vl")}


def limitation(name: str) -> str | None:
    """Why the model of that name, hub id or local folder is not for real cameras; None if it is."""
    only = domain(name)
    return only and f"model {name!r} knows {only} only: about real footage its answers mean nothing (docs/models.md)"


def domain(name: str) -> str | None:
    """All that the model of that name, hub id or local folder knows; None if it is for real cameras."""
    return _KNOWS_ONLY.get(CHECKPOINTS.get(name, name))


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of a message, with the most similar of the names; empty without a similar one."""
    spelt = {other.lower(): other for other in names}
    close = difflib.get_close_matches(name.lower(), spelt, n=1)
    return f"; did you mean {spelt[close[0]]!r}?" if close else ""


@dataclass(frozen=True, slots=True)
class ModelLocation:
    """The folder or hub id of a model, and the revision that it is pinned to."""

    where: str
    revision: str | None = None


def located(name: str) -> ModelLocation:
    """Where the model of that name, hub id or local folder is. Raises ModelInvalid, ModelNotFound."""
    location = _resolved(name)
    if "/" not in location.where and not _is_folder(location.where):
        text = f"model {name!r}: no folder, and none of {', '.join(CHECKPOINTS)}; a hub id is OWNER/NAME"
        raise ModelNotFound(text + suggestion(location.where, CHECKPOINTS))
    return location


def local_folder(name: str, where: str) -> Path | None:
    """The folder of a model, None for a hub id. name: as messages show it. Raises ModelNotFound."""
    if _is_folder(where):
        return Path(where).expanduser()
    if where.startswith(("/", ".", "~")):
        raise ModelNotFound(f"model {name!r}: no such folder")
    return None


def require_known(name: str) -> None:
    """Checks that a model's name, hub id or folder can be one. Asks no hub. Raises ModelInvalid, ModelNotFound."""
    local_folder(name, located(name).where)


def _resolved(name: str) -> ModelLocation:
    if "@" not in name or _is_folder(name):
        return ModelLocation(CHECKPOINTS.get(name, name))
    where, _, revision = name.partition("@")
    where = CHECKPOINTS.get(where, where)
    if _is_folder(where):
        raise ModelInvalid(f"model {name!r}: {where} is a folder, which has no revision {revision!r}")
    return ModelLocation(name) if Path(name).is_absolute() else ModelLocation(where, revision)


def _is_folder(path: str) -> bool:
    try:
        return bool(path) and Path(path).expanduser().is_dir()
    except (OSError, RuntimeError):  # a name that is too long, a folder of another user, the home of no user
        return False
