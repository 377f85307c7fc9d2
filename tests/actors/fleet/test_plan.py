"""Whatever the fleet looks like, plans lead to what shall be, and lose nothing on the way."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.fleet.actions import Assign, Drop, FinishRemoval, Move, Release, Revoke, Update, Wait
from actors.fleet.capacity import ASSIGNMENTS_AT_ONCE, MOVES_AT_ONCE
from actors.fleet.plan import UNWANTED_GRACE_S, plan
from actors.fleet.snapshot import (
    CameraSnapshot,
    FleetSnapshot,
    RemovalSnapshot,
    ReportedCamera,
    ShardSnapshot,
)
from tests.actors.fleet.planned_world import ModelShard, World

CAMERAS = [f"camera{number}" for number in range(8)]
REMOVED = [f"removed{number}" for number in range(3)]
STRANGERS = [f"stranger{number}" for number in range(3)]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Any fleet with room for its cameras: shards down, dead or draining, cameras nowhere, anywhere or twice."""
    world = World([ModelShard(slots=20) for _ in range(draw(st.integers(2, 4)))])
    indices = st.integers(0, len(world.shards) - 1)
    for camera_id in draw(st.lists(st.sampled_from(CAMERAS), unique=True)):
        world.want(camera_id, revision=draw(st.integers(0, 2)))
    for camera_id in draw(st.lists(st.sampled_from(CAMERAS + REMOVED + STRANGERS), max_size=12)):
        world.put(camera_id, draw(indices))
    for camera_id in draw(st.lists(st.sampled_from(REMOVED), unique=True)):
        world.state.begin_removal(camera_id, camera_id)
    for shard in world.shards[1:]:  # one shard always works
        shard.is_up, shard.is_draining = draw(st.booleans()), draw(st.booleans())
        shard.is_expired = not shard.is_up and draw(st.booleans())
    return world


@given(worlds())
@settings(deadline=None, max_examples=150)
def test_plans_lead_to_what_shall_be(world: World) -> None:
    world.run(60)

    for camera_id, record in world.state.cameras_by_id.items():
        assert world.owners(camera_id) == [record.shard_index]
        assert not world.shards[record.shard_index].is_draining
        assert world.shards[record.shard_index].cameras[camera_id].revision >= record.assignment.revision
    for camera_id in [*REMOVED, *STRANGERS]:
        assert world.owners(camera_id) == []
    assert world.state.removals == {}


@given(worlds())
@settings(deadline=None, max_examples=150)
def test_no_plan_ends_the_newest_copy_of_a_camera_that_shall_be_watched(world: World) -> None:
    for _ in range(60):
        newest = dict(world.epochs)
        copies = {
            (camera_id, index): camera.epoch
            for index, shard in enumerate(world.shards)
            for camera_id, camera in shard.cameras.items()
        }
        before = len(world.actions)
        world.step()
        for action in world.actions[before:]:
            if isinstance(action, Drop | Release) and action.camera_id in world.state.cameras_by_id:
                assert copies[action.camera_id, action.shard] < newest[action.camera_id]
            if isinstance(action, FinishRemoval):
                assert action.camera_id not in world.state.cameras_by_id


@given(worlds())
@settings(deadline=None, max_examples=100)
def test_a_plan_is_pure_and_its_actions_are_bounded_on_each_shard(world: World) -> None:
    for _ in range(3):
        world.step()
        snapshot = world.state.snapshot(world.now_s)
        actions = plan(snapshot)
        assert plan(snapshot) == actions
        for index in range(len(world.shards)):
            assigned = [action for action in actions if isinstance(action, Assign | Update) and action.shard == index]
            moved = [action for action in actions if isinstance(action, Move) and action.from_shard == index]
            assert len(assigned) <= ASSIGNMENTS_AT_ONCE
            assert len(moved) <= MOVES_AT_ONCE
        cameras = [action.camera_id for action in actions if isinstance(action, Assign | Move | Update | Wait)]
        assert len(cameras) == len(set(cameras))


