"""Cameras find a shard, and find it again after it was restarted."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from actors import task_cancellation
from actors.errors import CameraRecovering, InvalidShard, OwnershipUnproven, ShardUnavailable
from actors.fleet import reconciler
from actors.fleet.fleet import Fleet
from actors.fleet.registry import CameraRegistry, InMemoryRegistry, RegistryEntry
from actors.shard.interface import Assignment
from cache_store.checkpoint import StoreUnavailable
from cache_store.leases import InMemoryLeases, Leases, Retired, ShardIncarnation, owned_by
from pipeline.answers import AnswerEvent, UnknownCamera
from pipeline.cameras import (
    CameraExists,
    CameraSpec,
    CameraState,
    InvalidCamera,
    SourceInvalid,
    SourceUnreachable,
    TooManyCameras,
)
from tests.actors.scripted import ANSWER, DONE, STARTED, ScriptedShard, scripted_fleet
from tests.actors.waiting import until


def spec(name: str, url: str = "sim:street") -> CameraSpec:
    return CameraSpec(name=name, url=url)


async def ask(asked: Fleet, camera: str) -> list[AnswerEvent]:
    return [event async for event in asked.ask(camera, "what is in view")]


@pytest.fixture
def shards() -> list[ScriptedShard]:
    return [ScriptedShard(pid=100), ScriptedShard(pid=200)]


@pytest.fixture
def fleet_(shards: list[ScriptedShard]) -> Fleet:
    return scripted_fleet(*shards)


async def test_cameras_are_spread_over_the_shards(fleet_, shards) -> None:
    for name in ("a", "b", "c", "d"):
        await fleet_.add_camera(spec(name))

    assert [sorted(one.assignments) for one in shards] == [["a", "c"], ["b", "d"]]


async def test_a_shard_that_is_away_gets_no_new_camera(fleet_, shards) -> None:
    shards[0].is_away = True
    await fleet_.reconcile()

    placed = await fleet_.add_camera(spec("a"))

    assert placed.shard_index == 1


async def test_adding_a_camera_twice_is_adding_it_once(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    await fleet_.add_camera(spec("a"))

    assert [len(one.assignments) for one in shards] == [1, 0]


async def test_another_camera_cannot_take_a_name(fleet_) -> None:
    await fleet_.add_camera(spec("a"))

    with pytest.raises(CameraExists, match="'a' exists"):
        await fleet_.add_camera(spec("a", "sim:yard"))


async def test_a_malformed_url_is_refused_before_any_shard_hears_of_it(fleet_, shards) -> None:
    with pytest.raises(InvalidCamera, match="ftp"):
        await fleet_.add_camera(spec("a", "ftp://host/x"))

    assert await fleet_.list_cameras() == []


@pytest.mark.parametrize(
    ("state", "detail", "expected", "told"),
    [
        (CameraState.FAILED, "no video in it", SourceInvalid, "no video in it"),
        (CameraState.BACKING_OFF, "refused; try 2 in 1.5 s", SourceUnreachable, "refused"),
        (CameraState.CONNECTING, "", SourceUnreachable, "no frame within 0 s of sim:street"),
    ],
)
async def test_a_camera_that_shows_nothing_is_not_kept(fleet_, shards, state, detail, expected, told) -> None:
    shards[0].states["a"] = (state, detail)

    with pytest.raises(expected, match=f"{told}; the camera was not added$"):
        await fleet_.add_camera(spec("a"))

    assert shards[0].assignments == {}
    assert shards[0].forgotten == []
    assert await fleet_.list_cameras() == []


async def test_an_expected_camera_is_kept_although_it_shows_nothing(fleet_, shards) -> None:
    shards[0].states["a"] = (CameraState.BACKING_OFF, "connection refused")
    fleet_.add_configured_camera(spec("a"))
    await fleet_.reconcile()

    placed = await fleet_.get_camera("a")

    assert placed.status.state is CameraState.BACKING_OFF
    assert placed.status.detail == "connection refused"


async def test_a_full_fleet_refuses_a_camera(shards) -> None:
    full = scripted_fleet(ScriptedShard(max_cameras=1))
    await full.add_camera(spec("a"))

    with pytest.raises(TooManyCameras):
        await full.add_camera(spec("b"))

    assert [placed.status.name for placed in await full.list_cameras()] == ["a"]


async def test_a_shard_that_comes_back_empty_gets_its_cameras_back(fleet_, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet_.add_camera(spec(name))
    before = dict(shards[0].assignments)

    shards[0].restart()
    await fleet_.reconcile()

    assert shards[0].assignments == before
    assert before["a"].started_s == 500.0


async def test_a_camera_is_recovering_while_its_shard_is_away(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[0].is_away = True

    placed = await fleet_.get_camera("a")

    assert placed.status.state is CameraState.RECOVERING
    assert placed.status.memory.frames_seen == 8
    with pytest.raises(ShardUnavailable, match="shard 0 is restarting"):
        await ask(fleet_, "a")


async def test_a_camera_is_recovering_until_its_shard_has_it_back(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[0].restart()

    with pytest.raises(CameraRecovering, match="'a'"):
        await ask(fleet_, "a")

    await fleet_.reconcile()
    assert await ask(fleet_, "a") == list(ANSWER)


async def test_a_camera_that_its_shard_lacks_is_not_shown_as_live(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[0].restart()

    placed = await fleet_.get_camera("a")

    assert placed.status.state is CameraState.RECOVERING
    assert placed.status.detail == "not restored yet on shard 0"


async def test_a_camera_waits_for_a_store_that_is_down(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[0].restart()
    shards[0].refusal = StoreUnavailable("store redis://host: refused")
    await fleet_.reconcile()

    assert (await fleet_.get_camera("a")).status.detail == "store redis://host: refused"

    shards[0].refusal = None
    await fleet_.reconcile()
    assert (await fleet_.get_camera("a")).status.state is CameraState.LIVE


async def test_the_other_shard_goes_on_while_one_is_away(fleet_, shards) -> None:
    for name in ("a", "b"):
        await fleet_.add_camera(spec(name))
    shards[0].is_away = True
    await fleet_.reconcile()

    assert await ask(fleet_, "b") == list(ANSWER)
    assert fleet_.is_up


async def test_a_removed_camera_does_not_come_back(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    await fleet_.remove_camera("a")
    await fleet_.reconcile()

    assert shards[0].assignments == {}
    assert shards[0].forgotten == ["a"]
    with pytest.raises(UnknownCamera, match="watched: none"):
        await ask(fleet_, "a")


async def test_an_unknown_camera_is_named_with_those_there_are(fleet_) -> None:
    await fleet_.add_camera(spec("gate"))

    with pytest.raises(UnknownCamera, match=r"'gaet': not watched here \(watched: gate\)"):
        await fleet_.get_camera("gaet")


async def test_leaving_an_answer_early_stops_it(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    events = fleet_.ask("a", "what is in view")
    await anext(events)
    assert shards[0].unfinished == 1

    await events.aclose()

    assert shards[0].unfinished == 0


async def test_the_loop_gives_cameras_back_by_itself(fleet_, shards) -> None:
    fleet_.add_configured_camera(spec("a"))
    loop = asyncio.create_task(fleet_.run())
    try:
        await until(lambda: bool(shards[0].assignments))
    finally:
        await task_cancellation.end(loop)


@pytest.fixture
def leases() -> InMemoryLeases:
    return InMemoryLeases()


async def test_the_cameras_of_a_shard_that_is_gone_find_another(shards, leases) -> None:
    await leases.renew(ShardIncarnation("100"))
    held = scripted_fleet(*shards, leases=leases)
    for name in ("a", "b", "c"):
        await held.add_camera(spec(name))
    shards[0].is_away = True
    await held.reconcile()
    await held.reconcile()

    assert sorted(shards[1].assignments) == ["a", "b", "c"]
    assert (await held.get_camera("a")).shard_index == 1
    assert await ask(held, "a") == list(ANSWER)


async def test_the_cameras_of_a_shard_whose_lease_is_renewed_stay_on_it(shards, leases) -> None:
    """It may only be slow: whoever renews still speaks for its cameras."""
    held = scripted_fleet(*shards, leases=leases, length_s=60.0)
    await held.add_camera(spec("a"))
    shards[0].is_away = True
    for _ in range(3):
        await leases.renew(ShardIncarnation("100"))
        await held.reconcile()

    assert shards[1].assignments == {}
    assert (await held.get_camera("a")).status.state is CameraState.RECOVERING


async def is_told_to_stop(leases: Leases, owner: str) -> bool:
    try:
        await leases.renew(ShardIncarnation(owner))
    except Retired:
        return True
    return False


async def test_a_process_that_lives_on_although_another_took_its_place_is_told_to_stop(shards, leases) -> None:
    """As when its node was given up: it renews its lease for ever, and nobody reaches it."""
    held = scripted_fleet(*shards, leases=leases, length_s=60.0)
    await held.add_camera(spec("a"))
    shards[0].restart()
    shards[0].refusal = owned_by("a", "100")
    await held.reconcile()

    assert await is_told_to_stop(leases, "100")


async def test_an_owner_whom_no_shard_answers_as_is_told_to_stop_after_a_while(
    shards, leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = scripted_fleet(*shards, leases=leases, length_s=60.0)
    held.add_configured_camera(spec("a"))
    shards[0].refusal = owned_by("a", "earlier")
    await held.reconcile()
    assert not await is_told_to_stop(leases, "earlier")

    monkeypatch.setattr(reconciler, "_UNKNOWN_GRACE_S", 0.0)
    await held.reconcile()

    assert await is_told_to_stop(leases, "earlier")


async def test_an_owner_whom_a_shard_answers_as_is_not_told_to_stop(
    shards, leases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "_UNKNOWN_GRACE_S", 0.0)
    held = scripted_fleet(*shards, leases=leases, length_s=60.0)
    await held.reconcile()
    held.add_configured_camera(spec("a"))
    shards[0].refusal = owned_by("a", "200")
    await held.reconcile()

    assert not await is_told_to_stop(leases, "200")
    assert list(shards[1].assignments) == ["a"]


async def test_without_room_elsewhere_a_camera_waits_for_its_shard_and_says_so(leases) -> None:
    shards = [ScriptedShard(pid=100), ScriptedShard(pid=200, max_cameras=1)]
    held = scripted_fleet(*shards, leases=leases)
    for name in ("a", "b"):
        await held.add_camera(spec(name))
    shards[0].is_away = True
    await held.reconcile()
    await held.reconcile()

    assert (await held.get_camera("a")).status.detail == "shard 0 is restarting"
    with pytest.raises(ShardUnavailable):
        await ask(held, "a")
    shards[0].is_away = False
    await held.reconcile()
    assert await ask(held, "a") == list(ANSWER)


async def test_a_camera_is_followed_to_the_shard_that_owns_it_by_now(fleet_, shards) -> None:
    """As after a hand-over that was made although no answer came."""
    await fleet_.add_camera(spec("a"))
    shards[1].assignments["a"] = shards[0].assignments.pop("a")
    shards[1].epoch = 7

    await fleet_.reconcile()

    assert (await fleet_.get_camera("a")).shard_index == 1
    assert (await fleet_.get_camera("a")).status.epoch == 7


async def test_an_answer_of_an_epoch_that_is_over_is_not_passed_on(fleet_, shards) -> None:
    shards[0].epoch = 7
    await fleet_.add_camera(spec("a"))

    with pytest.raises(CameraRecovering, match=r"stale owner, epoch 0 \(newest 7\)"):
        await ask(fleet_, "a")


async def test_a_question_is_asked_again_where_the_camera_went_before_a_word_was_said(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[0].pause_s = 0.05
    asked = asyncio.create_task(ask(fleet_, "a"))
    await asyncio.sleep(0.02)
    shards[1].assignments["a"] = shards[0].assignments["a"]
    shards[1].epoch = 7
    shards[0].answer = [STARTED, OwnershipUnproven("camera 'a': lease")]
    shards[1].answer = [replace(STARTED, epoch=7), DONE]
    await fleet_.reconcile()

    assert await asked == [replace(STARTED, epoch=7), DONE]


async def test_a_camera_whose_earlier_owner_still_speaks_is_known_and_waits(shards) -> None:
    shards[0].refusal = owned_by("a", "earlier")
    held = scripted_fleet(*shards, length_s=60.0)

    placed = await held.add_camera(spec("a"))

    assert placed.status.state is CameraState.RECOVERING
    assert placed.status.detail == "camera 'a': owned by shard earlier"
    shards[0].refusal = None
    await held.reconcile()
    assert (await held.get_camera("a")).status.state is CameraState.LIVE


class OwningShard(ScriptedShard):
    """Takes a camera only as what grants them lets it."""

    def __init__(self, leases: Leases) -> None:
        super().__init__(pid=100)
        self.attempts = 0
        self._granted_by = leases

    async def add_camera(self, assignment: Assignment) -> None:
        self.attempts += 1
        await self._granted_by.acquire(assignment.spec.name, "100", gone=assignment.expiry)
        await super().add_camera(assignment)


async def test_a_store_that_proved_its_memory_once_grants_new_cameras_at_the_first_attempt_until_it_forgets() -> None:
    leases = InMemoryLeases()
    owning = OwningShard(leases)
    held = scripted_fleet(owning, leases=leases)
    await held.add_camera(spec("a"))
    await held.reconcile()
    assert "a" in owning.assignments

    owning.attempts = 0
    await held.add_camera(spec("b"))
    assert (owning.attempts, set(owning.assignments)) == (1, {"a", "b"})

    leases.forget_everything()
    await held.add_camera(spec("c"))
    assert set(owning.assignments) == {"a", "b"}
    await held.reconcile()
    assert set(owning.assignments) == {"a", "b", "c"}


async def test_a_camera_that_was_added_is_watched_by_the_next_system_and_a_removed_one_is_not(shards) -> None:
    known = InMemoryRegistry()
    earlier = scripted_fleet(*shards, known=known)
    for name in ("a", "b"):
        await earlier.add_camera(spec(name))
    await earlier.remove_camera("b")

    later = scripted_fleet(ScriptedShard(), known=known)
    later.add_configured_camera(spec("c"))
    await later.remove_unconfigured()
    await later.reconcile()

    assert [placed.status.name for placed in await later.list_cameras()] == ["a", "c"]
    assert later.started_s("a") == 500.0


async def test_a_camera_that_shows_nothing_is_not_remembered(shards) -> None:
    known = InMemoryRegistry()
    shards[0].states["a"] = (CameraState.FAILED, "no video in it")

    with pytest.raises(SourceInvalid):
        await scripted_fleet(*shards, known=known).add_camera(spec("a"))

    assert await names(known) == []


async def names(known: CameraRegistry) -> list[str]:
    found = await known.snapshot_since(None)
    assert found is not None
    return list(found.entries)


async def test_a_camera_of_the_configuration_goes_before_one_that_is_remembered(shards) -> None:
    known = InMemoryRegistry()
    await scripted_fleet(*shards, known=known).add_camera(spec("a", "sim:old"))

    later = scripted_fleet(ScriptedShard(), known=known)
    later.add_configured_camera(spec("a", "sim:new"))
    await later.remove_unconfigured()
    await later.reconcile()

    assert [placed.status.url for placed in await later.list_cameras()] == ["sim:new"]


async def test_a_camera_that_the_configuration_names_no_more_is_not_watched_any_more(shards) -> None:
    known = InMemoryRegistry()
    earlier = scripted_fleet(*shards, known=known)
    earlier.add_configured_camera(spec("a"))
    await earlier.reconcile()

    later = scripted_fleet(ScriptedShard(), known=known)
    await later.remove_unconfigured()
    await later.reconcile()

    assert await later.list_cameras() == []


async def test_what_one_fleet_adds_and_removes_another_over_the_same_shards_hears_of(shards) -> None:
    known = InMemoryRegistry()
    one = scripted_fleet(*shards, known=known)
    other = scripted_fleet(*shards, known=known, is_leader=lambda: False)
    await one.add_camera(spec("a"))
    await other.reconcile()
    assert await ask(other, "a") == list(ANSWER)

    await one.remove_camera("a")
    await other.reconcile()

    with pytest.raises(UnknownCamera):
        await ask(other, "a")


async def test_a_camera_that_another_fleet_added_a_moment_ago_cannot_be_added_as_another(shards) -> None:
    known = InMemoryRegistry()
    one, other = scripted_fleet(*shards, known=known), scripted_fleet(*shards, known=known)
    await one.add_camera(spec("a"))

    with pytest.raises(CameraExists):
        await other.add_camera(spec("a", "sim:yard"))


async def test_a_fleet_that_does_not_supervise_gives_no_shard_a_camera(shards) -> None:
    held = scripted_fleet(*shards, is_leader=lambda: False)
    held.add_configured_camera(spec("a"))
    await held.reconcile()

    assert shards[0].assignments == {}
    assert (await held.get_camera("a")).status.state is CameraState.CONNECTING


async def test_a_registry_that_comes_back_empty_is_told_again(shards) -> None:
    known = InMemoryRegistry()
    held = scripted_fleet(*shards, known=known)
    await held.add_camera(spec("a"))
    await held.reconcile()
    known.forget_everything()

    await held.reconcile()

    assert await names(known) == ["a"]
    assert await ask(held, "a") == list(ANSWER)


async def test_what_one_fleet_tells_a_registry_that_came_back_empty_costs_another_none_of_its_cameras(shards) -> None:
    known = InMemoryRegistry()
    held = scripted_fleet(*shards, known=known)
    for name in ("a", "b"):
        await held.add_camera(spec(name))
    await held.reconcile()
    known.forget_everything()
    await known.add(RegistryEntry(Assignment(spec=spec("b"), started_s=500.0)))

    await held.reconcile()

    assert await names(known) == ["a", "b"]
    assert [placed.status.name for placed in await held.list_cameras()] == ["a", "b"]


async def test_a_supervisor_that_starts_anew_finds_the_cameras_where_they_are(shards) -> None:
    known = InMemoryRegistry()
    earlier = scripted_fleet(*shards, known=known)
    for name in ("a", "b", "c"):
        await earlier.add_camera(spec(name))
    for one in shards:
        one.epoch = 7
    await earlier.move_camera("a", 1)

    later = scripted_fleet(*shards, known=known)
    await later.reconcile()

    assert [sorted(one.assignments) for one in shards] == [["c"], ["a", "b"]]
    assert (await later.get_camera("a")).shard_index == 1


async def test_a_shard_that_comes_later_takes_cameras_over(shards) -> None:
    shards[1].is_away = True
    held = scripted_fleet(*shards)
    await held.reconcile()
    for name in ("a", "b", "c", "d"):
        await held.add_camera(spec(name))

    shards[1].is_away = False
    loop = asyncio.create_task(held.run())
    try:
        await until(lambda: len(shards[1].assignments) == 2)
    finally:
        await task_cancellation.end(loop)

    assert len(shards[0].assignments) == 2


async def test_a_shard_that_says_that_it_is_drained_is_emptied(fleet_, shards) -> None:
    """As its process does when it is told to end."""
    for name in ("a", "b"):
        await fleet_.add_camera(spec(name))
    await shards[0].drain()

    loop = asyncio.create_task(fleet_.run())
    try:
        await until(lambda: not shards[0].assignments)
    finally:
        await task_cancellation.end(loop)

    assert sorted(shards[1].assignments) == ["a", "b"]


async def test_a_spare_shard_stays_empty_while_the_others_have_room() -> None:
    shards = [ScriptedShard(pid=100 * (number + 1), max_cameras=2) for number in range(3)]
    held = scripted_fleet(*shards, spares=1)
    await held.reconcile()
    for name in ("a", "b", "c", "d", "e"):
        await held.add_camera(spec(name))

    assert [sorted(one.assignments) for one in shards] == [["a", "c"], ["b", "d"], ["e"]]


async def test_headroom_is_what_is_left_when_the_fullest_shard_is_lost(fleet_, shards) -> None:
    assert scripted_fleet(ScriptedShard()).headroom == 0
    await fleet_.reconcile()
    assert fleet_.headroom == 16
    for number in range(10):
        await fleet_.add_camera(spec(f"camera{number}"))
    assert fleet_.headroom == 16 - 10
    shards[1].is_away = True
    await fleet_.reconcile()
    assert fleet_.headroom == -10


async def test_a_shard_that_nobody_reaches_is_told_to_stop(shards, leases, monkeypatch) -> None:
    """It may be alive, and would keep its cameras for ever."""
    monkeypatch.setattr(reconciler, "_UNREACHABLE_GRACE_S", 0.0)
    zombie = ShardIncarnation("100")
    await leases.renew(zombie)
    held = scripted_fleet(*shards, leases=leases, length_s=60.0)
    await held.add_camera(spec("a"))
    shards[0].is_away = True
    await held.reconcile()

    with pytest.raises(Retired):
        await leases.renew(zombie)


async def test_a_camera_moves_to_the_emptiest_other_shard_and_is_not_forgotten(fleet_, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet_.add_camera(spec(name))

    placed = await fleet_.move_camera("a")

    assert placed.shard_index == 1
    assert sorted(shards[1].assignments) == ["a", "b"]
    assert shards[0].forgotten == []
    assert await ask(fleet_, "a") == list(ANSWER)


async def test_questions_wait_for_a_camera_that_moves(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[1].busy_s = 0.3
    moving = asyncio.create_task(fleet_.move_camera("a", 1))
    await asyncio.sleep(0.05)

    assert await ask(fleet_, "a") == list(ANSWER)
    assert (await moving).shard_index == 1


async def test_a_camera_that_finds_no_room_comes_back(fleet_, shards) -> None:
    await fleet_.add_camera(spec("a"))
    shards[1].refusal = TooManyCameras("camera 'a': all 0 slots are taken")

    with pytest.raises(TooManyCameras):
        await fleet_.move_camera("a", 1)
    await fleet_.reconcile()

    assert (await fleet_.get_camera("a")).shard_index == 0
    assert await ask(fleet_, "a") == list(ANSWER)


async def test_a_drained_shard_is_empty_and_stays_so(fleet_, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet_.add_camera(spec(name))

    drained = await fleet_.drain(0)
    await fleet_.add_camera(spec("d"))

    assert (drained.is_draining, drained.cameras) == (True, ())
    assert shards[0].assignments == {}
    assert [one.cameras for one in await fleet_.list_shards()] == [(), ("a", "b", "c", "d")]


@pytest.mark.parametrize(
    ("index", "why"), [(2, "shard 2: there are 0 to 1"), (-1, "there are 0 to 1"), (1, "takes no cameras now")]
)
async def test_a_shard_that_is_none_or_away_is_refused_as_a_target(fleet_, shards, index, why) -> None:
    await fleet_.add_camera(spec("a"))
    shards[1].is_away = True
    await fleet_.reconcile()

    with pytest.raises(InvalidShard, match=why):
        await fleet_.move_camera("a", index)

    assert await ask(fleet_, "a") == list(ANSWER)


async def test_a_camera_that_is_not_back_yet_does_not_keep_the_others_of_a_drained_shard(fleet_, shards) -> None:
    for name in ("a", "b", "c"):
        await fleet_.add_camera(spec(name))
    del shards[0].assignments["a"]

    with pytest.raises(CameraRecovering, match="'a': not restored yet on shard 0"):
        await fleet_.move_camera("a")
    drained = await fleet_.drain(0)

    assert drained.cameras == ("a",)
    assert sorted(shards[1].assignments) == ["b", "c"]
