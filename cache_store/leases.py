"""Who owns a camera: the seam, and the version that lives in this process.

A shard renews one lease for all of its cameras; a camera only notes its owner. An owner is a pair. The epoch counts the
owners of a camera and never decreases. The incarnation tells two owners apart to which a store that lost its newest
writes granted the same epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cache_store.errors import OwnedByAnother, Retired


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process, distinct from every other one. namespace: boot id and process namespace. started_s: Unix seconds."""

    namespace: str
    pid: int
    started_s: float


@dataclass(frozen=True, slots=True)
class ShardIncarnation:
    """One life of a shard; its id is never used again. process: None where a process cannot be identified."""

    id: str
    process: ProcessIdentity | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of a camera: a shard incarnation, in one epoch of the camera."""

    epoch: int
    incarnation: str


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of a shard. renewals: how often it was renewed; it grows as long as the shard lives."""

    incarnation: ShardIncarnation
    renewals: int


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


def owned_by_another(camera: str, incarnation: str) -> OwnedByAnother:
    """The error that names the camera's owner."""
    reason = f"owned by shard {incarnation[:8]}" if incarnation else "the store has no record of an owner yet"
    return OwnedByAnother(f"camera {camera!r}: {reason}", incarnation)


def retired(incarnation: ShardIncarnation) -> Retired:
    """The error that tells an incarnation to stop."""
    return Retired(f"shard {incarnation.id[:8]}: it was unreachable, so its lease is renewed no more")


class Leases(Protocol):
    """Grants and shows ownership. Every method raises StoreUnavailable; its effect is then unknown.

    Six methods, one more than a seam has elsewhere: two are of a camera's owner and epoch, four of leases and grants,
    and both must be one store.
    """

    async def renew(self, incarnation: ShardIncarnation) -> int:
        """Renews the shard's lease. -> the number of renewals, 1 where the store had no lease. Raises Retired."""
        ...

    async def retire(self, incarnation: str) -> None:
        """Revokes the lease of an unreachable incarnation: it is renewed no more, so its cameras can be taken over."""
        ...

    async def acquire(
        self, camera: str, incarnation: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None
    ) -> Owner:
        """Makes the shard the camera's owner, in an epoch above `min_epoch` and above all earlier ones.

        A shard that is the owner in such an epoch already keeps it. Raises OwnedByAnother, unless `expiry` proves that
        exactly this owner may be replaced and the proof still holds in the store.
        """
        ...

    async def owner(self, camera: str) -> Owner | None:
        """The camera's owner, None for a camera without one."""
        ...

    async def lease(self, incarnation: str) -> Lease | None:
        """The lease of an incarnation. The lease of UNOWNED is created when it is first read."""
        ...

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        """Gives the camera up, to any shard or to `successor` alone. No effect where the owner is another by now."""
        ...


class InMemoryLeases:
    """Leases that end with their process."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._owners: dict[str, Owner] = {}
        self._retired: set[str] = set()
        self._times_forgotten = 0

    async def renew(self, incarnation: ShardIncarnation) -> int:
        if incarnation.id in self._retired:
            raise retired(incarnation)
        before = self._leases.get(incarnation.id)
        lease = Lease(incarnation, before.renewals + 1 if before else 1)
        self._leases[incarnation.id] = lease
        return lease.renewals

    async def retire(self, incarnation: str) -> None:
        self._retired.add(incarnation)

    async def acquire(
        self, camera: str, incarnation: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None
    ) -> Owner:
        owner = self._owners.get(camera)
        if owner is not None and owner.incarnation == incarnation and owner.epoch > min_epoch:
            return owner
        incumbent = owner.incarnation if owner else UNOWNED
        if incumbent not in (_FREE, incarnation) and not self._is_proven(incumbent, expiry):
            raise owned_by_another(camera, incumbent)
        epoch = max(min_epoch + 1, owner.epoch + 1 if owner else 0, int(1000 * self._clock()))
        self._owners[camera] = Owner(epoch, incarnation)
        return self._owners[camera]

    async def owner(self, camera: str) -> Owner | None:
        owner = self._owners.get(camera)
        return owner if owner is not None and owner.incarnation != _FREE else None

    async def lease(self, incarnation: str) -> Lease | None:
        if incarnation == UNOWNED:
            self._leases.setdefault(UNOWNED, Lease(ShardIncarnation(UNOWNED), self._times_forgotten))
        return self._leases.get(incarnation)

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        if self._owners.get(camera) == owner:
            self._owners[camera] = Owner(owner.epoch + 1, successor) if successor else Owner(owner.epoch, _FREE)

    def forget_everything(self) -> None:
        """Loses all data, as a store that comes back empty."""
        self._leases.clear()
        self._owners.clear()
        self._retired.clear()
        self._times_forgotten += 1

    def _is_proven(self, incarnation: str, expiry: LeaseExpiry | None) -> bool:
        if expiry is None or expiry.incarnation != incarnation:
            return False
        lease = self._leases.get(incarnation)
        return expiry.is_dead or expiry.renewals == (lease.renewals if lease else None)


_FREE = "free"  # released by its owner
