"""A figure of a plan, and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class PlanError(ValueError):
    """A plan that cannot be made; the message names the option, its value and the limit."""


class Basis(StrEnum):
    """Where a figure comes from."""

    MEASURED = "measured"  # by a benchmark of this repository
    PUBLISHED = "published"  # by the vendor of the hardware or of the model
    ASSUMED = "assumed"
    CHOSEN = "chosen"  # an option of the command, or its default
    COMPUTED = "computed"  # from other figures of the plan


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its unit, its basis, and its source: a file, a link with its date, or a formula."""

    name: str
    value: float
    unit: str
    basis: Basis
    source: str


@dataclass(frozen=True, slots=True)
class Section:
    """Figures of one resource."""

    title: str
    figures: tuple[Figure, ...]


def computed(name: str, value: float, unit: str, formula: str) -> Figure:
    """A figure that follows from others."""
    return Figure(name, value, unit, Basis.COMPUTED, formula)


def chosen(name: str, value: float, unit: str, option: str) -> Figure:
    """A figure that the user chose, or that has the default of that option."""
    return Figure(name, value, unit, Basis.CHOSEN, option)
