"""How many cameras would still find a slot if the fullest shard were lost, and a warning when none would."""

from __future__ import annotations

import structlog

from actors.fleet.state import FleetState

log = structlog.get_logger(__name__)


class Headroom:
    """Reads the state. One event loop owns it, with the state."""

    def __init__(self, state: FleetState) -> None:
        self._state = state
        self._was_enough = True

    @property
    def cameras(self) -> int:
        """How many could still be added if the fullest shard failed; negative: so many would find no slot."""
        counts, shards = self._state.camera_counts(), self._state.shards
        free = [record.slots - counts[index] if record.is_accepting else 0 for index, record in enumerate(shards)]
        return min(sum(free) - free[index] - counts[index] for index in range(len(shards)))

    def log(self) -> None:
        """Warns when the headroom is used up, and says when it is back."""
        # With one shard there is nothing to fail over to, however many cameras it has.
        is_enough = self.cameras >= 0 or self._state.size.numbers.started == 1
        if is_enough and not self._was_enough:
            log.info("failover_headroom_restored", cameras=self.cameras)
        elif self._was_enough and not is_enough:
            log.warning("failover_headroom_exhausted", cameras=self.cameras)
        self._was_enough = is_enough
