"""Starts the demo's system and cameras, asks its questions, and stays up until it is stopped."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from actors import logs, ray_cluster, run_folder, system
from actors.config.schema import HermesConfig
from actors.config.shards import LeaseConfig, ShardsConfig
from actors.errors import ConfigError, ServiceError
from cache_store.errors import StoreError
from cache_store.tiers import MemoryConfig
from console.cli import serving, terminal
from console.cli.progress import Progress
from console.cli.terminal import DONE, FAILURE, MISTAKE
from console.client.client import DEFAULT_ADDRESS, HermesClient
from console.client.errors import ClientError
from console.demo import cameras, recovery, streams
from console.demo.cameras import DemoCamera
from console.demo.conversation import Conversation, DemoFailed, JudgedAnswer
from console.demo.options import DemoOptions
from console.demo.recovery import RecoveryWatch
from console.demo.streams import HOST, Streams
from pipeline.sources.ingest_config import IngestConfig

NUM_SHARDS = 2


def run(options: DemoOptions, progress: Progress) -> int:
    """Runs the demo; returns the exit code. A local Ray for `NUM_SHARDS` shards must be running."""
    logs.log_to_stderr(logging.ERROR)
    try:
        return asyncio.run(_run(options, progress))
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    except (ServiceError, StoreError, ClientError, DemoFailed) as error:
        return terminal.report(str(error), FAILURE)


async def _run(options: DemoOptions, progress: Progress) -> int:
    shown = cameras.demo_cameras(options.seed)
    with run_folder.running() as folder:
        # A camera can be owned once the store has run for one lease: until then none shows anything.
        earliest_s = time.time() + LeaseConfig().length_s
        with streams.running(shown, folder / "cameras.jpg") as live:
            async with system.running(
                _settings(options, folder), log_level=logging.ERROR, on_progress=progress.show, has_local_ray=True
            ) as running:
                with HermesClient(running.address) as hermes:
                    judged = await asyncio.to_thread(
                        _ask, hermes, shown, live, max(earliest_s, time.time()), options, progress
                    )
                    if not options.as_json:
                        _print_summary(judged)
                    if not options.exit_after_answers:
                        # Observed before the reader is told to kill a shard: it is compared with what was before.
                        watch = RecoveryWatch()
                        await asyncio.to_thread(recovery.poll, hermes, watch)
                        stop = serving.stop_request()
                        _print_next_steps(shown, running.address, live.sheet)
                        await _watch_until(stop, hermes, watch)
    return DONE if all(one.answer.is_done for one in judged) else FAILURE


def _settings(options: DemoOptions, folder: Path) -> HermesConfig:
    return HermesConfig(
        model=options.model,
        memory=MemoryConfig(tokens_per_layer=256),
        ingest=IngestConfig(allowed_networks=(f"{HOST}/32",)),
        shards=ShardsConfig(count=NUM_SHARDS, checkpoint_every_s=5.0),
        store=f"embedded:{folder / 'store'}",
        router=options.router,
    )


def _ask(
    hermes: HermesClient,
    shown: Sequence[DemoCamera],
    live: Streams,
    started_s: float,
    options: DemoOptions,
    progress: Progress,
) -> list[JudgedAnswer]:
    """Adds the cameras, and asks from the moment that one of them has frames. Blocks for about half a minute."""
    live.start_scenes(started_s)
    conversation = Conversation(hermes, shown, started_s, options.seed, progress, as_json=options.as_json)
    with ThreadPoolExecutor(len(shown)) as adding:
        if not options.as_json:
            progress.stop()
            terminal.err.print(f"What the four cameras show, written anew every 2 s: {live.sheet}\n", markup=False)
        requests = [one.request(started_s, live.address) for one in shown]
        added = [adding.submit(hermes.add_camera, request) for request in requests]
        judged = conversation.ask_all()
    for camera in added:
        camera.result()
    progress.stop()
    return judged


def _print_summary(judged: Sequence[JudgedAnswer]) -> None:
    terminal.err.print(f"{sum(one.is_right for one in judged)} of {len(judged)} right\n", markup=False)


def _print_next_steps(shown: Sequence[DemoCamera], address: str, sheet: Path) -> None:
    option = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    one, other, *_ = (camera.name for camera in shown)
    commands = (
        f'ask "what is in view" --camera {one}',
        f'ask "what colour was the last car" --camera {other}',
        "cameras list",
        f"cameras show {one}",
        "shards list",
    )
    lines = (
        "The cameras go on. In another terminal:",
        *(f"  {_program()} {command}{option}" for command in commands),
        f"  and open {sheet}",
        "Kill the process of a shard, and see its cameras restored on the other one. Ctrl-C ends the demo.",
    )
    for line in lines:
        terminal.err.print(line, markup=False)


async def _watch_until(stop: asyncio.Event, hermes: HermesClient, watch: RecoveryWatch) -> None:
    """Waits for the event; until then prints a line for each shard that ended."""
    is_stopped = threading.Event()
    watching = asyncio.create_task(asyncio.to_thread(recovery.watch, hermes, watch, is_stopped, _print_recovery))
    with ray_cluster.without_ray_messages():
        try:
            await stop.wait()
        finally:
            is_stopped.set()
            await watching


def _print_recovery(line: str) -> None:
    terminal.err.print(line, style="yellow", markup=False)


def _program() -> str:
    """How to call this program here: by its name if the shell finds it, else by its path."""
    called = Path(sys.argv[0])
    if called.name != "hermes":
        return "python -m console.cli.main"
    return "hermes" if shutil.which("hermes") else str(called)
