"""Drives the questions of a device without a thread and without clips: job by job, in virtual time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from models.answer_decoder import AnswerDecoder
from models.llava_onevision import LlavaOnevision
from models.vision_language_model import VideoLanguageModel
from pipeline.answers import ANYBODY, AnswerEvent, Caller, Done, Evidence, QuestionError, Started
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.device_config import DeviceConfig
from pipeline.device.device_thread import Job
from pipeline.device.questions import QuestionRunner
from pipeline.device.scheduler import Scheduler
from tests.conftest import random_frames
from tests.pipeline.device.fixed_steps import FixedSteps
from tests.pipeline.device.test_camera_memory import append, new_camera

TEXTS = ("what is in view", "is there a red car on the left", "what came first", "how many dogs are there now")
CONFIG = DeviceConfig(max_answer_tokens=6, max_waiting_questions=64)


def cameras_of(model: LlavaOnevision, *names: str) -> dict[str, CameraMemory]:
    """Cameras that have seen different numbers of frames."""
    cameras = {name: new_camera(model, is_gated=False) for name in names}
    for seed, camera in enumerate(cameras.values()):
        append(camera, random_frames(4 * (seed + 1), seed), first_s=1_000.0)
    return cameras


@dataclass(frozen=True)
class Question:
    """A question of a test. after: it comes when so many jobs are done."""

    camera: str
    text: str = TEXTS[0]
    after: int = 0
    max_tokens: int = 6
    caller: Caller = ANYBODY


class Questioning:
    """A runner with so many slots, its virtual time, and what each listener gets. A job takes a second.

    has_fixed_steps: its decode steps are those that CUDA graphs replay.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        cameras: Mapping[str, CameraMemory],
        *,
        slots: int,
        copies: int = 2,
        max_tokens: int = 2_048,
        has_fixed_steps: bool = False,
    ) -> None:
        capacity = max(camera.memory.slabs.capacity for camera in cameras.values())
        config = replace(CONFIG, max_running_questions=slots, max_memory_copies=copies)
        self.cameras = cameras
        self.now_s = 0.0
        self.jobs_done = 0
        self.events: dict[Question, list[AnswerEvent | QuestionError]] = {}
        self.reports: list[str] = []
        answer_slots = AnswerSlots(model.spec.kv, config, capacity)
        self.decoder = AnswerDecoder(model, FixedSteps(model, answer_slots.slabs) if has_fixed_steps else None)
        self.runner = QuestionRunner(
            self.decoder,
            model.prompts,
            answer_slots,
            config,
            clock=lambda: self.now_s,
            report=lambda event, **_: self.reports.append(event),
        )
        self._scheduler = Scheduler(max_tokens=max_tokens)

    def next_job(self) -> Job | None:
        self.runner.end_unanswerable(self.cameras)
        turn = self._scheduler.next_turn(self.runner.waiting(self.cameras))
        return None if turn is None else self.runner.next_job(turn, self.cameras)

    def ask(self, question: Question) -> None:
        events = self.events.setdefault(question, [])
        self.runner.add(
            question.camera, question.text, events.append, max_answer_tokens=question.max_tokens, caller=question.caller
        )

    def run(self, questions: Sequence[Question]) -> None:
        """Asks each at its time and runs all jobs."""
        late = sorted(questions, key=lambda question: question.after)
        while True:
            while late and (late[0].after <= self.jobs_done):
                self.ask(late.pop(0))
            if (job := self.next_job()) is None:
                if not late:
                    return
            else:
                job.run()
            self.jobs_done += 1
            self.now_s += 1.0

    def outcomes(self) -> dict[Question, object]:
        return {question: outcome(events) for question, events in self.events.items()}


def outcome(events: Sequence[AnswerEvent | QuestionError]) -> object:
    """What must be the same for a question in any company: all but ids and times."""
    assert sum(isinstance(event, Done | QuestionError) for event in events) == 1
    end = events[-1]
    if isinstance(end, QuestionError):
        return type(end)
    assert isinstance(end, Done)
    assert isinstance(events[0], Started)
    moments = tuple(event.time_s for event in events if isinstance(event, Evidence))
    return (events[0].memory_as_of_s, end.answer, end.answer_tokens, end.finish_reason, moments)


def alone(model: LlavaOnevision, cameras: Mapping[str, CameraMemory], question: Question) -> object:
    """The outcome of a question that nobody else's disturbs."""
    questioning = Questioning(model, cameras, slots=1)
    questioning.run([question])
    return questioning.outcomes()[question]
