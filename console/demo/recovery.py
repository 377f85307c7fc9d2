"""Notices that a shard ended and that its cameras' memories were restored, and says so in one line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC

from console.cli import output
from console.client.client import HermesClient
from console.client.errors import ClientError
from protos import hermes_v1_pb2 as pb

_POLL_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class _EndedShard:
    """A process that ended or does not answer, and the epochs of the cameras that it owned."""

    pid: int
    epochs: dict[str, int]

    def is_restored(self, cameras: Mapping[str, pb.Camera]) -> bool:
        """Whether every camera is live again under a later owner."""
        return all(
            name in cameras
            and cameras[name].state == pb.CAMERA_STATE_LIVE
            and cameras[name].epoch > epoch
            and cameras[name].memory.HasField("oldest")
            for name, epoch in self.epochs.items()
        )


class RecoveryWatch:
    """Compares what the fleet reports with what it reported before."""

    def __init__(self) -> None:
        self._pids: dict[int, int] = {}
        self._live_cameras: dict[str, pb.Camera] = {}
        self._ended: dict[int, _EndedShard] = {}

    def observe(self, shards: Sequence[pb.Shard], cameras: Sequence[pb.Camera]) -> list[str]:
        """One line for each shard that ended and whose cameras are all restored by now."""
        by_name = {camera.name: camera for camera in cameras}
        for shard in shards:
            self._observe_shard(shard)
        restored = [index for index, ended in self._ended.items() if ended.is_restored(by_name)]
        lines = [_line(index, list(self._ended.pop(index).epochs), by_name) for index in restored]
        self._live_cameras |= {camera.name: camera for camera in cameras if camera.state == pb.CAMERA_STATE_LIVE}
        return lines

    def _observe_shard(self, shard: pb.Shard) -> None:
        index, pid = shard.index, self._pids.get(shard.index)
        is_away = shard.state == pb.SHARD_STATE_AWAY
        if pid is not None and (is_away or shard.pid != pid):
            del self._pids[index]  # what is on this shard later is no loss of this process
            epochs = {name: camera.epoch for name, camera in self._live_cameras.items() if camera.shard == index}
            if epochs:
                self._ended.setdefault(index, _EndedShard(pid, epochs))
        if is_away:
            return
        if index in self._ended and self._ended[index].pid == shard.pid:
            del self._ended[index]  # it only answered late
        self._pids[index] = shard.pid


def poll(hermes: HermesClient, recovery: RecoveryWatch) -> list[str]:
    """Lets the watch observe the fleet once; returns its lines. A router that does not answer gives none."""
    try:
        # In this order: a camera that is listed on a shard was there while that is listed as running. The other way
        # round, a shard may end in between, and its first cameras are elsewhere before it is known to have ended.
        cameras = hermes.list_cameras()
        return recovery.observe(hermes.list_shards().shards, cameras)
    except ClientError:
        return []


def watch(
    hermes: HermesClient, recovery: RecoveryWatch, is_stopped: threading.Event, on_line: Callable[[str], None]
) -> None:
    """Polls the fleet until `is_stopped`; blocks."""
    while not is_stopped.wait(_POLL_EVERY_S):
        for line in poll(hermes, recovery):
            on_line(line)


def _line(index: int, names: Sequence[str], cameras: Mapping[str, pb.Camera]) -> str:
    """Names the latest of the times that the memories reach back to: it holds for each of them."""
    oldest = max(cameras[name].memory.oldest.ToDatetime(tzinfo=UTC) for name in names)
    successors = sorted({str(cameras[name].shard) for name in names})
    return (
        f"shard {index} ended; {_listed(sorted(names))} {'was' if len(names) == 1 else 'were'} restored on shard "
        f"{_listed(successors)}, memory back to {output.clock_time(oldest)}"
    )


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
