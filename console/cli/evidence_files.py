"""Saves the pictures of an answer's evidence as files."""

from __future__ import annotations

import re
from datetime import UTC
from pathlib import Path

from console.client.answers import Answer, Evidence


def save(answer: Answer, folder: Path) -> list[Path | None]:
    """One file for each moment of the evidence, None for one whose picture the server no longer has. Raises OSError."""
    return [_save_one(answer.camera, moment, folder) for moment in answer.evidence]


def _save_one(camera: str, moment: Evidence, folder: Path) -> Path | None:
    if not moment.thumbnail_jpeg:
        return None
    path = folder / f"{_as_file_name(camera)}-{moment.time.astimezone(UTC):%Y%m%dT%H%M%S.%f}Z.jpg"
    path.write_bytes(moment.thumbnail_jpeg)
    return path


def _as_file_name(camera: str) -> str:
    """A camera's name without what leads out of a folder: names come from a server."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", camera).lstrip(".")
