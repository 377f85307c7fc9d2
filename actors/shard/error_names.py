"""Puts names into errors: leases, memories and the engine know a camera by its id alone, people know its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from actors.errors import ServiceError
from cache_store.errors import StoreError
from pipeline.answers import QuestionError
from pipeline.cameras import CameraError


@contextmanager
def named(camera_id: str, name: str) -> Iterator[None]:
    """An error of this system that leaves the block names the camera by its name instead of its id."""
    try:
        yield
    except (CameraError, QuestionError, ServiceError, StoreError) as error:
        error.args = tuple(part.replace(camera_id, name) if isinstance(part, str) else part for part in error.args)
        raise
