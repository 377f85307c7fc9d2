"""The order of the tests, and which of them share a worker when several workers run them.

Two Ray clusters on two cores would slow each other down past their deadlines, so all files that start Ray share one
worker. The tests of streams mostly wait, so each folder of them is one unit too: while one worker waits, the others
compute. Each simulated schedule of the chaos is a unit, since there are a thousand. Every other file is a unit of its
own, because its fixtures start servers and build models once. Long units go first: a long unit at the end would leave
the other workers idle.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

_FIRST = ("ray", "chaos", "slow")  # markers of the long units, longest first
_STREAMS = ("tests/pipeline/sources/", "tests/pipeline/network/")
_SCHEDULES = "tests/chaos/test_ownership.py"


class FileScheduling(LoadScopeScheduling):
    """Gives each worker one file after the other; the files that start Ray count as one, so does a folder of streams.

    Not xdist's loadgroup: with pytest 9.2 xdist 3.8 ignores the groups without a word.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        if _starts_ray(self.config.rootpath / path):
            return "ray"
        if path == _SCHEDULES:
            return nodeid
        return next((folder for folder in _STREAMS if path.startswith(folder)), path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> FileScheduling:
    return FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts files by the lowest rank of their tests; the order within a file stays."""
    ranks: dict[Path, int] = {}
    for item in items:
        rank = _rank(item)
        ranks[item.path] = min(ranks.get(item.path, rank), rank)
    items.sort(key=lambda item: ranks[item.path])


@functools.cache
def _starts_ray(path: Path) -> bool:
    """By the text, because the process that schedules has names of tests alone, not their markers."""
    return "pytest.mark.ray" in path.read_text()


def _rank(item: pytest.Item) -> int:
    rest = len(_FIRST) + (not item.nodeid.startswith(_STREAMS))
    return next((place for place, name in enumerate(_FIRST) if item.get_closest_marker(name)), rest)
