"""The order of the tests, and which of them share a worker when several workers run them.

Two Ray clusters on two cores would slow each other down past their deadlines, so the tests that start Ray share one
worker. Every other file is a unit of its own, because its fixtures start servers and build models once. Long units go
first: a long unit at the end would leave the other workers idle.
"""

from __future__ import annotations

import pytest

RAY = "ray"
_FIRST = ("ray", "chaos", "slow")  # markers of the long units, longest first


# First, because xdist puts the groups into the names of the tests in the same hook.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        units.setdefault(_unit_of(item), []).append(item)
    order = sorted(units, key=lambda unit: min(map(_rank, units[unit])))
    items[:] = [item for unit in order for item in units[unit]]
    for unit, members in units.items():
        for item in members:
            item.add_marker(pytest.mark.xdist_group(unit))


def _unit_of(item: pytest.Item) -> str:
    return RAY if item.get_closest_marker("ray") else item.nodeid.partition("::")[0]


def _rank(item: pytest.Item) -> int:
    """The place in the order of units; a stable sort keeps files of equal rank as they were collected."""
    return next((place for place, name in enumerate(_FIRST) if item.get_closest_marker(name)), len(_FIRST))
