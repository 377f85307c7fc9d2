"""The result of one part of an examination, and why a part fails or cannot run."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class PartState(StrEnum):
    """How a part ended. A machine is fit only if every part is OK."""

    OK = "ok"
    FAILED = "failed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the examination. figures: what it measured, by name with the unit."""

    name: str
    state: PartState
    detail: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proof:
    """What a part found to hold."""

    detail: str
    figures: dict[str, float] = field(default_factory=dict)


class Unfit(Exception):
    """A part does not hold; the message names value and limit."""

    def __init__(self, message: str, figures: dict[str, float] | None = None) -> None:
        super().__init__(message)
        self.figures = figures or {}


class CannotRun(Exception):
    """A part cannot run here; the message says why, and what to install."""
