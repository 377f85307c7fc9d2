"""A span of time that a memory does not cover. Loads no torch, because clients and configuration name it too."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class GapReason(StrEnum):
    """Why a memory lacks a span of time, as people read it. Older checkpoints may hold other texts."""

    NO_FRAMES = "no frames"
    DROPPED = "frames were dropped"
    RECONNECTED = "the stream was opened again"
    DEVICE_FAILED = "the device failed at these frames"
    RESTORED = "restored from a checkpoint"
    ERASED = "its memory was erased"
    UNREADABLE = "its checkpoints could not be read"
    NEVER_SAVED = "no frame of it was saved yet"
    NOT_IN_STORE = "the store has no checkpoint of it"
    CLOCK_SET = "the clock was set forward"


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of a camera's time, in Unix seconds, that its memory does not cover."""

    start_s: float
    end_s: float
    reason: str
