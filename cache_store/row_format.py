"""How keys and values are kept. Loads no torch, because the configuration names it."""

from __future__ import annotations

from enum import StrEnum


class RowFormat(StrEnum):
    """How keys and values are written, in slots and in checkpoints."""

    EXACT = "exact"  # in the number type of the model, bit for bit
    INT8 = "int8"  # one byte a number, one scale for each token and head
