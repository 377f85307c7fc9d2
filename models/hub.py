"""Where the files of a checkpoint are: a folder of this machine, or one that a hub id is downloaded into."""

from __future__ import annotations

import re
import threading
from concurrent.futures import Future
from pathlib import Path

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from models import catalogue, network_weights
from models.checkpoint_files import CheckpointFiles
from models.errors import ModelInvalid, ModelNotFound

_LOOK_UP_S = 3.0  # for the name, all its addresses and the answer; a hub that is not reached is not asked again
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def folder_of(name: str, where: str, revision: str | None) -> Path:
    """The folder with the files of a checkpoint. name: as messages show it; where: a folder, or a hub id.

    What the cache of the hub has at a commit is not asked for again, unless the download ended early. Without an answer
    of the hub in three seconds, what the cache has is taken. Raises ModelNotFound and ModelInvalid. Blocks while the
    files download.
    """
    folder = catalogue.local_folder(name, where)
    if folder is not None:
        return folder
    cached = _in_cache(where, revision)
    if cached and revision is not None and _COMMIT.fullmatch(revision) and _has_weights(cached):
        return cached
    if why := _unreachable(name, where, revision):
        if cached is None:
            raise ModelNotFound(_missing(name, where, revision, why))
        return cached
    disable_progress_bars()
    try:
        return Path(snapshot_download(where, revision=revision, allow_patterns=list(_FILES)))
    except (HTTPError, OSError, ValueError) as error:
        raise ModelInvalid(f"model {name!r}: download of {where}: {_first_line(error)}") from error


def _missing(name: str, where: str, revision: str | None, why: str) -> str:
    """What is missing, and in a second line how to bring it."""
    checkpoint = f"{where}@{revision}" if revision else where
    command = f"hf download {where}" + (f" --revision {revision}" if revision else "")
    return (
        f"model {name!r}: {checkpoint} is not on this machine, and {constants.ENDPOINT} does not answer ({why})\n"
        f"where there is internet run `{command}`, copy the folder here, and set `model:` to it (docs/models.md)"
    )


def _in_cache(where: str, revision: str | None) -> Path | None:
    try:
        return Path(snapshot_download(where, revision=revision, allow_patterns=list(_FILES), local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        return None


def _has_weights(folder: Path) -> bool:
    try:
        return bool(network_weights.weight_files(CheckpointFiles(folder)))
    except ModelInvalid:
        return False


def _unreachable(name: str, where: str, revision: str | None) -> str:
    """Why the hub cannot be asked; empty where it has the checkpoint. Raises ModelNotFound where it has not."""
    try:
        _ask_hub(where, revision)
    except RevisionNotFoundError as error:
        raise ModelNotFound(f"model {name!r}: {where} has no revision {revision!r}") from error
    except GatedRepoError as error:
        raise ModelNotFound(f"model {name!r}: {where} needs its owner's permission: set HF_TOKEN") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        way_out = "a machine without internet needs a folder with the model's files (docs/models.md)"
        raise ModelNotFound(f"model {name!r}: no folder, and no model of {constants.ENDPOINT}; {way_out}") from error
    except (HTTPError, OSError) as error:
        return "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else _first_line(error)
    return ""


def _ask_hub(where: str, revision: str | None) -> None:
    """Returns if the hub has the checkpoint. Raises what huggingface_hub raises, and TimeoutError after three seconds.

    Its own timeout is one for each address of the hub and each piece of the answer, and none for the name.
    """
    constants.HF_HUB_DISABLE_TELEMETRY = True  # else it asks which program calls it, first and for three seconds more
    answered: Future[None] = Future()

    def ask() -> None:
        try:
            HfApi().model_info(where, revision=revision, timeout=_LOOK_UP_S)
            answered.set_result(None)
        except Exception as error:  # noqa: BLE001 - the caller gets it
            answered.set_exception(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answered.result(timeout=_LOOK_UP_S)
    except TimeoutError as error:
        raise TimeoutError(f"no answer in {_LOOK_UP_S:g} s") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