def fleet_of(*shards: ShardSnapshot, cameras: tuple[CameraSnapshot, ...] = (), **fields: object) -> FleetSnapshot:
    by_id = {camera.id: camera for camera in cameras}
    return FleetSnapshot(now_s=100.0, synced_s=100.0, shards=shards, cameras=by_id, **fields)  # type: ignore[arg-type]


def shard(index: int, *cameras: str, since_s: float | None = None, **fields: object) -> ShardSnapshot:
    reported = {camera_id: ReportedCamera(epoch=1, unwanted_since_s=since_s) for camera_id in cameras}
    return ShardSnapshot(index=index, incarnation=str(index), slots=4, cameras=reported, **fields)  # type: ignore[arg-type]


def test_only_the_leader_plans() -> None:
    fleet = fleet_of(shard(0), cameras=(CameraSnapshot(id="a", shard=0),))

    assert plan(fleet) == (Assign("a", 0),)
    assert plan(FleetSnapshot(now_s=100.0, is_leader=False, shards=fleet.shards, cameras=fleet.cameras)) == ()


def test_orphans_do_not_keep_a_camera_from_a_shard_that_has_room() -> None:
    full = shard(0, "x1", "x2", "x3", "x4", since_s=99.0)

    assert plan(fleet_of(full, shard(1), cameras=(CameraSnapshot(id="a", shard=0),))) == (Assign("a", 1),)


def test_a_camera_that_the_registry_does_not_have_is_released_only_after_a_grace_period_with_a_registry() -> None:
    late = 100.0 - UNWANTED_GRACE_S
    assert plan(fleet_of(shard(0, "x", since_s=late))) == (Release("x", 0),)

    assert Release("x", 0) not in plan(fleet_of(shard(0, "x", since_s=late + 1.0)))
    unsynced = FleetSnapshot(now_s=100.0, synced_s=90.0, shards=(shard(0, "x", since_s=late),))
    assert Release("x", 0) not in plan(unsynced)


def test_an_unwanted_camera_without_an_owner_is_dropped_because_it_cannot_be_saved() -> None:
    kept = ReportedCamera(epoch=0, is_owned=False, unwanted_since_s=100.0 - UNWANTED_GRACE_S)

    assert plan(fleet_of(ShardSnapshot(index=0, incarnation="0", slots=4, cameras={"x": kept}))) == (Drop("x", 0),)


def test_a_removed_camera_is_left_to_its_removal() -> None:
    fleet = fleet_of(shard(0, "x", since_s=0.0), removals={"x": RemovalSnapshot(id="x")})

    assert plan(fleet) == (FinishRemoval("x"),)


def test_the_owner_of_a_shard_away_is_revoked_after_a_grace_period_and_a_healthy_shard_never() -> None:
    away = shard(0, is_up=False, down_since_s=97.0)
    assert plan(fleet_of(away, shard(1))) == (Revoke("0"),)

    assert Revoke("0") not in plan(fleet_of(shard(0, is_up=False, down_since_s=97.1), shard(1)))
    reachable = fleet_of(shard(0), shard(1), unknown_owners={"1": 0.0})
    assert Revoke("1") not in plan(reachable)


def test_the_cameras_of_a_draining_shard_move_several_at_a_time_and_one_without_room_has_a_reason() -> None:
    cameras = tuple(CameraSnapshot(id=f"c{number}", shard=0, newest_epoch=1) for number in range(4))
    draining = shard(0, *(camera.id for camera in cameras), is_draining=True)

    assert len(plan(fleet_of(draining, shard(1), cameras=cameras))) == 4
    waits = plan(fleet_of(draining, cameras=cameras))
    assert waits == tuple(Wait(camera.id, "no other shard that takes cameras has a free slot") for camera in cameras)


def test_a_camera_whose_shard_has_ended_meanwhile_goes_to_another_one() -> None:
    """A move away from the last shard can fail after that shard, empty for the moment, was ended."""
    ended = ShardSnapshot(index=1, incarnation="1", is_up=False, is_retiring=True, is_ended=True)
    fleet = fleet_of(shard(0), ended, cameras=(CameraSnapshot(id="a", shard=1, newest_epoch=1),))

    assert plan(fleet) == (Assign("a", 0),)
