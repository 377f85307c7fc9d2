"""A span of time that a memory does not cover. Loads no torch, because clients and configuration name it too."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gap:
    """A span of a camera's time, in Unix seconds, that its memory does not cover."""

    start_s: float
    end_s: float
    reason: str
