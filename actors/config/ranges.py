"""Checks the numbers of a configuration class against the ranges that it states."""

from __future__ import annotations

import math
from typing import Any

Ranges = dict[str, tuple[float, float]]


def require(section: str, config: Any) -> None:
    """Raises ValueError for the first value of `config` outside its row of RANGES."""
    for name, (low, high) in config.RANGES.items():
        value = getattr(config, name)
        if value is None:
            continue
        if not value >= low:
            raise ValueError(f"{section}.{name} is {value} (at least {low:g})")
        if value == math.inf:
            raise ValueError(f"{section}.{name} is {value} (a finite number)")
        if value > high:
            raise ValueError(f"{section}.{name} is {value} (at most {high:.10g})")
