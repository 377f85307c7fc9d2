"""Spans go from the client over the router to the shard, say nothing of the question, and cost nothing when off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from actors.config.observability import TracesConfig
from actors.config.router_config import RouterConfig
from actors.errors import ConfigError
from actors.server.server import Router
from actors.server.startup import Startup
from actors.shard.question_counter import QuestionCounter
from actors.tracing import tracer
from actors.tracing.tracer import NoTracer, tracer_of
from console.client.client import HermesClient
from console.client.errors import ClientError
from pipeline.answers import Started, Token
from pipeline.cameras import CameraSpec
from tests.actors.scripted import ScriptedShard, scripted_fleet
from tests.actors.tracing.collecting import collecting

ROOT = Path(__file__).parents[3]
QUESTION = "where is the canary"


async def ask(shard: ScriptedShard, endpoint: str, camera: str = "gate") -> None:
    """Asks over a real connection; every tracer has sent its spans when it returns."""
    traces = TracesConfig(endpoint=endpoint)
    fleet = scripted_fleet(shard)
    fleet.configure([CameraSpec(name="gate", url="rtsp://user:canary@camera.example/1")])
    await fleet.reconcile()
    router = Router(Startup(fleet), RouterConfig(port=0), None, tracer=tracer_of(traces, "hermes-router"))
    address = await router.start()
    own = tracer_of(traces, "hermes-client")

    def call() -> None:
        with HermesClient(address, tracer=own) as hermes:
            assert list(hermes.ask(camera, QUESTION))

    try:
        await asyncio.to_thread(call)
    finally:
        await router.stop()
        own.close()


async def test_the_context_travels_from_the_client_over_the_router_to_the_shard() -> None:
    shard = ScriptedShard()
    with collecting() as (collector, endpoint):
        await ask(shard, endpoint)

    client, router = collector.spans["hermes.client"], collector.spans["hermes.router"]
    assert not client.parent_span_id
    assert (router.trace_id, router.parent_span_id) == (client.trace_id, client.span_id)
    [context] = shard.traces
    assert context.rpartition("-")[0] == f"00-{router.trace_id.hex()}-{router.span_id.hex()}"


async def test_spans_hold_no_question_no_url_no_secret_and_no_message_of_an_error() -> None:
    with collecting() as (collector, endpoint):
        await ask(ScriptedShard(), endpoint)
        with pytest.raises(ClientError):
            await ask(ScriptedShard(), endpoint, camera="rtsp://user:canary@other.example")

    assert b"canary" not in collector.data
    assert b"example" not in collector.data
    assert collector.spans["hermes.router"].status.message == "UnknownCamera"


def test_a_shard_shows_queue_prefill_and_decode_below_the_span_of_the_router() -> None:
    with collecting() as (collector, endpoint):
        shard = tracer_of(TracesConfig(endpoint=endpoint), "hermes-shard")
        with (
            shard.span("hermes.router") as router,
            shard.span("hermes.shard", parent=router.context) as span,
            QuestionCounter().question(span) as observe,
        ):
            observe(Started("1", "gate", 0.0))
            observe(Token("a", 0))
            observe(Token(" car", 1))
        shard.close()

    spans = collector.spans
    assert spans["hermes.shard"].parent_span_id == spans["hermes.router"].span_id
    for stage in ("queue", "prefill", "decode"):
        assert spans[stage].parent_span_id == spans["hermes.shard"].span_id
    assert spans["queue"].end_time_unix_nano <= spans["prefill"].start_time_unix_nano
    assert [event.name for event in spans["hermes.shard"].events] == ["first token"]


async def test_a_collector_that_is_away_costs_the_spans_and_nothing_else() -> None:
    with collecting() as (_, endpoint):
        pass

    await ask(ScriptedShard(), endpoint)


async def test_without_an_endpoint_nothing_travels() -> None:
    assert isinstance(tracer_of(None, "hermes-router"), NoTracer)
    with NoTracer().span("hermes.router") as span:
        assert span.context == ""


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("console.cli.ask", ["opentelemetry"]),
        # redis-py loads OpenTelemetry's metrics wherever they are installed.
        (
            "actors.server.server, actors.shard.camera_shard",
            ["opentelemetry.sdk.trace", "opentelemetry.exporter", "actors.tracing.open_telemetry"],
        ),
    ],
)
def test_without_an_endpoint_nothing_that_traces_is_loaded(modules: str, absent: list[str]) -> None:
    code = (
        f"import sys, {modules}; from actors.tracing.tracer import tracer_of; tracer_of(None, 'hermes-router');"
        f"print([name for name in {absent!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert done.stdout.strip() == "[]", done.stderr


def test_an_endpoint_without_the_packages_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "actors.tracing.open_telemetry", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match=r"pip install 'hermes-cameras\[traces\]'"):
        tracer.tracer_of(TracesConfig(endpoint="http://127.0.0.1:4317"), "hermes-router")
