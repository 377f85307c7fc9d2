"""A fleet's records have one writer, and find each camera a shard."""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path

import pytest

from actors.errors import ShardUnavailable
from actors.fleet.records import CameraRecord, RemovalRecord
from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.shard_record import ShardRecord
from actors.fleet.snapshot import CameraSnapshot
from actors.fleet.state import FleetState
from actors.shard.interface import Assignment, ShardStatus
from pipeline.cameras import CameraSpec, CameraState
from tests.actors.scripted import ScriptedShard

ACTORS = Path(__file__).parents[3] / "actors"
FIELDS = {
    *(field.name for record in (CameraRecord, RemovalRecord, ShardRecord) for field in fields(record)),
    *(name for name in vars(FleetState(())) if not name.startswith("_")),
} - {"lock"}
WRITERS = {ACTORS / "fleet" / "records.py", ACTORS / "fleet" / "shard_record.py", ACTORS / "fleet" / "state.py"}
MUTATIONS = {"append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}


# No other room sees a record: it gets views, which are frozen.
def test_only_the_records_and_the_state_assign_the_fields_of_a_fleet() -> None:
    writes = [
        f"{file.relative_to(ACTORS)}:{line} {name}"
        for file in sorted((ACTORS / "fleet").rglob("*.py"))
        if file not in WRITERS
        for line, name in foreign_writes(ast.parse(file.read_text()))
    ]

    assert writes == []


def test_the_check_finds_assignments_deletions_and_mutations_of_another_object_s_fields() -> None:
    source = """
record.status = status
record.slots += 1
del state.cameras["gate"]
state.cameras["gate"] = record
(record.is_up, second), third = values
record.pid: int = 1
self._state.cameras.pop("gate")
self.status = status
status = record.status
"""

    assert [name for _, name in foreign_writes(ast.parse(source))] == [
        "status",
        "slots",
        "cameras",
        "cameras",
        "is_up",
        "pid",
        "cameras",
    ]


def foreign_writes(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of each field of a record or the state that is written through anything but `self`."""
    for node in ast.walk(tree):
        for target in written(node):
            while isinstance(target, ast.Subscript):
                target = target.value
            if isinstance(target, ast.Attribute) and target.attr in FIELDS and not is_self(target.value):
                yield target.lineno, target.attr


def written(node: ast.AST) -> list[ast.expr]:
    """The expressions that a statement or a call writes to."""
    if isinstance(node, ast.Assign | ast.Delete):
        return [part for target in node.targets for part in flat(target)]
    if isinstance(node, ast.AugAssign | ast.AnnAssign):
        return [node.target]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATIONS:
        return [node.func.value]
    return []


def flat(target: ast.expr) -> list[ast.expr]:
    if isinstance(target, ast.Tuple | ast.List):
        return [part for element in target.elts for part in flat(element)]
    return [target]


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


async def test_a_snapshot_is_the_same_object_until_something_that_a_plan_depends_on_changes() -> None:
    """Otherwise each plan of ten thousand cameras makes as many objects, and the garbage collector stops the leader."""
    state = FleetState([ScriptedShard(), ScriptedShard()])
    record = state.add(Assignment(id="a", spec=CameraSpec(name="a", url="sim:street"), started_s=0.0))
    status = replace(record.status, state=CameraState.LIVE, epoch=3)
    state.observe(0, ShardStatus(pid=1, incarnation="one", cameras=(status,)), 1.0)
    before = state.snapshot(1.0)

    state.observe(0, ShardStatus(pid=1, incarnation="one", cameras=(replace(status, detail="night"),)), 2.0)

    after = state.snapshot(2.0)
    assert after.cameras["a"] is before.cameras["a"]
    assert after.shards[0].cameras["a"] is before.shards[0].cameras["a"]
    async with record.lock:
        assert state.snapshot(3.0).cameras["a"].is_busy
    assert not state.snapshot(4.0).cameras["a"].is_busy


def test_each_change_of_a_camera_is_in_the_next_snapshot() -> None:
    state = FleetState([ScriptedShard(), ScriptedShard()])
    record = state.add(Assignment(id="a", spec=CameraSpec(name="a", url="sim:street"), started_s=0.0))

    record.mark_question(5.0)
    record.postpone(6.0)
    record.mark_refused("no such file")
    state.observe_epoch(record, 7, 5.0)
    state.reassign(record, 1)

    assert record.snapshot() == CameraSnapshot(
        id="a", shard=1, newest_epoch=7, last_question_s=5.0, retry_at_s=6.0, is_refused=True
    )
    state.update(record, replace(record.assignment, revision=2))
    assert record.snapshot() == CameraSnapshot(id="a", shard=1, revision=2, newest_epoch=7, last_question_s=5.0)


def test_a_shard_that_takes_cameras_again_gets_some_although_the_shards_are_the_same() -> None:
    """It may have been emptied before any plan saw the shards without it at rest."""
    state = FleetState([ScriptedShard(), ScriptedShard()])
    status = ShardStatus(pid=1, incarnation="one", cameras=())

    state.observe(1, replace(status, is_draining=True), 0.0)
    state.mark_balanced(("zero", "one"))
    state.observe(1, status, 1.0)

    assert state.snapshot(1.0).balanced_shards == ()


async def test_a_call_of_a_shard_that_has_ended_is_given_up() -> None:
    """Or a removal that was to end its camera there would never be finished."""
    state = FleetState([ScriptedShard(), ScriptedShard()])
    state.apply_shards([state.shards[0].shard], ShardNumbers.fixed(1))

    with pytest.raises(ShardUnavailable):
        await state.shards[1].perform(asyncio.Event().wait())
    assert state.shards[1].lapsed.is_set()
