"""Who owns a camera: the seam, and the version that lives in this process.

A shard's lease is renewed as a whole; a camera only notes which shard owns it. An owner is a pair: the epoch counts
owners and never goes backwards, and the incarnation tells two owners apart to whom a store that lost its newest writes
granted the same epoch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cache_store.checkpoint import StoreError


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """A process that its own machine can tell from every other. place: machine and process namespace."""

    place: str
    pid: int
    born_s: float


@dataclass(frozen=True, slots=True)
class ShardIncarnation:
    """One life of a shard; its id is never used again. home: None where a process cannot be told apart."""

    id: str
    home: ProcessIdentity | None = None


@dataclass(frozen=True, slots=True)
class Owner:
    """Who owns a camera, and as which of its owners."""

    epoch: int
    incarnation: str


@dataclass(frozen=True, slots=True)
class Lease:
    """What a shard last showed of itself. renewals: grows as long as it lives."""

    incarnation: ShardIncarnation
    renewals: int


# The owner of every camera that the store knows nothing of. A store that has lost its memory knows nothing of anything,
# so nobody is followed like anybody else: when his lease stood still. Its renewals are a number that a store
# keeps as long as it remembers.
UNOWNED = ""


@dataclass(frozen=True, slots=True)
class LeaseExpiry:
    """That an owner may be followed: its lease still stands at so many renewals (None: it has none).

    is_dead: it may be, whatever its lease is.
    """

    incarnation: str
    renewals: int | None
    is_dead: bool = False


# What lets the last owner have its camera back from a store that forgot it: it knows that nobody came after.
OWN_LEASE = LeaseExpiry(UNOWNED, None, is_dead=True)


class OwnedByAnother(StoreError):
    """The camera is another's; `incarnation` says whose."""

    def __init__(self, message: str, incarnation: str = UNOWNED) -> None:
        super().__init__(message)
        self.incarnation = incarnation

    def __reduce__(self) -> tuple[type[OwnedByAnother], tuple[str, str]]:
        return type(self), (str(self), self.incarnation)


class Retired(StoreError):
    """This incarnation was told to stop: its lease is renewed no more."""


def owned_by(camera: str, incarnation: str) -> OwnedByAnother:
    """The refusal that names the owner."""
    why = f"owned by shard {incarnation[:8]}" if incarnation else "nobody is known to own it, for how long is not known"
    return OwnedByAnother(f"camera {camera!r}: {why}", incarnation)


def retired(incarnation: ShardIncarnation) -> Retired:
    """What a shard hears that shall stop."""
    return Retired(f"shard {incarnation.id[:8]}: nobody could reach it, so its lease is renewed no more")


class Leases(Protocol):
    """Grants and shows ownership. Every method raises StoreUnavailable; then nothing is known of what it did."""

    async def renew(self, incarnation: ShardIncarnation) -> int:
        """Shows that this shard lives. -> how often it has: 1 where the store knew nothing of it. Raises Retired."""
        ...

    async def retire(self, incarnation: str) -> None:
        """Lets a shard that nobody reaches renew its lease no more, so that it can be followed in the end."""
        ...

    async def acquire(self, camera: str, incarnation: str, *, floor: int = 0, gone: LeaseExpiry | None = None) -> Owner:
        """Makes the shard the camera's owner, in an epoch above `floor` and all before; its own already is kept.

        Raises OwnedByAnother, unless `gone` says that exactly this owner may be followed and it still stands as said.
        """
        ...

    async def owner(self, camera: str) -> Owner | None:
        """Who owns the camera now."""
        ...

    async def lease(self, incarnation: str) -> Lease | None:
        """What a shard last showed of itself; NOBODY's is there from the first time that somebody asks for it."""
        ...

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        """Gives the camera up, to anybody or to this heir alone; nothing happens if it is another's by now."""
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
        held = self._leases.get(incarnation.id)
        lease = Lease(incarnation, held.renewals + 1 if held else 1)
        self._leases[incarnation.id] = lease
        return lease.renewals

    async def retire(self, incarnation: str) -> None:
        self._retired.add(incarnation)

    async def acquire(self, camera: str, incarnation: str, *, floor: int = 0, gone: LeaseExpiry | None = None) -> Owner:
        held = self._owners.get(camera)
        if held is not None and held.incarnation == incarnation and held.epoch > floor:
            return held
        if held is None and not self._is_gone(UNOWNED, gone):
            raise owned_by(camera, UNOWNED)
        if (
            held is not None
            and held.incarnation not in (_FREE, incarnation)
            and not self._is_gone(held.incarnation, gone)
        ):
            raise owned_by(camera, held.incarnation)
        epoch = max(floor + 1, held.epoch + 1 if held else 0, int(1000 * self._clock()))
        self._owners[camera] = Owner(epoch, incarnation)
        return self._owners[camera]

    async def owner(self, camera: str) -> Owner | None:
        held = self._owners.get(camera)
        return held if held is not None and held.incarnation != _FREE else None

    async def lease(self, incarnation: str) -> Lease | None:
        if incarnation == UNOWNED:
            self._leases.setdefault(UNOWNED, Lease(ShardIncarnation(UNOWNED), self._times_forgotten))
        return self._leases.get(incarnation)

    async def release(self, camera: str, owner: Owner, *, successor: str | None = None) -> None:
        if self._owners.get(camera) == owner:
            self._owners[camera] = Owner(owner.epoch + 1, successor) if successor else Owner(owner.epoch, _FREE)

    def forget_everything(self) -> None:
        """As a store that comes back empty."""
        self._leases.clear()
        self._owners.clear()
        self._retired.clear()
        self._times_forgotten += 1

    def _is_gone(self, incarnation: str, gone: LeaseExpiry | None) -> bool:
        if gone is None or gone.incarnation != incarnation:
            return False
        lease = self._leases.get(incarnation)
        return gone.is_dead or gone.renewals == (lease.renewals if lease else None)


_FREE = "free"  # given up by its owner
