"""The number type of a model's weights. Loads no torch, because the configuration names it."""

from __future__ import annotations

from enum import StrEnum


class WeightFormat(StrEnum):
    """How weights are kept. int8: the matrices of the layers one byte a number, with a scale for each row."""

    AUTO = "auto"  # bfloat16 on a GPU that has it (Ampere and later), float32 elsewhere
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"  # computed in the type of AUTO
