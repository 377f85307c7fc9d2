"""Decode steps as CUDA graphs: one for each number of rows, recorded once and replayed with new inputs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cache_store.memory import Memory
from models import evidence_layers
from models.decode_step import AnswerSlabs, DecodeStep
from models.errors import GraphNotRecorded
from models.vision_language_model import VideoLanguageModel

_RETRY_AFTER = 1_000  # steps: a recording costs some passes
_WARM_UPS = 2  # before a step is recorded, so that libraries have chosen and allocated what they need


@dataclass(frozen=True, slots=True)
class Decoded:
    """The outputs of a step, which the next step overwrites.

    logits: [B, V]. weights: of each evidence layer, on each row's copy, float32 [K, B, C]. Behind the valid tokens of a
    copy they mean nothing.
    """

    logits: Tensor
    weights: Tensor


Step = Callable[[Tensor], Decoded]  # called with the inputs of `AnswerSlabs.pack`
Recorder = Callable[[Step, Tensor], Step]


class DecodeGraphs:
    """The decode steps of one model over the slabs of its answers. Device thread only.

    record: makes of a step, given the inputs of idle rows, one that replays it. on_failure: called with the error each
    time that this fails. Only what failed for want of memory is recorded again, some time later.
    """

    def __init__(
        self,
        model: VideoLanguageModel,
        slabs: AnswerSlabs,
        record: Recorder,
        on_failure: Callable[[GraphNotRecorded], object],
    ) -> None:
        self._model = model
        self._slabs = slabs
        self._record = record
        self._on_failure = on_failure
        self._is_evidence = evidence_layers.of(model.spec.kv.num_layers)
        self._steps: dict[int, Step] = {}  # by their numbers of rows
        self._passes_left: dict[int, float] = {}  # until a number of rows that was not recorded is tried again
        self.layers = tuple(layer for layer, is_evidence in enumerate(self._is_evidence) if is_evidence)

    def decode(self, memories: Sequence[Memory], token_ids: Sequence[int]) -> Decoded | None:
        """Decodes a token of each answer: it reads the newest one. None if that must be an ordinary pass.

        The keys and values that it reads are written, not committed. The first step of a number of rows, rounded up to
        a power of two, is recorded, and takes as long as some passes.
        """
        if not all(self._slabs.can_step(memory) for memory in memories):
            return None
        num_rows = 1 << (len(memories) - 1).bit_length()
        if (step := self._steps.get(num_rows) or self._recorded(num_rows)) is None:
            return None
        decoded = step(self._slabs.pack(memories, token_ids, num_rows))
        return Decoded(decoded.logits[: len(memories)], decoded.weights[:, : len(memories)])

    def _recorded(self, num_rows: int) -> Step | None:
        """None if that fails, or has failed not long ago."""
        passes_left = self._passes_left.get(num_rows, 0)
        if passes_left > 0:
            self._passes_left[num_rows] = passes_left - 1
            return None
        try:
            step = self._steps[num_rows] = self._record(self._step, self._slabs.pack([], [], num_rows))
        except GraphNotRecorded as error:
            can_pass = isinstance(error.__cause__, torch.OutOfMemoryError)
            self._passes_left[num_rows] = _RETRY_AFTER if can_pass else math.inf
            self._on_failure(error)
            return None
        return step

    @torch.inference_mode()
    def _step(self, inputs: Tensor) -> Decoded:
        step = DecodeStep(self._slabs, inputs, self._is_evidence)
        hidden = self._model.forward(self._model.embed_tokens(step.ids[None]), step)
        return Decoded(self._model.logits(hidden[0]), torch.stack(step.weights))


class CudaGraphs:
    """Records steps as CUDA graphs. They share one pool of memory, because only one of them runs at a time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, step: Step, inputs: Tensor) -> Step:
        """Runs a step a few times, then records it. Raises GraphNotRecorded."""
        on_device = inputs.to(self._device)
        graph = torch.cuda.CUDAGraph()
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        try:
            # The stream is current here too, because a recording that fails leaves its own as it is.
            with torch.cuda.stream(self._stream):
                for _ in range(_WARM_UPS):
                    step(on_device)
                # Other threads go on, e.g. those that decode video on this device.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    decoded = step(on_device)
        except RuntimeError as error:
            # A recording that fails may leave its pool open, and no other one could begin in it.
            self._pool = torch.cuda.graph_pool_handle()
            raise GraphNotRecorded(f"a decode step of {inputs.shape[1]} rows: {error}") from error
        finally:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        # Filled again only after the caller has read the tokens of the step before, so the copy from it has ended.
        pinned = torch.empty_like(inputs, pin_memory=True)

        def replay(inputs: Tensor) -> Decoded:
            on_device.copy_(pinned.copy_(inputs), non_blocking=True)
            graph.replay()
            return decoded

        return replay


def of_device(
    model: VideoLanguageModel, slabs: AnswerSlabs, on_failure: Callable[[GraphNotRecorded], object]
) -> DecodeGraphs | None:
    """None where decode steps are ordinary passes: without CUDA, with recurrent layers, with layers on several GPUs."""
    kv = model.spec.kv
    if kv.device.type != "cuda" or kv.recurrent is not None or len(set(kv.devices)) > 1:
        return None
    return DecodeGraphs(model, slabs, CudaGraphs(kv.device), on_failure)
