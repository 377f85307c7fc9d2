"""The head of a Ray cluster goes away: questions go on, and once it is back the fleet heals."""

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
AWAY_S = 60.0 if "HERMES_CHAOS_CLUSTER_SCHEDULES" in os.environ else 10.0

pytestmark = [pytest.mark.chaos, pytest.mark.ray, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]

REASONS = {reason for _, _, reason in ROWS}

Seen = dict[str, list[dict[str, Any]]]  # by phase


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    folder = tmp_path_factory.mktemp("headless")
    with servers.running(VALKEY, folder / "state") as state, (folder / "log").open("wb") as log:
        subprocess.run(
            [sys.executable, "-m", "tests.chaos.headless", str(folder), str(AWAY_S)],
            cwd=ROOT,
            env=os.environ | {"RAY_REDIS_ADDRESS": f"127.0.0.1:{state.port}"},
            stdout=log,
            stderr=log,
            timeout=800,
            check=False,
        )
    found: Seen = {}
    for line in (folder / "seen").read_text().splitlines():
        told = json.loads(line)
        found.setdefault(told["phase"], []).append(told)
    assert "followed" in found, (folder / "log").read_text()[-5_000:]
    return found


def test_every_question_is_answered_by_the_camera_s_owner_while_the_head_is_away(seen: Seen) -> None:
    """Of the epoch from before, or of a newer one where the fleet moved the camera meanwhile."""
    asked = [told for told in seen["away"] if told.get("call") == "ask"]

    assert {told["head_listens"] for told in seen["away"] if "head_listens" in told} == {False}
    assert [told for told in asked if "epoch" not in told] == []
    for camera in CAMERAS:
        epochs = [told["epoch"] for told in [*seen["before"], *asked] if told["camera"] == camera]
        assert len(epochs) > 2
        assert epochs == sorted(epochs)


def test_lists_are_told_or_refused_with_a_reason_while_the_head_is_away(seen: Seen) -> None:
    looked = [told for told in seen["away"] if told.get("call", "").startswith("list_")]

    assert {told["call"] for told in looked} == {"list_cameras", "list_shards"}
    assert [told for told in looked if "found" not in told and told["refused"] not in REASONS] == []


def test_once_the_head_is_back_a_killed_shard_is_followed_and_started_anew(seen: Seen) -> None:
    """Its process is new, which only the head can bring about, and its cameras answer in a newer epoch."""
    killed = next(told for told in seen["killed"] if "pid" in told)
    before = {told["camera"]: told["epoch"] for told in seen["before"]}
    after = {told["camera"]: told.get("epoch", 0) for told in seen["followed"] if told.get("call") == "ask"}
    processes = next(told["found"] for told in reversed(seen["followed"]) if told.get("call") == "list_shards")

    assert set(after) == set(killed["cameras"]) != set()
    assert all(epoch > before[name] for name, epoch in after.items())
    assert len(set(processes) - {killed["pid"]}) == SHARDS
