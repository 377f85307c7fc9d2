"""How a checkpoint writes keys and values. Loads no torch, because the configuration names it."""

from __future__ import annotations

from enum import StrEnum


class RowFormat(StrEnum):
    """How keys and values are written."""

    EXACT = "exact"  # bit for bit
    INT8 = "int8"  # one byte a number, one scale for each token and head
