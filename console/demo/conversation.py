"""Asks the demo's eight questions and prints each answer beside the truth. Talks to the system as any client does."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from console.cli import answer_output, output, terminal
from console.cli.progress import Progress
from console.client import answers
from console.client.answers import Answer
from console.client.client import HermesClient
from console.demo import questions
from console.demo.cameras import DemoCamera
from console.demo.questions import FIRST_TYPE, PAST_TYPES, PRESENT_TYPES, DemoQuestion, QuestionPicker
from protos import hermes_v1_pb2 as pb

NUM_PRESENT, NUM_PAST = 4, 4
_TIMEOUT_S = 180.0
# After each such time, duller questions and cameras that were asked more often than others are taken too.
_LENIENT_AFTER_S = 1.5
_POLL_EVERY_S = 0.25
_FRAMES_SHOWN = 20  # the number of frames read is shown in such steps
_JSON_KEYS = ("camera", "question", "answer", "expected", "ttft_ms", "memory_as_of", "evidence")


class DemoFailed(Exception):
    """The demo cannot go on; the message says what did not happen in time."""


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer, and the truth at the time of its memory."""

    answer: Answer
    expected: str

    @property
    def is_right(self) -> bool:
        return self.answer.text.strip() == self.expected


@dataclass(frozen=True, slots=True)
class _Stage:
    """What is asked, and from which memories on. A memory that was compacted has evicted frames of the past."""

    types: frozenset[str]
    min_frames: int = 2
    min_compactions: int = 0

    def is_ready(self, memory: pb.MemoryStatus) -> bool:
        return memory.frames_seen >= self.min_frames and memory.compressions >= self.min_compactions


_FIRST = _Stage(frozenset({FIRST_TYPE}))
_PRESENT = _Stage(PRESENT_TYPES)
_PAST = _Stage(PAST_TYPES, min_compactions=3)


