"""A shard's hold on its cameras: its lease renewed in time, and the proof, by its own clock, that it still is.

Whoever follows has watched the lease stand still for its whole length; this shard stops earlier, by a margin. So at no
moment do two shards speak for a camera, whatever the network, the store and Ray are doing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import structlog

from actors.config.schema import LeaseConfig
from actors.errors import OwnershipUnproven
from cache_store.checkpoint import StoreUnavailable
from cache_store.leases import OWN_LEASE, LeaseExpiry, Leases, OwnedByAnother, Owner, Retired, ShardIncarnation

log = structlog.get_logger(__name__)

_RENEWALS_A_LEASE = 5


class LeaseHolder:
    """One shard's lease and the cameras under it.

    `on_lost` is told of a camera that another shard owns by now, `on_retired` that the lease is renewed no more.
    """

    def __init__(
        self,
        leases: Leases,
        incarnation: ShardIncarnation,
        settings: LeaseConfig,
        *,
        on_lost: Callable[[str], Awaitable[None]],
        on_retired: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._leases = leases
        self._incarnation = incarnation
        self._settings = settings
        self._on_lost = on_lost
        self._on_retired = on_retired
        self._clock = clock
        self._owned: dict[str, Owner] = {}
        self._left: dict[str, int] = {}  # in which epoch
        self._renewals = 0
        self._proven_until_s = -float("inf")
        self._is_in_doubt = False
        self._doubted = asyncio.Event()
        # Two at once may be answered in another order than they were counted in, which would look like a lapse.
        self._renewing = asyncio.Lock()

    @property
    def is_proven(self) -> bool:
        """Whether nobody else can own what this shard does."""
        return self._clock() < self._proven_until_s

    def owner(self, camera: str) -> Owner | None:
        """As what this shard last owned the camera."""
        return self._owned.get(camera)

    def require(self, camera: str, owner: Owner) -> None:
        """Returns if the camera is still this owner's beyond doubt. Raises OwnershipUnproven."""
        if not self.is_proven or self._owned.get(camera) != owner:
            raise OwnershipUnproven(
                f"camera {camera!r}: the lease of {self._settings.length_s:g} s could not be renewed in time; "
                "its shard speaks again when it can prove that the camera is its own"
            )

    async def acquire(self, camera: str, *, floor: int = 0, gone: LeaseExpiry | None = None) -> Owner:
        """Makes the camera this shard's, in an epoch above `floor`. Raises StoreError."""
        if not self.is_proven:
            await self.renew()
        # A release of which no answer came may still be done: of the next epoch it takes nothing away.
        floor = max(floor, self._left.get(camera, 0))
        self._owned[camera] = await self._leases.acquire(camera, self._incarnation.id, floor=floor, gone=gone)
        return self._owned[camera]

    async def rise(self, camera: str, floor: int) -> None:
        """Goes on as the camera's owner, in an epoch not below `floor`. Raises OwnedByAnother, StoreUnavailable."""
        held = self._owned.get(camera)
        if held is not None and held.epoch < floor:
            self._owned[camera] = await self._leases.acquire(camera, self._incarnation.id, floor=floor)

    async def release(self, camera: str, *, successor: str | None = None) -> None:
        """Gives the camera up, so that another shard, or this heir, may have it at once.

        A store that is away finds out by itself.
        """
        owner = self._owned.pop(camera, None)
        if owner is None:
            return
        self._left[camera] = owner.epoch
        try:
            await self._leases.release(camera, owner, successor=successor)
        except StoreUnavailable as error:
            log.warning("camera_not_released", camera=camera, reason=str(error))

    async def release_all(self) -> None:
        """Gives up every camera."""
        await asyncio.gather(*(self.release(camera) for camera in tuple(self._owned)))

    def doubt(self) -> None:
        """Somebody saw that a camera is another's: `run` looks at once."""
        self._is_in_doubt = True
        self._doubted.set()

    async def run(self) -> None:
        """Renews the lease, until it is renewed no more."""
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
                self._proven_until_s = -float("inf")
                self._on_retired()
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.length_s / _RENEWALS_A_LEASE):
                    await self._doubted.wait()

    async def renew(self) -> None:
        """Renews the lease once. Raises StoreUnavailable, Retired.

        Where the lease may have lapsed, or the store lost it, every camera is looked up before anything is proven.
        """
        async with self._renewing:
            await self._renew()

    async def _renew(self) -> None:
        self._doubted.clear()
        # From before the request: whenever the store acted on it, it was not earlier.
        sent_s = self._clock()
        renewals = await self._leases.renew(self._incarnation)
        if self._is_in_doubt or not self.is_proven or renewals != self._renewals + 1:
            was_proven, self._proven_until_s = self.is_proven, -float("inf")
            await self._look_up_all(was_proven)
            self._is_in_doubt = False
        self._renewals = renewals
        self._proven_until_s = sent_s + self._settings.length_s - self._settings.margin_s

    async def _look_up_all(self, was_proven: bool) -> None:
        for camera, held in tuple(self._owned.items()):
            owner = await self._leases.owner(camera)
            # After a lapse somebody else may have owned it before the store forgot: then it is not ours to claim.
            if owner is None and was_proven:
                owner = await self._acquired_again(camera, held)
            if self._owned.get(camera) != held:
                # Given up or acquired anew while the store was asked: that word is newer.
                continue
            if owner is not None and owner.incarnation == self._incarnation.id:
                self._owned[camera] = owner
            else:
                self._owned.pop(camera, None)
                await self._on_lost(camera)

    async def _acquired_again(self, camera: str, held: Owner) -> Owner | None:
        """Of a store that came back without it; above the epoch that was."""
        try:
            return await self._leases.acquire(camera, self._incarnation.id, floor=held.epoch, gone=OWN_LEASE)
        except OwnedByAnother:
            return None
