"""Spans of a question go from the command line over the router to a real shard process; off, nothing is loaded."""

from __future__ import annotations

import itertools
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from actors import embedded_store, ray_cluster, system
from actors.config.observability import TracesConfig
from actors.config.router_config import RouterConfig
from actors.config.schema import HermesConfig
from actors.config.shards import ShardsConfig
from actors.system import System

# isort: split
import pytest

from pipeline.cameras import CameraSpec, CameraState
from tests.actors.tracing.collecting import Collector, collecting
from tests.actors.waiting import until
from tests.console.running import run

pytestmark = [pytest.mark.ray, pytest.mark.redis, pytest.mark.slow]

OF_TRACING = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "actors.tracing.open_telemetry")
STAGES = ("queue", "prefill", "decode")
QUESTION = "where is the canary"


@asynccontextmanager
async def watching(store_url: str, traces: TracesConfig | None) -> AsyncIterator[System]:
    """A system of one shard process with a live camera."""
    settings = HermesConfig(
        store=store_url,
        shards=ShardsConfig(count=1),
        router=RouterConfig(port=0),
        traces=traces,
        cameras=(CameraSpec(name="gate", url="sim:gate"),),
    )
    async with system.running(settings, has_local_ray=True) as up:

        async def is_live() -> bool:
            return (await up.fleet.get_camera("gate")).status.state is CameraState.LIVE

        await until(is_live)
        yield up


async def loaded_by_shard(up: System) -> set[str]:
    """What the process of the shard has imported to trace."""
    actor = up.fleet._state.shards[0].shard._actor
    return set(await actor.__ray_call__.remote(lambda _: list(sys.modules))) & set(OF_TRACING)


def require_one_trace(collector: Collector) -> None:
    spans, parents = collector.spans, ("hermes.client", "hermes.router", "hermes.shard")
    assert {span.trace_id for span in spans.values()} == {spans["hermes.client"].trace_id}
    assert not spans["hermes.client"].parent_span_id
    for parent, child in (*itertools.pairwise(parents), *(("hermes.shard", stage) for stage in STAGES)):
        assert spans[child].parent_span_id == spans[parent].span_id, (parent, child)
    assert [event.name for event in spans["hermes.shard"].events] == ["first token"]


async def test_one_question_is_one_trace_from_the_console_to_the_token_and_none_where_traces_are_off(
    tmp_path: Path,
) -> None:
    with (
        embedded_store.running(tmp_path) as store_url,
        ray_cluster.running(num_cpus=1, num_gpus=0),  # the second system starts once the first one's shard has ended
        collecting() as (collector, endpoint),
    ):
        async with watching(store_url, TracesConfig(endpoint=endpoint)) as up:
            ended = await run("ask", "--camera", "gate", QUESTION, "--address", up.address, "--traces", endpoint)
            assert ended.code == 0, ended
            assert await loaded_by_shard(up) == set(OF_TRACING)
        # The system ended at once: what its processes had not sent by then came with their end.
        require_one_trace(collector)
        assert collector.services == {"hermes-client", "hermes-router", "hermes-shard"}
        assert b"canary" not in collector.data

        sent = len(collector.data)
        async with watching(store_url, None) as up:
            ended = await run("ask", "--camera", "gate", QUESTION, "--address", up.address)
            assert ended.code == 0, ended
            assert await loaded_by_shard(up) == set()
        assert len(collector.data) == sent