class Conversation:
    """The eight questions: first about the current view, then, when the memories are full, about the past."""

    def __init__(
        self,
        hermes: HermesClient,
        cameras: Sequence[DemoCamera],
        started_s: float,
        seed: int,
        progress: Progress,
        *,
        as_json: bool,
    ) -> None:
        """`started_s`: when the cameras started, Unix time; `as_json`: prints one JSON object for each question."""
        self._hermes = hermes
        self._cameras = tuple(cameras)
        self._scenes = {camera.name: camera.scene() for camera in cameras}
        self._started_s = started_s
        self._picker = QuestionPicker(seed)
        self._num_asked: Counter[str] = Counter()
        self._first_s: dict[str, float] = {}  # the second of the scene that the camera's first frame shows
        self._progress = progress
        self._as_json = as_json

    def ask_all(self) -> list[JudgedAnswer]:
        """Asks all questions. Blocks for about half a minute. Raises ClientError, DemoFailed."""
        self._progress.show("waiting for the first frames of the cameras")
        judged = [self._ask(_FIRST)]
        judged += [self._ask(_PRESENT) for _ in range(NUM_PRESENT - 1)]
        return judged + [self._ask(_PAST) for _ in range(NUM_PAST)]

    def _ask(self, stage: _Stage) -> JudgedAnswer:
        """Asks the camera that was asked least, or after a while another one that has something to tell."""
        deadline_s, first_ready_s = time.monotonic() + _TIMEOUT_S, None
        while time.monotonic() < deadline_s:
            memories = {status.name: status.memory for status in self._hermes.list_cameras()}
            self._note_first_frames(memories)
            self._show_wait(stage, memories)
            ready = [one for one in self._cameras if one.name in memories and stage.is_ready(memories[one.name])]
            if ready and first_ready_s is None:
                first_ready_s = time.monotonic()
            leniency = 0 if first_ready_s is None else int((time.monotonic() - first_ready_s) / _LENIENT_AFTER_S)
            for camera in self._least_asked(ready, leniency):
                question = self._pick(camera, memories[camera.name], stage, leniency)
                if question is not None:
                    self._num_asked[camera.name] += 1
                    self._progress.stop()
                    return self._judge(camera, question)
            time.sleep(_POLL_EVERY_S)
        raise DemoFailed(f"within {_TIMEOUT_S:.0f} s no camera had frames enough and something to ask about")

    def _show_wait(self, stage: _Stage, memories: Mapping[str, pb.MemoryStatus]) -> None:
        """While questions about the past wait until old frames have given way to summaries: how far that is."""
        if not stage.min_compactions or any(map(stage.is_ready, memories.values())):
            return
        frames = sum(memory.frames_seen for memory in memories.values()) // _FRAMES_SHOWN * _FRAMES_SHOWN
        compactions = max((memory.compressions for memory in memories.values()), default=0)
        self._progress.show(
            f"questions about the past wait for summaries of old frames: {frames} frames read, {compactions} of "
            f"{stage.min_compactions} compactions done"
        )

    def _note_first_frames(self, memories: Mapping[str, pb.MemoryStatus]) -> None:
        """A memory is asked about often enough that its oldest frame is still there when it is first seen here."""
        for camera in self._cameras:
            memory = memories.get(camera.name)
            if memory is not None and memory.frames_seen and camera.name not in self._first_s:
                self._first_s[camera.name] = self._scene_s(camera, memory.oldest.ToNanoseconds() / 1e9)

    def _scene_s(self, camera: DemoCamera, time_s: float) -> float:
        return camera.scene_s(time_s, self._started_s)

    def _least_asked(self, ready: Sequence[DemoCamera], leniency: int) -> list[DemoCamera]:
        """The cameras asked at most `leniency` times more than the least asked one of all; the least asked first."""
        limit = min(self._num_asked[camera.name] for camera in self._cameras) + leniency
        cameras = [camera for camera in ready if self._num_asked[camera.name] <= limit]
        return sorted(cameras, key=lambda camera: self._num_asked[camera.name])

    def _pick(self, camera: DemoCamera, memory: pb.MemoryStatus, stage: _Stage, tolerance: int) -> DemoQuestion | None:
        now_s = self._scene_s(camera, memory.newest.ToNanoseconds() / 1e9)
        scene, first_s = self._scenes[camera.name], self._first_s[camera.name]
        return self._picker.pick(scene, now_s, stage.types, first_s=first_s, tolerance=tolerance)

    def _judge(self, camera: DemoCamera, question: DemoQuestion) -> JudgedAnswer:
        if not self._as_json:
            terminal.out.print(Text.assemble((camera.name, "bold"), f" · {question.text}?"))
            terminal.out.print("  ", end="")
        events = self._hermes.ask(camera.name, question.text)
        answer = answers.collect(camera.name, question.text, events, on_text=self._print_text)
        if answer.memory_as_of is None:
            raise DemoFailed(f"camera {camera.name!r}: an answer without memory_as_of")
        as_of_s, first_s = self._scene_s(camera, answer.memory_as_of.timestamp()), self._first_s[camera.name]
        expected = questions.truth(self._scenes[camera.name], question, as_of_s, first_s=first_s)
        judged = JudgedAnswer(answer, expected or "")
        self._print(judged)
        return judged

    def _print_text(self, text: str) -> None:
        if not self._as_json:
            terminal.out.print(output.printable(text), end="", markup=False, style="bold")

    def _print(self, judged: JudgedAnswer) -> None:
        if self._as_json:
            described = answer_output.answer_json(judged.answer) | {"expected": judged.expected}
            terminal.print_json({key: described[key] for key in _JSON_KEYS})
            return
        verdict = Text("right", style="green") if judged.is_right else Text("wrong", style="red")
        terminal.out.print(Text("   truth: "), Text(judged.expected), Text("  "), verdict, sep="")
        terminal.out.print(f"  {answer_output.answer_notes(judged.answer)}\n", style="dim", markup=False)
