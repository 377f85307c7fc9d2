"""Renews a shard's lease and proves, by the shard's own clock, that the shard still owns its cameras.

A successor has observed that the lease was not renewed for its whole length; this shard stops a margin earlier. So two
shards never answer for one camera at the same moment, whatever happens to the network, the store or Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from actors.config.shards import LeaseConfig
from actors.errors import OwnershipUnproven
from cache_store.errors import CameraFenced, OwnedByAnother, Retired, StoreUnavailable
from cache_store.leases import FENCED, UNOWNED_EXPIRY, LeaseExpiry, Leases, Owner, Renewal, ShardIncarnation
from pipeline.boot_clock import boot_time_s

log = structlog.get_logger(__name__)

_RENEWALS_PER_LEASE = 5
_NEVER_S = -float("inf")


class LeaseHolder:
    """The lease of one shard incarnation, and the cameras that it owns.

    A camera that it owned and of which the store has lost every record is unowned: no other shard is known to have it,
    and it can be acquired as any unowned camera can. on_lost: called with the id of a camera that another shard owns
    now, or that was removed; on_retired: called once the lease is revoked and will not be renewed again.
    """

    def __init__(
        self,
        leases: Leases,
        incarnation: ShardIncarnation,
        settings: LeaseConfig,
        *,
        on_lost: Callable[[str], Awaitable[None]],
        on_retired: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = boot_time_s,
    ) -> None:
        self._leases = leases
        self._incarnation = incarnation
        self._settings = settings
        self._on_lost = on_lost
        self._on_retired = on_retired
        self._clock = clock
        self._owners: dict[str, Owner] = {}
        self._earlier_epochs: dict[str, int] = {}  # of cameras that it has owned and may not own now
        self._released: dict[str, Owner] = {}  # of each camera that it has given up itself, its last ownership
        self._unowned: set[str] = set()
        self._removed: set[str] = set()
        self._renewal = Renewal(0)
        self._proven_until_s = _NEVER_S
        self._needs_recheck = False
        self._recheck_requested = asyncio.Event()
        # The replies of two renewals at once may arrive in the wrong order, which would look like a lapse.
        self._renewal_lock = asyncio.Lock()

    @property
    def is_proven(self) -> bool:
        """Whether it is certain that no other shard owns what this shard owns."""
        return self._clock() < self._proven_until_s

    def owner(self, camera: str) -> Owner | None:
        """This shard's last known ownership of the camera; None if it does not own it."""
        return self._owners.get(camera)

    def epoch(self, camera: str) -> int:
        """The epoch in which this shard owns the camera, or owned it last; 0 if it never did."""
        owner = self._owners.get(camera)
        return self._earlier_epochs.get(camera, 0) if owner is None else owner.epoch

    def is_unowned(self, camera: str) -> bool:
        """Whether the store lost its record of this shard's ownership, and shows no other owner."""
        return camera in self._unowned

    def is_lost(self, camera: str) -> bool:
        """Whether another shard may own the camera by now, or it was removed."""
        return camera not in self._owners and camera not in self._unowned

    def is_removed(self, camera: str) -> bool:
        """Whether this shard has lost the camera because it was removed, not to another shard."""
        return camera in self._removed

    def require(self, camera: str, owner: Owner) -> None:
        """Fences a stale owner: raises OwnershipUnproven unless the camera provably still belongs to `owner`.

        An owner that has released it may end the answers that it began before anything of the next owner.
        """
        if not self.is_proven:
            raise OwnershipUnproven(
                f"camera {camera!r}: its shard could not renew the lease of {self._settings.length_s:g} s in time; "
                "it answers again once it can prove that it still owns the camera; try again"
            )
        if owner not in (self._owners.get(camera), self._released.get(camera)):
            raise OwnershipUnproven(f"camera {camera!r}: it was moved, erased or removed while it answered; ask again")

    async def acquire(self, camera: str, *, min_epoch: int = 0, expiry: LeaseExpiry | None = None) -> Owner:
        """Makes this shard the camera's owner, in an epoch above `min_epoch`.

        expiry: the proof that the previous owner's lease has expired. Raises OwnedByAnother, StoreUnavailable, Retired.
        """
        if not self.is_proven:
            await self.renew()
        # The store may still apply a release whose reply was lost: it cannot revoke a newer epoch. And a store that has
        # lost its data, with a clock set back, would grant an older epoch than one in which this shard has answered.
        min_epoch = max(min_epoch, self._earlier_epochs.get(camera, 0))
        owner = await self._leases.acquire(camera, self._incarnation.id, min_epoch=min_epoch, expiry=expiry)
        self._owners[camera] = owner
        self._unowned.discard(camera)
        return owner

    async def raise_epoch(self, camera: str, min_epoch: int) -> None:
        """Stays the camera's owner, in an epoch not below `min_epoch`. Raises OwnedByAnother, StoreUnavailable."""
        owner = self._owners.get(camera)
        if owner is not None and owner.epoch < min_epoch:
            self._owners[camera] = await self._leases.acquire(camera, self._incarnation.id, min_epoch=min_epoch)

    async def begin_epoch(self, camera: str) -> Owner:
        """Begins another epoch of a camera of this shard, so that a late save of the one before is refused.

        Raises OwnershipUnproven, OwnedByAnother, StoreUnavailable.
        """
        owner = self._owners.get(camera)
        if owner is None or not self.is_proven:
            raise OwnershipUnproven(f"camera {camera!r}: its shard cannot prove now that it owns the camera; try again")
        await self.raise_epoch(camera, owner.epoch + 1)
        return self._owners[camera]

    async def release(self, camera: str, *, successor: str | None = None) -> None:
        """Gives the camera up, to any shard or the successor alone. Without the store, the lease expires instead."""
        self._unowned.discard(camera)
        owner = self._owners.pop(camera, None)
        if owner is None:
            return
        self._earlier_epochs[camera], self._released[camera] = owner.epoch, owner
        try:
            await self._leases.release(camera, owner, successor=successor)
        except StoreUnavailable as error:
            log.warning("camera_not_released", camera=camera, reason=str(error))

    async def release_all(self) -> None:
        """Gives up every camera."""
        await asyncio.gather(*(self.release(camera) for camera in tuple(self._owners)))

    def request_recheck(self) -> None:
        """Makes `run` look up the owner of every camera at once, because the store refused a write of a stale owner."""
        self._needs_recheck = True
        self._recheck_requested.set()

    async def run(self) -> None:
        """Renews the lease several times per lease length, until it is revoked."""
        is_renewed = True
        while True:
            try:
                await self.renew()
                if not is_renewed:
                    log.info("lease_renewed_again")
                is_renewed = True
            except StoreUnavailable as error:
                if is_renewed:
                    log.warning("lease_not_renewed", reason=str(error))
                is_renewed = False
            except Retired as error:
                log.error("lease_retired", reason=str(error))
                self._proven_until_s = _NEVER_S
                self._on_retired()
                return
            except Exception:  # the border of one renewal: without the next ones the shard would be silent for good
                log.exception("lease_not_renewed")
                is_renewed = False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.length_s / _RENEWALS_PER_LEASE):
                    await self._recheck_requested.wait()

    async def renew(self) -> None:
        """Renews the lease once. Raises StoreUnavailable, Retired.

        If the lease may have lapsed, or the store lost it, or a camera was taken over or fenced, the owner of every
        camera is looked up before ownership counts as proven again.
        """
        async with self._renewal_lock:
            await self._renew()

    async def _renew(self) -> None:
        self._recheck_requested.clear()
        # Read before the request: the store applies the renewal at this moment or later.
        sent_s = self._clock()
        renewal = await self._leases.renew(self._incarnation)
        expected = Renewal(self._renewal.count + 1, self._renewal.takeovers)
        if self._needs_recheck or not self.is_proven or renewal != expected:
            was_proven, self._proven_until_s = self.is_proven, _NEVER_S
            self._needs_recheck = (
                False  # before the look-ups: what is requested meanwhile may be of a camera behind them
            )
            await self._recheck_owners(was_proven)
        await self._recheck_unowned()
        self._renewal = renewal
        self._proven_until_s = sent_s + self._settings.length_s - self._settings.margin_s

    async def _recheck_owners(self, was_proven: bool) -> None:
        for camera, previous in tuple(self._owners.items()):
            owner = await self._leases.owner(camera)
            # After a lapse another shard may have owned the camera before the store forgot it: it must not be claimed.
            if owner is None and was_proven:
                owner = await self._reacquire(camera, previous)
            if self._owners.get(camera) != previous:
                # Released or acquired anew during the look-up: that change is newer.
                continue
            await self._settle(camera, owner)

    async def _recheck_unowned(self) -> None:
        for camera in tuple(self._unowned):
            owner = await self._leases.owner(camera)
            if camera in self._unowned and owner is not None:
                await self._settle(camera, owner)

    async def _settle(self, camera: str, owner: Owner | None) -> None:
        """Records the camera's owner, which may be another shard now, or none because the store has no record of it."""
        previous = self._owners.pop(camera, None)
        if previous is not None:
            self._earlier_epochs[camera] = previous.epoch
        self._unowned.discard(camera)
        if owner is None:
            log.warning("ownership_forgotten_by_store", camera_id=camera)
            self._unowned.add(camera)
        elif owner.incarnation == self._incarnation.id:
            self._owners[camera] = owner
        else:
            if owner.incarnation == FENCED:
                self._removed.add(camera)
            await self._on_lost(camera)

    async def _reacquire(self, camera: str, previous: Owner) -> Owner | None:
        """Claims a camera that the store forgot, in an epoch above the previous one. -> its owner then"""
        try:
            return await self._leases.acquire(
                camera, self._incarnation.id, min_epoch=previous.epoch, expiry=UNOWNED_EXPIRY
            )
        except (OwnedByAnother, CameraFenced):
            return await self._leases.owner(camera)
