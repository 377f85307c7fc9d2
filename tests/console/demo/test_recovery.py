"""A shard that ended is reported once its cameras' memories are back."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from google.protobuf.timestamp_pb2 import Timestamp

from console.client.client import HermesClient
from console.demo import recovery
from console.demo.recovery import RecoveryWatch
from protos import hermes_v1_pb2 as pb

OLDEST_S = 1_764_200_000


def shards(*, away: int | None = None, pids: tuple[int, int] = (100, 200)) -> list[pb.Shard]:
    return [
        pb.Shard(index=index, pid=pid, state=pb.SHARD_STATE_AWAY if index == away else pb.SHARD_STATE_UP)
        for index, pid in enumerate(pids)
    ]


def camera(
    name: str, shard: int, *, epoch: int = 1, state: int = pb.CAMERA_STATE_LIVE, oldest_s: int = OLDEST_S
) -> pb.Camera:
    memory = pb.MemoryStatus(oldest=Timestamp(seconds=oldest_s))
    return pb.Camera(name=name, shard=shard, epoch=epoch, state=state, memory=memory)


BEFORE = [camera("gate", 0), camera("street", 1), camera("yard", 1)]


def test_one_line_names_the_shard_its_cameras_and_how_far_back_their_memory_goes() -> None:
    watch = RecoveryWatch()
    assert watch.observe(shards(), BEFORE) == []

    recovering = [BEFORE[0], *(camera(name, 1, state=pb.CAMERA_STATE_RECOVERING) for name in ("street", "yard"))]
    partly = [BEFORE[0], camera("street", 0, epoch=2), recovering[2]]
    after = [BEFORE[0], camera("street", 0, epoch=2), camera("yard", 0, epoch=2, oldest_s=OLDEST_S + 5)]

    assert watch.observe(shards(away=1), recovering) == []
    assert watch.observe(shards(away=1), partly) == []
    lines = watch.observe(shards(away=1), after)
    clock = datetime.fromtimestamp(OLDEST_S + 5).strftime("%H:%M:%S")
    assert lines == [f"shard 1 ended; street and yard were restored on shard 0, memory back to {clock}"]
    assert watch.observe(shards(pids=(100, 201)), after) == []


def test_a_shard_that_was_restarted_between_two_polls_is_reported_too() -> None:
    watch = RecoveryWatch()
    watch.observe(shards(), BEFORE)

    lines = watch.observe(shards(pids=(101, 200)), [camera("gate", 0, epoch=2), *BEFORE[1:]])

    assert len(lines) == 1
    assert lines[0].startswith("shard 0 ended; gate was restored on shard 0")


def test_a_camera_that_moves_is_no_recovery() -> None:
    watch = RecoveryWatch()
    watch.observe(shards(), BEFORE)

    assert watch.observe(shards(), [BEFORE[0], camera("street", 0, epoch=2), BEFORE[2]]) == []


def test_a_shard_that_answered_late_is_not_reported() -> None:
    watch = RecoveryWatch()
    watch.observe(shards(), BEFORE)

    assert watch.observe(shards(away=1), BEFORE) == []
    assert watch.observe(shards(), BEFORE) == []
    assert watch.observe(shards(), [BEFORE[0], camera("street", 0, epoch=2), camera("yard", 0, epoch=2)]) == []


def test_a_camera_that_came_to_a_restarted_shard_and_left_it_again_is_no_second_recovery() -> None:
    """The camera may be listed on the shard before the shard itself is listed as up again."""
    watch = RecoveryWatch()
    watch.observe(shards(), BEFORE)
    restored = [camera("gate", 1, epoch=2), *BEFORE[1:]]
    assert len(watch.observe(shards(away=0), restored)) == 1

    back = [camera("gate", 0, epoch=3), *BEFORE[1:]]
    watch.observe(shards(away=0), back)
    watch.observe(shards(pids=(101, 200)), back)

    assert watch.observe(shards(pids=(101, 200)), [camera("gate", 1, epoch=4), *BEFORE[1:]]) == []


class EndingShard:
    """A fleet whose second shard ends between the two calls of a poll: one camera is restored at once, one later."""

    def __init__(self) -> None:
        self.num_calls = 0

    def list_shards(self) -> pb.ListShardsResponse:
        self.num_calls += 1
        return pb.ListShardsResponse(shards=shards(away=1 if self.num_calls > 3 else None))

    def list_cameras(self) -> list[pb.Camera]:
        self.num_calls += 1
        street = camera("street", 0, epoch=2) if self.num_calls > 3 else BEFORE[1]
        yard = camera("yard", 0, epoch=2) if self.num_calls > 5 else BEFORE[2]
        return [BEFORE[0], street, yard]


def test_a_shard_that_ends_during_a_poll_is_reported_with_all_its_cameras() -> None:
    hermes, watch = cast(HermesClient, EndingShard()), RecoveryWatch()

    lines = [line for _ in range(5) for line in recovery.poll(hermes, watch)]

    assert [line.partition(" were")[0] for line in lines] == ["shard 1 ended; street and yard"]
