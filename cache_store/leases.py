"""Ownership of cameras: the seam, and the version that lives in this process.

A shard renews one lease for all of its cameras; a camera only notes its owner. An owner is a pair. The epoch counts the
owners of a camera and never decreases. The incarnation tells two owners apart to which a store that lost its newest
writes granted the same epoch.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cache_store.errors import CameraFenced, OwnedByAnother, Retired


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, distinct from every other one. namespace: boot id and process namespace.

    start_ticks: when it started, in the kernel's ticks since the boot, which no step of the wall clock changes; None if
    unknown, as in a lease of the version before.
    """

    namespace: str
    pid: int
    start_ticks: int | None


@dataclass(frozen=True, slots=True)
class ShardIncarnation:
    """One life of a shard; its id is never used again. process: None where a process cannot be identified."""

    id: str
    process: ProcessIdentity | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a camera: a shard incarnation, or FREE or FENCED, in one epoch of the camera."""

    epoch: int
    incarnation: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a shard. renewals: how often it was renewed; it grows as long as the shard lives."""

    incarnation: ShardIncarnation
    renewals: int


@dataclass(frozen=True, slots=True)
class Renewal:
    """A lease after a renewal: its renewals so far, and how often one of its cameras was taken over or fenced."""

    count: int
    takeovers: int = 0


FREE = "free"  # released by its owner
FENCED = "fenced"  # removed for good

# The owner of every camera that the store has no record of. An unowned camera can be claimed only after this owner's
# lease did not change for one lease length, because a store that came back empty has forgotten live owners. The
# renewals of this lease are a random number that the store keeps as long as it keeps its data.
UNOWNED = ""


@dataclass(frozen=True, slots=True)
class LeaseExpiry:
    """Proof that an owner may be replaced: its lease still has this number of renewals (None: it has no lease).

    is_dead: the owner may be replaced whatever its lease says, because its process has ended.
    """

    incarnation: str
    renewals: int | None
    is_dead: bool = False


# Lets a former owner claim its camera back from a store that forgot it. Only for a caller that knows that the camera
# had no later owner.
UNOWNED_EXPIRY = LeaseExpiry(UNOWNED, None, is_dead=True)


def refused(camera: str, incarnation: str) -> OwnedByAnother | CameraFenced:
    """The error that names the camera's owner, or says that it can have none."""
    if incarnation == FENCED:
        return CameraFenced(f"camera {camera!r}: it was removed")
    reason = f"owned by shard {incarnation[:8]}" if incarnation else "the store has no record of an owner yet"
    return OwnedByAnother(f"camera {camera!r}: {reason}", incarnation)


def retired(incarnation: ShardIncarnation) -> Retired:
    """The error that tells an incarnation to stop."""
    return Retired(f"shard {incarnation.id[:8]}: it was unreachable, so its lease is renewed no more")


class Leases(Protocol):
    """Grants and shows ownership. Every method raises StoreUnavailable; its effect is then unknown.

    Seven methods, two more than a seam has elsewhere: some are of a camera's owner and epoch, some of leases, and both
    must be one store.
    """

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        """Renews the shard's lease; its count is 1 where the store had no lease. Raises Retired."""
        ...

    async def retire(self, incarnation: str) -> None:
        """Revokes the lease of an unreachable incarnation: it is renewed no more, so its cameras can be taken over."""
        ...

    async def acquire(
        self, camera: str, incarnation: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None
    ) -> Owner:
        """Makes the shard the camera's owner, in an epoch above `min_epoch` and above all earlier ones.

        A shard that is the owner in such an epoch already keeps it. Raises OwnedByAnother, unless `expiry` proves that
        exactly this owner may be replaced and the proof still holds in the store; then the takeover is counted in the
        lease of the owner before. Raises CameraFenced.
        """
        ...

    async def owner(self, camera: str) -> Owner | None:
        """The camera's owner; its incarnation is FREE after a release, FENCED after a fence. None without a record."""
        ...

    async def lease(self, incarnation: str) -> Lease | None:
        """The lease of an incarnation. The lease of UNOWNED is created when it is first read."""
        ...

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        """Gives the camera up, to any shard or to `successor` alone. No effect where the owner is another by now."""
        ...

    async def fence(self, camera: str) -> Owner:
        """Takes the camera from whatever owns it, for good: from now on nothing can acquire it or save it.

        -> the owner in whose name its checkpoints can be deleted. Counted in the lease of the owner before.
        """
        ...


class InMemoryLeases:
    """Leases that end with their process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._takeovers: Counter[str] = Counter()
        self._owners: dict[str, Owner] = {}
        self._retired: set[str] = set()
        self._times_forgotten = 0

    async def renew(self, incarnation: ShardIncarnation) -> Renewal:
        if incarnation.id in self._retired:
            raise retired(incarnation)
        before = self._leases.get(incarnation.id)
        lease = Lease(incarnation, before.renewals + 1 if before else 1)
        self._leases[incarnation.id] = lease
        return Renewal(lease.renewals, self._takeovers[incarnation.id])

    async def retire(self, incarnation: str) -> None:
        self._retired.add(incarnation)

    async def acquire(
        self, camera: str, incarnation: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None
    ) -> Owner:
        owner = self._owners.get(camera)
        if owner is not None and owner.incarnation == incarnation and owner.epoch > min_epoch:
            return owner
        incumbent = owner.incarnation if owner else UNOWNED
        if incumbent not in (FREE, incarnation):
            if not self._is_proven(incumbent, expiry):
                raise refused(camera, incumbent)
            self._takeovers[incumbent] += 1
        return self._grant(camera, incarnation, min_epoch)

    async def owner(self, camera: str) -> Owner | None:
        return self._owners.get(camera)

    async def lease(self, incarnation: str) -> Lease | None:
        if incarnation == UNOWNED:
            self._leases.setdefault(UNOWNED, Lease(ShardIncarnation(UNOWNED), self._times_forgotten))
        return self._leases.get(incarnation)

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        if self._owners.get(camera) == owner:
            self._owners[camera] = Owner(owner.epoch + 1, successor) if successor else Owner(owner.epoch, FREE)

    async def fence(self, camera: str) -> Owner:
        owner = self._owners.get(camera)
        if owner is not None and owner.incarnation == FENCED:
            return owner
        self._takeovers[owner.incarnation if owner else UNOWNED] += 1
        return self._grant(camera, FENCED, 0)

    def forget_everything(self) -> None:
        """Loses all data, as a store that comes back empty."""
        self._leases.clear()
        self._takeovers.clear()
        self._owners.clear()
        self._retired.clear()
        self._times_forgotten += 1

    def _grant(self, camera: str, incarnation: str, min_epoch: int) -> Owner:
        before = self._owners.get(camera)
        epoch = max(min_epoch + 1, before.epoch + 1 if before else 0, int(1000 * self._clock()))
        self._owners[camera] = Owner(epoch, incarnation)
        return self._owners[camera]

    def _is_proven(self, incarnation: str, expiry: LeaseExpiry | None) -> bool:
        if expiry is None or expiry.incarnation != incarnation or incarnation == FENCED:
            return False
        lease = self._leases.get(incarnation)
        return expiry.is_dead or expiry.renewals == (lease.renewals if lease else None)
