"""Whether an owner may be followed: its lease stood still for its whole length, or its own machine says it died."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from cache_store.leases import LeaseExpiry, Leases, ProcessIdentity

_SAME_BIRTH_S = 1.0


@dataclass(frozen=True, slots=True)
class _Observation:
    renewals: int | None
    since_s: float


class FailureDetector:
    """Watches the leases of owners that stand in the way, each from the first time that it is asked about it."""

    def __init__(self, leases: Leases, length_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._leases = leases
        self._length_s = length_s
        self._clock = clock
        self._seen: dict[str, _Observation] = {}

    async def gone(self, incarnation: str) -> LeaseExpiry | None:
        """What lets others follow this owner, None for not yet. Raises StoreUnavailable."""
        lease = await self._leases.lease(incarnation)
        if lease is not None and lease.incarnation.home is not None and has_died(lease.incarnation.home):
            return LeaseExpiry(incarnation, None, is_dead=True)
        renewals = lease.renewals if lease else None
        # After the answer came: whenever the store acted on a renewal that it shows, it was before now.
        now_s = self._clock()
        seen = self._seen.get(incarnation)
        if seen is None or seen.renewals != renewals:
            self._seen[incarnation] = _Observation(renewals, now_s)
            return None
        return LeaseExpiry(incarnation, renewals) if now_s - seen.since_s >= self._length_s else None

    async def retire(self, incarnation: str) -> None:
        """Makes the lease of an owner whom nobody reaches stand still. Raises StoreUnavailable."""
        await self._leases.retire(incarnation)


def home() -> ProcessIdentity | None:
    """This process, as any other on this machine could recognise it; None where that is not known how."""
    place = _place()
    return ProcessIdentity(place, os.getpid(), psutil.Process().create_time()) if place else None


def has_died(process: ProcessIdentity) -> bool:
    """Whether a process of this very machine and namespace has ended; False for one of anywhere else."""
    if process.place != _place():
        return False
    try:
        found = psutil.Process(process.pid)
        is_same = abs(found.create_time() - process.born_s) < _SAME_BIRTH_S
        return not is_same or found.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@functools.cache
def _place() -> str | None:
    """Boot and process namespace: process ids mean the same wherever this is the same."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return None
