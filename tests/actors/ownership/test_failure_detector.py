"""When an owner's lease has expired, so that another may take over."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace

import psutil
import pytest

from actors.ownership import failure_detector
from actors.ownership.failure_detector import FailureDetector
from cache_store.leases import UNOWNED, InMemoryLeases, LeaseExpiry, ProcessIdentity, ShardIncarnation
from tests.actors import processes
from tests.virtual_time import now_s

OTHER = ShardIncarnation("other")
needs_identity = pytest.mark.skipif(
    failure_detector.current_process() is None, reason="this system does not tell processes of two machines apart"
)


@pytest.fixture
def leases() -> InMemoryLeases:
    return InMemoryLeases()


@pytest.fixture
def detector(leases: InMemoryLeases) -> FailureDetector:
    return FailureDetector(leases, 6.0, clock=now_s)


async def test_a_lease_has_expired_when_it_was_not_renewed_for_its_length(leases, detector) -> None:
    await leases.renew(OTHER)

    assert await detector.expiry("other") is None
    await asyncio.sleep(5.9)
    await leases.renew(OTHER)
    assert await detector.expiry("other") is None
    await asyncio.sleep(5.9)
    assert await detector.expiry("other") is None
    await asyncio.sleep(0.2)
    assert await detector.expiry("other") == LeaseExpiry("other", 2)


async def test_an_owner_whose_lease_the_store_lost_may_still_renew_it(leases, detector) -> None:
    assert await detector.expiry("other") is None
    await asyncio.sleep(4.0)
    await leases.renew(OTHER)
    await asyncio.sleep(3.0)
    assert await detector.expiry("other") is None
    await asyncio.sleep(6.1)
    assert await detector.expiry("other") == LeaseExpiry("other", 1)


async def test_unowned_cameras_can_be_claimed_once_the_store_has_kept_its_data_for_one_lease(leases, detector) -> None:
    """A store that came back empty has forgotten owners that are still alive."""
    await detector.expiry(UNOWNED)
    await asyncio.sleep(5.9)
    leases.forget_everything()
    assert await detector.expiry(UNOWNED) is None
    await asyncio.sleep(5.9)
    assert await detector.expiry(UNOWNED) is None
    await asyncio.sleep(0.2)
    assert await detector.expiry(UNOWNED) is not None


@needs_identity
@pytest.mark.real_time
async def test_the_lease_of_a_dead_process_of_this_machine_has_expired_at_once(leases, detector) -> None:
    script = (
        "from actors.ownership.failure_detector import current_process; p = current_process(); "
        "print(p.namespace, p.pid, p.start_ticks, sep='|', flush=True); input()"
    )
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, **pipes)
    assert process.stdout is not None
    namespace, pid, ticks = (await process.stdout.readline()).decode().strip().split("|")
    await leases.renew(ShardIncarnation("other", ProcessIdentity(namespace, int(pid), int(ticks))))

    assert await detector.expiry("other") is None
    process.kill()
    await process.wait()

    assert await detector.expiry("other") == LeaseExpiry("other", None, is_dead=True)


def test_a_process_of_another_machine_does_not_count_as_dead() -> None:
    assert not failure_detector.has_died(ProcessIdentity("elsewhere", os.getpid(), 0))


@needs_identity
def test_a_later_process_with_the_same_pid_is_another_process() -> None:
    process = failure_detector.current_process()
    assert process is not None
    assert process.start_ticks is not None
    assert not failure_detector.has_died(process)
    assert failure_detector.has_died(replace(process, start_ticks=process.start_ticks - 1))


@needs_identity
@pytest.mark.real_time
async def test_a_wait_ends_with_the_owners_process_and_the_proof_is_there(leases, detector) -> None:
    with processes.idle() as child:
        process = failure_detector.identity_of(child.pid)
        await leases.renew(replace(OTHER, process=process))
        assert await detector.expiry("other") is None
        waiting = asyncio.create_task(detector.wait("other", 3_600.0))
        await asyncio.sleep(0)
        assert not waiting.done()

        child.kill()

        async with asyncio.timeout(30):
            await waiting
        assert await detector.expiry("other") == LeaseExpiry("other", None, is_dead=True)


@needs_identity
def test_a_step_of_the_wall_clock_makes_no_process_look_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """psutil adds the time of the boot, which moves with the wall clock, to the start of a process."""
    process = failure_detector.current_process()
    assert process is not None
    boot_s = psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot_s + 3_600.0)
    monkeypatch.setattr(psutil._psplatform, "BOOT_TIME", boot_s + 3_600.0, raising=False)

    assert failure_detector.current_process() == process
    assert not failure_detector.has_died(process)


@needs_identity
def test_a_process_in_a_lease_of_the_version_before_is_dead_only_if_its_pid_is_free() -> None:
    """Its start was noted by the wall clock, which proves nothing."""
    process = failure_detector.current_process()
    assert process is not None
    assert not failure_detector.has_died(replace(process, start_ticks=None))
    assert failure_detector.has_died(replace(process, pid=2**22 + 1, start_ticks=None))
