"""While the head of a Ray cluster is down questions are answered; once it is back the fleet replaces a killed shard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.server.status_codes import ROWS
from tests import servers
from tests.chaos.headless import CAMERAS, SHARDS
from tests.servers import VALKEY

ROOT = Path(__file__).parents[2]
DOWN_S = 60.0 if "HERMES_CHAOS_CLUSTER_SCHEDULES" in os.environ else 4.0

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]

REASONS = {reason for _, _, reason in ROWS}

Calls = dict[str, list[dict[str, Any]]]  # by phase


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Calls:
    folder = tmp_path_factory.mktemp("headless")
    with servers.running(VALKEY, folder / "state") as state, (folder / "log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "tests.chaos.headless", str(folder), str(DOWN_S)],
            cwd=ROOT,
            env=os.environ | {"RAY_REDIS_ADDRESS": f"127.0.0.1:{state.port}"},
            stdout=log,
            stderr=log,
            timeout=800,
            check=False,
        )
    phases: Calls = {}
    for line in (folder / "calls.jsonl").read_text().splitlines():
        call = json.loads(line)
        phases.setdefault(call["phase"], []).append(call)
    assert "taken_over" in phases, (folder / "log").read_text()[-5_000:]
    return phases


def test_every_question_is_answered_by_the_camera_s_owner_while_the_head_is_down(calls: Calls) -> None:
    """In the epoch of before, or in a newer one if the fleet moved the camera meanwhile."""
    answers = [call for call in calls["down"] if call.get("call") == "ask"]

    assert {call["head_listens"] for call in calls["down"] if "head_listens" in call} == {False}
    assert [call for call in answers if "epoch" not in call] == []
    for camera in CAMERAS:
        epochs = [call["epoch"] for call in [*calls["before"], *answers] if call["camera"] == camera]
        assert len(epochs) > 2
        assert epochs == sorted(epochs)


def test_cameras_and_shards_are_listed_or_refused_with_a_reason_while_the_head_is_down(calls: Calls) -> None:
    lists = [call for call in calls["down"] if call.get("call", "").startswith("list_")]

    assert {call["call"] for call in lists} == {"list_cameras", "list_shards"}
    assert [call for call in lists if "found" not in call and call["refused"] not in REASONS] == []


def test_once_the_head_is_back_a_killed_shard_is_taken_over_and_restarted(calls: Calls) -> None:
    """Its process is new, which only the head can bring about, and its cameras answer in a newer epoch."""
    killed = next(call for call in calls["killed"] if "pid" in call)
    before = {call["camera"]: call["epoch"] for call in calls["before"]}
    after = {call["camera"]: call.get("epoch", 0) for call in calls["taken_over"] if call.get("call") == "ask"}
    processes = next(call["found"] for call in reversed(calls["taken_over"]) if call.get("call") == "list_shards")

    assert set(after) == set(killed["cameras"]) != set()
    assert all(epoch > before[name] for name, epoch in after.items())
    assert len(set(processes) - {killed["pid"]}) == SHARDS
