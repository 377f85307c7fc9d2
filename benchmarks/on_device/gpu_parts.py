"""What one GPU does with a model: the figures of benchmarks.gpu, each beside a bare forward."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks import real_shape
from benchmarks.on_device import answering, full_memories, ingesting, pairs, serving_load, transfers
from benchmarks.on_device.bare_forward import BareForward
from cache_store.tiers import MemoryConfig, PolicyName
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.device.device_config import DeviceConfig

_CAMERA_FPS = 0.5  # ungated
_PUBLISHED_PEAK = {"H100": 989.4, "H200": 989.4, "A100": 312.0, "A800": 312.0, "L40": 362.0, "L4": 121.0}  # bf16, dense
_DISTINCT_MEMORIES = DeviceConfig().max_memory_copies  # under the answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is measured. cameras: of the loaded engine; all together have `_CAMERA_FPS` frames a second each.

    policy: what the memories get in the product.
    """

    policy: PolicyName

    budgets: tuple[int, ...]
    batches: tuple[int, ...]
    answers: tuple[int, ...]
    frames_per_step: int
    steps: int
    rounds: int
    cameras: int
    questions: int


LARGE = Sizes(
    policy=real_shape.POLICY,
    budgets=(4_000, 6_000),
    batches=(1, 4, 16),
    answers=(1, 8, 32),
    frames_per_step=8,
    steps=4,
    rounds=30,
    cameras=16,
    questions=150,
)
SMALL = Sizes(
    policy=PolicyName.AUTO,
    budgets=(128, 192),
    batches=(1, 2),
    answers=(1, 2),
    frames_per_step=4,
    steps=1,
    rounds=2,
    cameras=2,
    questions=5,
)


@dataclass(frozen=True, slots=True)
class Figure:
    """bare: the same of the unmodified model, where there is such a thing."""

    part: str
    model: str
    name: str
    value: float
    unit: str
    bare: float | None = None


def prefill(model: VideoLanguageModel, sizes: Sizes, peak_tflops: float) -> Iterator[Figure]:
    """Steps of frames of 1, 4 and 16 cameras as one batch, with what they add up to: cameras and upkeep."""
    writer, bare = _writer(model, sizes, sizes.budgets[0]), BareForward(model)
    for batch in sizes.batches:
        memories = full_memories.full(writer, batch)
        context = memories[0].longest
        times = ingesting.parts(writer, bare, memories, sizes.frames_per_step, sizes.steps)
        upkeep_s = statistics.fmean(times.upkeep_s)
        ours_s, bare_s = statistics.fmean(times.decoder_s) - upkeep_s, statistics.fmean(times.bare_decoder_s)
        tflop = bare.flops(times.tokens, context) / 1e12
        shares = [tflop / seconds / peak_tflops for seconds in (ours_s, bare_s)]
        rates = [times.tokens / seconds for seconds in (ours_s, bare_s)]
        cameras = batch * sizes.frames_per_step / times.step_s / _CAMERA_FPS
        for name, value, unit, other in (
            ("prefill", rates[0], "tokens/s", rates[1]),
            ("prefill, share of peak", shares[0], "", shares[1]),
            ("vision", 1e3 * statistics.fmean(times.vision_s), "ms", None),
            ("upkeep", 1e3 * upkeep_s, "ms", None),
            ("upkeep, share of ingest", times.upkeep_share, "", None),
            (f"cameras at {_CAMERA_FPS} frames/s", cameras, "", None),
        ):
            yield Figure("prefill", model.spec.name, f"{name}, batch {batch}", value, unit, other)


def decode(model: VideoLanguageModel, sizes: Sizes, _peak_tflops: float) -> Iterator[Figure]:
    """A decode step of 1, 8 and 32 answers as one batch; on a GPU as a CUDA graph and as an ordinary pass."""
    writer, bare = _writer(model, sizes, sizes.budgets[0]), BareForward(model)
    distinct = full_memories.full(writer, _DISTINCT_MEMORIES)
    for number in sizes.answers:
        memories = [distinct[row % len(distinct)] for row in range(number)]
        for has_graphs in (True, False) if model.spec.device.type == "cuda" else (False,):
            pair = answering.steps(model, bare, memories, rounds=sizes.rounds, has_graphs=has_graphs)
            name = f"decode step, {number} answers{', CUDA graph' if has_graphs else ''}"
            yield Figure("decode", model.spec.name, name, 1e3 * pair.ours_s, "ms", 1e3 * pair.bare_s)


