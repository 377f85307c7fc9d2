"""`hermes cameras update` and `erase`, `hermes shards drain` and `undrain`, against a real router."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.errors import ServiceError
from tests.actors.conftest import Serving
from tests.actors.scripted import ScriptedShard
from tests.console.running import run


async def test_a_camera_is_changed_by_what_is_named_alone(serving: Serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        update = ("cameras", "update", "gate", "--json", "--address", address)
        first = await run(*update, "--no-gate", "--rate", "2", "--mask", "0,0 0.5,0 0.5,0.25", "--label", "floor=1")
        second = await run(*update, "--reset", "masks", "--reset", "rate", "--label", "site=north")

    assert (first.code, second.code) == (0, 0)
    before, after = json.loads(first.out), json.loads(second.out)
    assert (before["gate"], before["frames_per_second"], before["labels"]) == (False, 2.0, {"floor": "1"})
    assert before["masks"] == [[[0, 0], [0.5, 0], [0.5, 0.25]]]
    assert (after["gate"], after["frames_per_second"], after["labels"]) == (False, None, {"site": "north"})
    assert after["masks"] == []
    assert before["id"] == after["id"]


async def test_each_check_of_a_certificate_is_taken_back_by_itself(serving: Serving, tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("CERTIFICATE")
    async with serving(ScriptedShard()) as address:
        update = ("cameras", "update", "gate", "--json", "--address", address)
        url = ("--url", "rtsps://camera.example/2", "--allow-memory-loss")
        first = await run(*update, *url, "--tls-ca-file", str(authorities), "--tls-name", "nvr")
        second = await run(*update, "--reset", "tls-ca-file")
        third = await run(*update, "--reset", "tls-name", "--tls-certificate-sha256", "a" * 64)
        fourth = await run(*update, "--reset", "tls-certificate-sha256")

    names = ("tls_certificate_sha256", "tls_ca", "tls_name")
    found = [tuple(json.loads(ended.out)[name] for name in names) for ended in (first, second, third, fourth)]
    assert found == [("", "CERTIFICATE", "nvr"), ("", "", "nvr"), ("a" * 64, "", ""), ("", "", "")]


async def test_another_source_needs_the_word_that_the_memory_may_go(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        update = ("cameras", "update", "gate", "--url", "rtsp://user:canary@camera.example/2", "--address", address)
        refused = await run(*update)
        changed = await run(*update, "--allow-memory-loss", "--json")

    assert (refused.code, refused.out) == (2, "")
    assert "another source" in refused.err
    assert changed.code == 0
    assert "camera.example" in json.loads(changed.out)["url"]
    assert "canary" not in refused.err + changed.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((), "error: name what changes: --url, --mask, --gate, --rate, --label or --reset"),
        (("--user", "viewer"), "error: --user: it needs --url beside it"),
    ],
)
async def test_an_update_of_nothing_is_a_mistake(arguments: tuple[str, ...], complaint: str) -> None:
    ended = await run("cameras", "update", "gate", *arguments, "--address", "127.0.0.1:9")

    assert (ended.code, ended.err.startswith(complaint)) == (2, True)


async def test_a_memory_is_erased(serving: Serving) -> None:
    shard = ScriptedShard()
    async with serving(shard) as address:
        ended = await run("cameras", "erase", "gate", "--address", address)
        unknown = await run("cameras", "erase", "gaet", "--address", address)

    assert (ended.code, unknown.code) == (0, 2)
    assert "memory of camera 'gate' erased; it goes on watching" in ended.err
    assert shard.forgotten == ["gate"]


async def test_the_last_open_shard_is_drained_by_force_alone_and_the_way_back_is_undrain(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        refused = await run("shards", "drain", "0", "--address", address)
        forced = await run("shards", "drain", "0", "--force", "--address", address)
        as_json = await run("shards", "drain", "0", "--force", "--json", "--address", address)
        undrained = await run("shards", "undrain", "0", "--json", "--address", address)

    assert (refused.code, "force" in refused.err) == (2, True)
    assert "hermes shards undrain 0 lets it take cameras again" in " ".join(refused.err.split())
    assert json.loads(as_json.out)[0]["detail"] == "drained: hermes shards undrain 0 lets it take cameras again"
    assert forced.code == 1
    assert "camera 'gate' stayed: " in forced.err
    assert [stayed["camera"] for stayed in json.loads(as_json.out)[0]["not_moved"]] == ["gate"]
    assert (undrained.code, json.loads(undrained.out)[0]["state"]) == (0, "up")


async def test_draining_shows_how_many_cameras_have_moved(serving: Serving) -> None:
    async with serving(ScriptedShard(), ScriptedShard(pid=2)) as address:
        ended = await run("shards", "drain", "0", "--address", address)

    assert ended.code == 0
    assert "shard 0: 1 of 1 cameras moved" in ended.err


async def test_an_odd_shard_is_listed_with_the_reason(serving: Serving) -> None:
    odd = ScriptedShard(pid=2)
    async with serving(ScriptedShard(), odd) as address:
        odd.status_error = ServiceError("its reply is no status")
        shown = await run("shards", "list", "--address", address)
        as_json = await run("shards", "list", "--json", "--address", address)
        cameras = await run("cameras", "list", "--json", "--address", address)

    assert "failed" in shown.out
    assert "its reply is no status" in " ".join(shown.out.split())
    assert [shard["state"] for shard in json.loads(as_json.out)["shards"]] == ["up", "failed"]
    assert [camera["name"] for camera in json.loads(cameras.out)] == ["gate"]


async def test_cameras_are_listed_by_state_and_label(serving: Serving) -> None:
    async with serving(ScriptedShard()) as address:
        await run("cameras", "add", "yard", "sim:yard", "--label", "floor=1", "--address", address)
        listing = ("cameras", "list", "--json", "--address", address)
        by_label = await run(*listing, "--label", "floor=1")
        by_state = await run(*listing, "--state", "failed")
        by_prefix = await run(*listing, "--prefix", "ga")
        unknown = await run(*listing, "--state", "asleep")
        garbled = await run(*listing, "--label", "floor")

    assert [camera["name"] for camera in json.loads(by_label.out)] == ["yard"]
    assert json.loads(by_state.out) == []
    assert [camera["name"] for camera in json.loads(by_prefix.out)] == ["gate"]
    assert (unknown.code, garbled.code) == (2, 2)
    assert "'asleep' is no state" in unknown.err


@pytest.mark.parametrize(
    ("filters", "complaint"),
    [
        (("--shard", "9"), "shard 9: no such shard, there are 0 to 0"),
        (("--label", "=x"), "labels: label '': a key has 1 to 63 letters, digits"),
        (("--prefix", "a b"), "name_prefix 'a b': no name of a camera begins so"),
        (("--label", "a=1", "--label", "a=2"), "each key once"),
    ],
)
async def test_a_filter_that_no_camera_can_pass_is_a_mistake(
    serving: Serving, filters: tuple[str, ...], complaint: str
) -> None:
    """They used to give an empty list."""
    async with serving(ScriptedShard()) as address:
        ended = await run("cameras", "list", *filters, "--address", address)

    assert (ended.code, ended.out) == (2, "")
    assert complaint in " ".join(ended.err.split())
