"""`hermes demo`: a whole system for a few minutes, asked about scenes whose truth is known."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from actors import logs, system
from actors.config.schema import HermesConfig, RouterConfig, ShardsConfig
from actors.errors import ConfigError, ServiceError
from actors.server import server
from actors.system import System
from cache_store.errors import StoreError
from cache_store.tiers import MemoryConfig
from console.cli import output, serve, terminal
from console.cli.progress import Progress
from console.cli.terminal import DONE, FAILURE, MISTAKE
from console.client import answers
from console.client.answers import Answer
from console.client.client import DEFAULT_ADDRESS, ClientError, HermesClient
from console.demo import cameras, questions
from console.demo.cameras import DemoCamera
from console.demo.questions import DemoQuestion, QuestionPicker
from pipeline.sources.ingest_config import IngestConfig
from protos import hermes_v1_pb2 as pb

QUESTIONS = 8
_COMPRESSIONS = 5
_WARM_UP_TIMEOUT_S = 180.0
_ROUNDS = 20
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What was asked for on the command line. `port` None: the usual one, or any free one if it need not stay up."""

    seed: int
    exit_after_answers: bool
    as_json: bool
    port: int | None
    model: str = "tiny"


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer beside the truth as of the moment that its memory knew."""

    told: Answer
    expected: str

    @property
    def is_right(self) -> bool:
        return self.told.text.strip() == self.expected


def run(options: DemoOptions, out: Console, err: Console) -> int:
    """Shows it; returns the exit code."""
    logs.log_to_stderr(logging.ERROR)
    try:
        return asyncio.run(_run(options, out, err))
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    except (ServiceError, StoreError, ClientError) as error:
        return terminal.report(str(error), FAILURE)
    except KeyboardInterrupt:
        return FAILURE


async def _run(options: DemoOptions, out: Console, err: Console) -> int:
    shown = cameras.demo_cameras(options.seed)
    server.require_free(_router(options))
    with tempfile.TemporaryDirectory(prefix="hermes-demo-") as scratch, cameras.recorders() as processes:
        folder = Path(scratch)
        recordings = [asyncio.wrap_future(processes.submit(camera.record, folder)) for camera in shown]
        with Progress(err) as progress:
            async with system.running(
                _settings(options, folder), log_level=logging.ERROR, on_progress=progress.show
            ) as running:
                progress.show("recording three cameras")
                await asyncio.gather(*recordings)
                for camera in shown:
                    running.fleet.add_configured_camera(camera.spec(folder))
                await running.fleet.reconcile()
                demo = _Demo(running, shown, options, out, err)
                await asyncio.to_thread(demo.warm_up, progress.show)
                progress.stop()
                is_complete = await asyncio.to_thread(demo.ask_all)
                if not options.exit_after_answers:
                    demo.say_how_to_go_on()
                    await serve.until_stopped()
    return DONE if is_complete else FAILURE


def _settings(options: DemoOptions, folder: Path) -> HermesConfig:
    return HermesConfig(
        model=options.model,
        memory=MemoryConfig(tokens_per_layer=256),
        ingest=IngestConfig(video_folders=(folder,)),
        shards=ShardsConfig(count=2, checkpoint_every_s=5.0),
        store=f"embedded:{folder / 'store'}",
        router=_router(options),
    )


def _router(options: DemoOptions) -> RouterConfig:
    usual = 0 if options.exit_after_answers else RouterConfig().port
    return RouterConfig(port=usual if options.port is None else options.port)


class _Demo:
    """What happens once the cameras stream. Talks to the system as any client does, in a thread of its own."""

    def __init__(
        self,
        running: System,
        shown: tuple[DemoCamera, ...],
        options: DemoOptions,
        out: Console,
        err: Console,
    ) -> None:
        self._running = running
        self._shown = shown
        self._scenes = {camera.name: camera.scene() for camera in shown}
        self._questioner = QuestionPicker(options.seed)
        self._options = options
        self._out = out
        self._err = err
        self._hermes = HermesClient(running.address)

    def warm_up(self, tell: Callable[[str], None]) -> None:
        """Waits until every memory was compressed often enough to have forgotten something. Raises ServiceError."""
        deadline = time.monotonic() + _WARM_UP_TIMEOUT_S
        while time.monotonic() < deadline:
            found = self._hermes.list_cameras()
            fewest = min(camera.memory.compressions for camera in found)
            if fewest >= _COMPRESSIONS:
                return
            states = ", ".join(f"{camera.name} {output.state_name(camera.state)}" for camera in found)
            tell(f"memories fill up: compressed {fewest} of {_COMPRESSIONS} times ({states})")
            time.sleep(_LOOK_EVERY_S)
        raise ServiceError(f"a memory was compressed {fewest} times in {_WARM_UP_TIMEOUT_S:.0f} s, not {_COMPRESSIONS}")

    def ask_all(self) -> bool:
        """Asks the cameras in turn; returns whether every question was answered."""
        if not self._options.as_json:
            self._introduce()
        judged = [self._ask_one(number) for number in range(QUESTIONS)]
        if not self._options.as_json:
            right = sum(answer.is_right for answer in judged if answer is not None)
            self._err.print(f"{right} of {QUESTIONS} right\n", markup=False)
        return all(answer is not None and answer.told.is_done for answer in judged)

    def say_how_to_go_on(self) -> None:
        """For those who want to ask for themselves."""
        where = "" if self._running.address == DEFAULT_ADDRESS else f" --address {self._running.address}"
        one, other, *_ = (camera.name for camera in self._shown)
        lines = (
            f'ask "what is in view" --camera {one}',
            f'ask "what colour was the last car" --camera {other}',
            "cameras list",
            f"cameras show {one}",
        )
        self._err.print("The cameras go on. In another terminal:", markup=False)
        for line in lines:
            self._err.print(f"  {_program()} {line}{where}", markup=False)
        self._err.print("Ctrl-C ends it.")

    def _introduce(self) -> None:
        for camera in self._shown:
            status = self._hermes.get_camera(camera.name)
            self._err.print(
                f"{camera.name:<8} {camera.description:<20} shard {status.shard}, "
                f"{status.memory.frames_seen} frames seen, compressed {status.memory.compressions} times",
                style="dim",
                markup=False,
            )
        self._err.print()

    def _ask_one(self, number: int) -> JudgedAnswer | None:
        """Asks the camera whose turn it is, or the next one that has something to tell."""
        turn = number % len(self._shown)
        in_turn = self._shown[turn:] + self._shown[:turn]
        for round_ in range(_ROUNDS):
            for camera in in_turn:
                status = self._hermes.get_camera(camera.name)
                seen = self._scenes[camera.name]
                asked = self._questioner.pick(seen, self._newest_s(status), tolerance=round_)
                if asked is not None:
                    return self._judge(camera, asked)
            time.sleep(_LOOK_EVERY_S)
        self._err.print(f"no camera had anything to tell, {_ROUNDS} times in a row", style="yellow", markup=False)
        return None

    def _judge(self, camera: DemoCamera, asked: DemoQuestion) -> JudgedAnswer:
        if not self._options.as_json:
            self._out.print(Text.assemble((camera.name, "bold"), f" · {asked.text}?"))
            self._out.print("  ", end="")
        events = self._hermes.ask(camera.name, asked.text)
        answer = answers.collect(camera.name, asked.text, events, on_text=self._show_piece)
        known_s = self._scene_s(camera.name, answer)
        judged = JudgedAnswer(answer, questions.truth(self._scenes[camera.name], asked.text, known_s) or "")
        self._show(judged)
        return judged

    def _show_piece(self, text: str) -> None:
        if not self._options.as_json:
            self._out.print(output.printable(text), end="", markup=False, style="bold")

    def _show(self, judged: JudgedAnswer) -> None:
        if self._options.as_json:
            described = output.answer_json(judged.told) | {"expected": judged.expected}
            self._out.print(output.as_json({key: described[key] for key in _JSON_KEYS}), markup=False)
            return
        verdict = Text("right", style="green") if judged.is_right else Text("wrong", style="red")
        self._out.print(Text("   truth: "), Text(judged.expected), Text("  "), verdict, sep="")
        self._out.print(f"  {output.answer_notes(judged.told)}\n", style="dim", markup=False)

    def _newest_s(self, status: pb.Camera) -> float:
        """How far the camera's memory knows its scene."""
        return status.memory.newest.ToNanoseconds() / 1e9 - self._running.fleet.started_s(status.name)

    def _scene_s(self, name: str, answer: Answer) -> float:
        """The moment of the scene that an answer could know of."""
        if answer.memory_as_of is None:
            raise ServiceError(f"camera {name!r}: an answer without memory_as_of")
        return answer.memory_as_of.timestamp() - self._running.fleet.started_s(name)


def _program() -> str:
    """How this program is called here: by its name if the shell finds that, by its path if not."""
    called = Path(sys.argv[0])
    if called.name != "hermes":
        return "python -m console.cli.main"
    return "hermes" if shutil.which("hermes") else str(called)


_JSON_KEYS = ("camera", "question", "answer", "expected", "ttft_ms", "memory_as_of", "evidence")