def first_token(model: VideoLanguageModel, sizes: Sizes, _peak_tflops: float) -> Iterator[Figure]:
    """What a question waits for at a running engine, idle and while cameras are ingested."""
    for budget in sizes.budgets:
        writer = _writer(model, sizes, budget)
        memory = full_memories.full(writer, 1)[0]
        pair = answering.first_tokens(model, BareForward(model), memory, rounds=sizes.rounds)
        yield Figure(
            "ttft", model.spec.name, f"question, {budget:,} tokens", 1e3 * pair.ours_s, "ms", 1e3 * pair.bare_s
        )
        for when, waits_s in _waits_s(model, sizes, budget):
            for percent in (50, 99):
                value = 1e3 * pairs.percentile(waits_s, percent)
                yield Figure("ttft", model.spec.name, f"TTFT {when} p{percent}, {budget:,} tokens", value, "ms")


def _waits_s(model: VideoLanguageModel, sizes: Sizes, budget: int) -> Iterator[tuple[str, list[float]]]:
    device = DeviceConfig(max_cameras=sizes.cameras, max_frames_per_step=sizes.frames_per_step, max_answer_tokens=2)
    cameras = serving_load.Cameras(model, _memory(sizes, budget), device)
    try:
        cameras.fill(-(-budget // model.spec.layout.max_tokens(sizes.frames_per_step)) + 1)
        cameras.first_token_waits_s(len(serving_load.QUESTIONS))  # the first of a length chooses and loads its kernels
        yield "idle", cameras.first_token_waits_s(sizes.questions)
        with cameras.ingesting(steps_per_s=_CAMERA_FPS / sizes.frames_per_step):
            yield "while ingesting", cameras.first_token_waits_s(sizes.questions)
    finally:
        cameras.engine.close()


def between_host_and_device(model: VideoLanguageModel, sizes: Sizes, _peak_tflops: float) -> Iterator[Figure]:
    """Frames on their way to the device, and a snapshot of a full memory on its way back."""
    writer = _writer(model, sizes, sizes.budgets[0])
    for batch in sizes.batches:
        pair = transfers.frames(model, batch, sizes.frames_per_step, rounds=sizes.rounds)
        for name, seconds in (("", pair.ours_s), (", from ordinary memory", pair.bare_s)):
            yield Figure("transfers", model.spec.name, f"frames, batch {batch}{name}", 1e3 * seconds, "ms")
    memory = full_memories.full(writer, 1)[0]
    for way, times in transfers.snapshots(model, memory, rounds=sizes.rounds).items():
        yield Figure("transfers", model.spec.name, f"snapshot, device thread{way}", 1e3 * times.on_thread_s, "ms")
        yield Figure("transfers", model.spec.name, f"snapshot, until on the host{way}", 1e3 * times.until_there_s, "ms")


def nbytes(model: VideoLanguageModel, sizes: Sizes, _peak_tflops: float) -> Iterator[Figure]:
    """What one camera's slot takes."""
    for budget in sizes.budgets:
        slabs = full_memories.empty(_writer(model, sizes, budget), 1)[0].slabs
        formula = slabs.slot_nbytes / 1e6
        yield Figure("bytes", model.spec.name, f"a camera, {budget:,} tokens", slabs.nbytes / 1e6, "MB", formula)


def peak_tflops(device: torch.device) -> tuple[float, float]:
    """Dense bfloat16 arithmetic: as published for this GPU, and as a large product reaches here."""
    side = 8_192 if device.type == "cuda" else 512
    factors = [torch.randn(side, side, dtype=torch.bfloat16, device=device) for _ in range(2)]
    seconds = [pairs.seconds(lambda: factors[0] @ factors[1]) for _ in range(10)]
    reached = 2 * side**3 / statistics.median(seconds) / 1e12
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in _PUBLISHED_PEAK.items() if part in name), reached), reached


def _writer(model: VideoLanguageModel, sizes: Sizes, budget: int) -> MemoryWriter:
    return MemoryWriter(model, _memory(sizes, budget), max_frames=sizes.frames_per_step, reserve=answering.RESERVE)


def _memory(sizes: Sizes, budget: int) -> MemoryConfig:
    return MemoryConfig(tokens_per_layer=budget, policy=sizes.policy)


PARTS = {
    "prefill": prefill,
    "decode": decode,
    "ttft": first_token,
    "transfers": between_host_and_device,
    "bytes": nbytes,
}
