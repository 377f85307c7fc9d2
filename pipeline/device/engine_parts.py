"""What an engine is made of, where a test or a further kind of device needs other parts."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from models import decode_graphs
from models.answer_decoder import AnswerDecoder
from models.decode_step import AnswerSlabs
from models.vision_language_model import VideoLanguageModel
from pipeline.device.device_thread import DeviceThread
from pipeline.device.failure_report import FailureReport
from pipeline.device.snapshot_transfer import SnapshotTransfer, transfer_for
from pipeline.sources.clip_queue import ClipQueue


def decoder_for(model: VideoLanguageModel, slabs: AnswerSlabs, report: FailureReport) -> AnswerDecoder:
    """The decoder for answers in these slabs, by CUDA graphs where the device has them."""
    graphs = decode_graphs.of_device(model, slabs, lambda error: report("decode_graph_failed", reason=str(error)))
    return AnswerDecoder(model, graphs)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineParts:
    """thread, clips, decoder and snapshots make those of an engine.

    question_clock: by which questions expire.
    """

    thread: Callable[..., DeviceThread] = DeviceThread
    clips: Callable[..., ClipQueue] = ClipQueue
    decoder: Callable[[VideoLanguageModel, AnswerSlabs, FailureReport], AnswerDecoder] = decoder_for
    snapshots: Callable[..., SnapshotTransfer] = transfer_for
    question_clock: Callable[[], float] = time.monotonic
