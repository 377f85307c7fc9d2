"""No request crashes the server, gets an unclear error, or brings a secret into an answer or a log.

HERMES_FUZZ_REQUESTS is the number of requests; `make fuzz` sets a high one.
"""

from __future__ import annotations

import asyncio
import logging
import os

import grpc.aio
import pytest
import structlog

from pipeline.cameras import CameraSpec
from protos import hermes_v1_pb2 as pb
from protos import hermes_v1_pb2_grpc as pb_grpc
from tests.actors.conftest import Serving
from tests.actors.scripted import ScriptedShard
from tests.actors.server.fuzzing import CANARY, TOKEN, Fuzzer

REQUESTS = int(os.environ.get("HERMES_FUZZ_REQUESTS", "400"))
AT_ONCE = 4


@pytest.mark.timeout(120 + REQUESTS // 10)
async def test_no_request_crashes_the_server_or_gets_an_unclear_error_or_a_secret(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    server = serving(ScriptedShard(), ScriptedShard(pid=2), token=TOKEN, cameras=[CameraSpec(name="yard", url="sim:y")])
    async with server as address, grpc.aio.insecure_channel(address) as channel:
        fuzzer = Fuzzer(address, channel, seed=20)
        with structlog.testing.capture_logs() as events:
            for first in range(0, REQUESTS, AT_ONCE):
                await asyncio.gather(*map(fuzzer.send, range(first, first + AT_ONCE)))
        listed = await pb_grpc.CameraServiceStub(channel).ListCameras(
            pb.ListCamerasRequest(), timeout=20, metadata=(("authorization", f"Bearer {TOKEN}"),)
        )

    logged = [repr(event) for event in events] + [record.getMessage() for record in caplog.records]
    assert sum(fuzzer.codes.values()) >= REQUESTS
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED", "UNIMPLEMENTED"} <= fuzzer.codes.keys()
    assert fuzzer.codes.keys() & {"UNKNOWN", "INTERNAL"} == set()
    assert listed.cameras is not None
    assert [line for line in logged if CANARY in line or "unexpected_error" in line or "Unexpected" in line] == []
