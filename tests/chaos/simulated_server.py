"""A server's process: the real fleet, its election and its settings, started as a system starts them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from actors.errors import ServiceError
from actors.fleet import shared_settings
from actors.fleet.fleet import Fleet
from actors.fleet.removal import MemoryEraser
from actors.fleet.scaler import FleetSize
from actors.fleet.settings_follower import SettingsFollower
from actors.fleet.shared_settings import SharedSettings
from actors.ownership.failure_detector import FailureDetector
from actors.ownership.leader_election import LeaderElection
from cache_store.errors import StoreError
from cache_store.leases import UNOWNED
from pipeline.cameras import CameraSpec
from tests.chaos.simulated_pool import SimulatedPool
from tests.chaos.simulated_shard import LEASE, SimulatedShard
from tests.chaos.simulated_store import (
    SimulatedStore,
    StoreCheckpoints,
    StoreLeases,
    StoreNumbers,
    StoreRegistry,
    StoreSettings,
)
from tests.chaos.virtual_process import VirtualProcess

_RESTART_S = 1.0  # after a start that failed


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a server is started with. version: of `shards`, the number of shards."""

    cameras: tuple[CameraSpec, ...]
    shards: int = 3
    version: int = 1


class SimulatedServer:
    """One of the servers over the same shards, and the process that it runs in now."""

    def __init__(
        self, number: int, shards: Sequence[SimulatedShard], store: SimulatedStore, rng: random.Random
    ) -> None:
        self._number = number
        self._shards = shards
        self._store = store
        self._rng = rng
        self.fleet: Fleet | None = None  # while it serves
        self.processes = [VirtualProcess("")]

    @property
    def process(self) -> VirtualProcess:
        return self.processes[-1]

    def restart(self, configuration: Configuration) -> None:
        """Ends the process, if one runs, as by SIGKILL, and starts another."""
        self.stop()
        rate = self._rng.choice((1.0, 1.0, 0.98, 1.02))
        self.processes.append(VirtualProcess(f"server {self._number}", machine=self._number, clock_rate=rate))
        self.process.start(self._run(self.process, configuration))

    def stop(self) -> None:
        """Ends the process, if one runs, as by SIGKILL."""
        self.process.kill()
        self.fleet = None

    async def _run(self, process: VirtualProcess, configuration: Configuration) -> None:
        while True:
            try:
                await self._serve(process, configuration)
            except (StoreError, ServiceError):
                self.fleet = None
                await asyncio.sleep(_RESTART_S)

    async def _serve(self, process: VirtualProcess, configuration: Configuration) -> None:
        leases, settings = StoreLeases(self._store), StoreSettings(self._store)
        failure_detector = FailureDetector(leases, LEASE.length_s, clock=process.monotonic_s)
        await failure_detector.expiry(UNOWNED)
        limits = {"shards.min": configuration.shards, "shards.max": configuration.shards, "shards.spares": 0}
        own = SharedSettings(configuration.version, limits)
        agreement = await settings.agree(own)
        agreed, precedence = shared_settings.usable(own, agreement.newest), agreement.precedence(own.version)
        election = LeaderElection(leases, failure_detector, LEASE, clock=process.boot_s)
        fleet = Fleet(
            FleetSize(pool=SimulatedPool(self._shards), numbers=agreed.limits, store=StoreNumbers(self._store)),
            failure_detector,
            StoreRegistry(self._store),
            MemoryEraser(leases.fence, StoreCheckpoints(self._store).delete),
            is_leader=election.is_leader,
            clock=process.wall_s,
        )
        follower = SettingsFollower(settings, agreed, lambda newest: fleet.adopt(newest.limits))
        fleet.configure(configuration.cameras, lambda: precedence)
        await election.campaign()
        await fleet.reconcile()
        self.fleet = fleet
        await asyncio.gather(election.run(), fleet.run(), follower.run())
