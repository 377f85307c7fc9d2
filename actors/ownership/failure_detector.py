"""Decides when an owner has failed: its lease was not renewed for the lease's length, or its process died here."""

from __future__ import annotations

import asyncio
import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cache_store.leases import LeaseExpiry, Leases, Owner, ProcessIdentity

_ZOMBIE = "Z"
_STATE, _START = 0, 19  # of the fields of /proc/PID/stat that follow the command's name


@dataclass(frozen=True, slots=True)
class _Observation:
    """A lease's renewal count (None: the store has no such lease), and since when it is unchanged."""

    renewals: int | None
    since_s: float


class FailureDetector:
    """Observes the leases of owners, each from the first call of `expiry` for its incarnation on.

    clock: one that stands still while this machine does, or a whole lease may seem to pass without a chance to renew.
    """

    def __init__(self, leases: Leases, lease_length_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._leases = leases
        self._lease_length_s = lease_length_s
        self._clock = clock
        self._observations: dict[str, _Observation] = {}
        self._processes: dict[str, ProcessIdentity] = {}  # of the owners that were seen to live on this machine

    async def expiry(self, incarnation: str) -> LeaseExpiry | None:
        """The proof that another owner may take over from this one, or None if there is none yet.

        The lease has expired when its renewal count did not change for its whole length. An owner of this machine that
        is known to have died needs no wait. Raises StoreUnavailable.
        """
        lease = await self._leases.lease(incarnation)
        process = lease.incarnation.process if lease is not None else None
        if process is not None and has_died(process):
            self._processes.pop(incarnation, None)
            return LeaseExpiry(incarnation, None, is_dead=True)
        if process is not None and process.namespace == _namespace():
            self._processes[incarnation] = process
        renewals = lease.renewals if lease else None
        # Read after the store's reply: the store applied every renewal that the reply shows before this moment.
        now_s = self._clock()
        previous = self._observations.get(incarnation)
        if previous is None or previous.renewals != renewals:
            self._observations[incarnation] = _Observation(renewals, now_s)
            return None
        return LeaseExpiry(incarnation, renewals) if now_s - previous.since_s >= self._lease_length_s else None

    async def owner(self, camera: str) -> Owner | None:
        """The owner of a camera by the store, which may be reserved for it. Raises StoreUnavailable."""
        return await self._leases.owner(camera)

    async def wait(self, incarnation: str, seconds: float) -> None:
        """Waits so long, or until the owner's process ends, if `expiry` has seen it to live on this machine."""
        process = self._processes.get(incarnation)
        if process is None:
            await asyncio.sleep(seconds)
            return
        has_ended, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:  # it has ended, or the system cannot wait for the processes of others
            await asyncio.sleep(0.0 if has_died(process) else seconds)
            return
        loop.add_reader(descriptor, has_ended.set)
        try:
            async with asyncio.timeout(seconds):
                await has_ended.wait()
        except TimeoutError:
            return
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def retire(self, incarnation: str) -> None:
        """Revokes the lease of an unreachable incarnation. Raises StoreUnavailable."""
        await self._leases.retire(incarnation)


def current_process() -> ProcessIdentity | None:
    """This process, as other processes of this machine can recognise it; None where the system does not tell."""
    return identity_of(os.getpid())


def identity_of(pid: int) -> ProcessIdentity | None:
    """A process of this machine and process namespace; None without one, or where the system does not tell."""
    namespace, stat = _namespace(), _stat(pid)
    return ProcessIdentity(namespace, pid, int(stat[_START])) if namespace and stat else None


def has_died(process: ProcessIdentity) -> bool:
    """Whether a process of this machine and process namespace has ended. False for a process of any other machine."""
    if process.namespace != _namespace():
        return False
    stat = _stat(process.pid)
    if stat is None or stat[_STATE] == _ZOMBIE:
        return True
    # The system reuses process ids, so the start must match too.
    return process.start_ticks is not None and int(stat[_START]) != process.start_ticks


def _stat(pid: int) -> list[str] | None:
    """What the kernel says of a process after its name, which may contain anything; None if there is no such process.

    Not psutil: the time of a start that it reports changes with the wall clock.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


@functools.cache
def _namespace() -> str | None:
    """Boot id and process namespace: where both are equal, a process id means the same process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None
