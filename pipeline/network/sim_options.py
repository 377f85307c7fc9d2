"""The options of a simulated camera's URL."""

from __future__ import annotations

from pipeline.cameras import InvalidCamera

_RANGES: dict[str, tuple[type[int] | type[float], float, float]] = {
    "seed": (int, 0, 2**63 - 1),
    "start": (float, 0, 1e11),
    "gap": (float, 0.1, 3600),
    "width": (int, 16, 4096),
    "height": (int, 16, 4096),
}


def parse(url: str, key: str, text: str) -> float:
    """The value of an option. Raises InvalidCamera, which names the URL."""
    if key not in _RANGES:
        raise InvalidCamera(f"camera URL {url!r}: {key!r} is not one of {', '.join(_RANGES)}")
    number, low, high = _RANGES[key]
    try:
        value = number(text)
    except ValueError:
        value = float("nan")
    if not low <= value <= high:
        raise InvalidCamera(f"camera URL {url!r}: {key} is {text!r}; expected a number from {low} to {high:.0f}")
    return value
