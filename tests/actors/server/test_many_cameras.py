"""A fleet of 400 cameras with long names and many masks: no message is too large, and clients see every camera."""

from __future__ import annotations

import asyncio
import json

import grpc
import pytest
from typer.testing import CliRunner

from console.cli import commands
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.cameras import CameraSpec, CameraState
from protos import hermes_v1_pb2 as pb
from tests.actors.conftest import Serving
from tests.actors.scripted import ScriptedShard

CORNERS = tuple((0.5 + index / 64, 1.0 - (index / 64) ** 2) for index in range(24))
NAMES = [f"corridor-{index:03}".ljust(63, "x") for index in range(399)]
SPECS = [CameraSpec(name=name, url="sim:street", masks=(CORNERS,) * 32) for name in NAMES]


async def test_a_client_and_the_command_line_list_all_of_them(serving: Serving) -> None:
    async with serving(ScriptedShard(max_cameras=400), cameras=SPECS) as address:
        listed = await asyncio.to_thread(list_cameras, address, pb.ListCamerasRequest())
        shown = await asyncio.to_thread(
            CliRunner().invoke, commands.app, ["cameras", "list", "--json", "--address", address]
        )

    assert [camera.name for camera in listed] == [*NAMES, "gate"]
    assert sum(camera.ByteSize() for camera in listed) > 4 * 1024 * 1024, "one message would not hold them"
    assert all(len(camera.masks) == 32 for camera in listed[:-1])
    assert len(json.loads(shown.stdout.splitlines()[-1])) == 400


async def test_an_unknown_name_is_not_found_and_names_a_few(serving: Serving) -> None:
    async with serving(ScriptedShard(max_cameras=400), cameras=SPECS) as address:
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(list_one, address, NAMES[17].replace("rr", "r"))

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_CAMERA")
    assert NAMES[17] in caught.value.message
    assert len(caught.value.message) < 400


async def test_pages_hold_as_many_as_were_wanted_and_end(serving: Serving) -> None:
    async with serving(ScriptedShard(max_cameras=400), cameras=SPECS) as address:
        pages = await asyncio.to_thread(read_pages, address, pb.ListCamerasRequest(page_size=100))

    assert [len(page.cameras) for page in pages] == [100] * 4
    assert {page.total_size for page in pages} == {400}
    assert not pages[-1].next_page_token


async def test_the_basic_view_leaves_out_what_is_large(serving: Serving) -> None:
    async with serving(ScriptedShard(max_cameras=400), cameras=SPECS) as address:
        pages = await asyncio.to_thread(read_pages, address, pb.ListCamerasRequest(view=pb.CAMERA_VIEW_BASIC))

    assert [len(page.cameras) for page in pages] == [400]
    assert not any(camera.masks for camera in pages[0].cameras)
    assert pages[0].cameras[0].memory.frames_seen == 8


async def test_filters_select_by_name_state_shard_and_label(serving: Serving) -> None:
    shard = ScriptedShard()
    shard.states["yard"] = (CameraState.STALLED, "no frame")
    yard = CameraSpec(name="yard", url="sim:yard", labels={"site": "north", "floor": "1"})
    async with serving(shard, ScriptedShard(), cameras=[yard, CameraSpec(name="pond", url="sim:pond")]) as address:

        async def names(**filters: object) -> list[str]:
            cameras = await asyncio.to_thread(list_cameras, address, pb.ListCamerasRequest(**filters))
            return [camera.name for camera in cameras]

        assert await names(name_prefix="ya") == ["yard"]
        assert await names(states=[pb.CAMERA_STATE_STALLED, pb.CAMERA_STATE_FAILED]) == ["yard"]
        assert await names(labels={"site": "north"}) == ["yard"]
        assert await names(labels={"site": "south"}) == []
        by_shard = [await names(shard=index) for index in range(2)]

    assert sorted(by_shard[0] + by_shard[1]) == ["gate", "pond", "yard"]
    assert all(by_shard)


@pytest.mark.parametrize(
    "request_",
    [
        pb.ListCamerasRequest(page_token="%%%"),
        pb.ListCamerasRequest(page_token="Z2F0ZQ"),
        pb.ListCamerasRequest(page_token="/" * 5_000),
        pb.ListCamerasRequest(states=[99]),
        pb.ListCamerasRequest(view=99),
        pb.ListCamerasRequest(name_prefix="-"),
        pb.ListCamerasRequest(labels={"": "x"}),
    ],
    ids=["no base64", "cut", "long", "state", "view", "prefix", "label"],
)
async def test_a_bad_page_or_filter_is_refused(serving: Serving, request_: pb.ListCamerasRequest) -> None:
    async with serving(ScriptedShard()) as address:
        with pytest.raises(ClientError) as caught:
            await asyncio.to_thread(list_cameras, address, request_)

    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert len(caught.value.message) < 200


def list_cameras(address: str, selection: pb.ListCamerasRequest) -> list[pb.Camera]:
    with HermesClient(address) as hermes:
        return hermes.list_cameras(selection)


def list_one(address: str, name: str) -> pb.Camera:
    with HermesClient(address) as hermes:
        return hermes.get_camera(name)


def read_pages(address: str, request: pb.ListCamerasRequest) -> list[pb.ListCamerasResponse]:
    """Every page, read with the token of the one before."""
    with HermesClient(address) as hermes:
        pages = [hermes.list_page(request)]
        while pages[-1].next_page_token:
            request.page_token = pages[-1].next_page_token
            pages.append(hermes.list_page(request))
    return pages
