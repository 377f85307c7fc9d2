"""Seeded schedules of faults over a simulated fleet: whatever fails, whoever changes the cameras meanwhile, no camera
has two owners, nothing committed is lost, nothing removed or erased comes back, and every camera answers in the end."""

from __future__ import annotations

import os
import random
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.ownership import failure_detector
from cache_store.leases import ProcessIdentity
from tests import virtual_time
from tests.chaos import report
from tests.chaos.faults import EXCLUDED_TOGETHER, FAULTS
from tests.chaos.operations import OPERATIONS
from tests.chaos.virtual_process import ProcessLoop, VirtualProcess
from tests.chaos.world import PERMANENT, World

SCHEDULES = int(os.environ.get("HERMES_CHAOS_SCHEDULES", "40"))
HISTORIES = Path(os.environ.get("HERMES_CHAOS_HISTORIES", ".chaos"))
FAULTY_S, QUIET_S = 60.0, 45.0


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes of a run in place of those of the system: one sees another one's death on its own machine."""
    known: list[VirtualProcess] = []

    def current_process() -> ProcessIdentity | None:
        process = VirtualProcess.current()
        if process is None:
            return None
        known.append(process)
        return ProcessIdentity(f"machine {process.machine}", len(known) - 1, 0)

    def has_died(identity: ProcessIdentity) -> bool:
        process, observer = known[identity.pid], VirtualProcess.current()
        return observer is not None and observer.machine == process.machine and process.is_dead

    monkeypatch.setattr(failure_detector, "current_process", current_process)
    monkeypatch.setattr(failure_detector, "has_died", has_died)


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(SCHEDULES))
def test_whatever_fails_a_camera_has_one_owner_and_comes_back(
    seed: int, processes: None, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    ids = random.Random(seed)
    monkeypatch.setattr(uuid, "uuid4", lambda: uuid.UUID(int=ids.getrandbits(128), version=4))
    world: list[World] = []

    async def run() -> None:
        world.append(World(seed))
        excluded = world[0].rng.choice(EXCLUDED_TOGETHER)
        faults = [fault for fault in FAULTS if fault not in excluded]
        await world[0].run(faults, faulty_s=FAULTY_S, quiet_s=QUIET_S)

    virtual_time.run(run(), ProcessLoop)

    history, errors = world[0].history, world[0].errors
    record_property(*report.properties(report.SIMULATED, history, [step.__name__ for step in OPERATIONS]))
    violations, silent = history.violations(), world[0].silent(since_s=history.events[-1].at_s - 5.0)
    missing = sorted(set(PERMANENT) - world[0].answered_s.keys())
    if violations or silent or missing or errors:
        file = history.save(HISTORIES)
        raise AssertionError(f"seed {seed}, see {file}: {violations[:5]} silent: {silent} {missing} errors: {errors}")
    kinds = Counter(event.kind for event in history.events)
    assert kinds["answer"] > 100
    assert min(kinds["proven"], kinds["commit"]) > 40  # the store may be away for most of the run
    assert min(kinds["restored"], kinds["fault"]) > 4
