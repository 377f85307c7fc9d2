"""What operators see of the shards of a fleet's state."""

from __future__ import annotations

from actors.fleet import capacity
from actors.fleet.state import FleetState
from actors.fleet.views import ShardView


def of_all(state: FleetState) -> list[ShardView]:
    """The shards that have a process, or shall have one."""
    spares = capacity.kept_empty(state.shards, state.camera_counts(), state.size.numbers.spares)
    present = [index for index, record in enumerate(state.shards) if not record.is_ended]
    return [_view(state, index, spares) for index in present]


def of_one(state: FleetState, index: int) -> ShardView:
    """One shard."""
    return _view(state, index, capacity.kept_empty(state.shards, state.camera_counts(), state.size.numbers.spares))


def _view(state: FleetState, index: int, spares: frozenset[int]) -> ShardView:
    cameras = (record.spec.name for record in state.cameras_on(index))
    return state.shards[index].view(index, cameras, state.size, is_spare=index in spares)
