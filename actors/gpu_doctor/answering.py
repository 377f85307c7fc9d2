"""What the tiny model answers on a device: over one street, with compactions, and how soon the first token comes."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from actors.gpu_doctor.parts import Proof, Unfit
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import decode_graphs, registry
from models.answer_decoder import Answer, AnswerDecoder
from models.embeddings import Embeddings
from models.errors import GraphNotRecorded
from models.memory_writer import MemoryWriter
from models.slot_cache import SlotCache
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from models.weight_format import WeightFormat
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.device_config import DeviceConfig

QUESTIONS = ("what is in view", "what came first", "what left last", "how many cars so far", "what colour was the car")
MAX_OFF = 1e-2  # of keys and logits in float32: sums are taken in another order
MIN_EQUAL_ANSWERS = 4  # of the questions, in bfloat16
MAX_TTFT_MS = 500.0
_MODEL = "tiny"
_FRAMES, _TOKENS_PER_LAYER, _STEP = 96, 256, 8
_MAX_ANSWER_TOKENS = 8
_TIMED_QUESTIONS = 20


@dataclass(frozen=True, slots=True)
class Results:
    """What one device computed. logits: of the first token of each answer, [Q, V]. keys: of each layer, [H, N, D]."""

    answers: list[str]
    logits: Tensor
    keys: list[Tensor]


def check_float32(device: str) -> Proof:
    """The same answers, keys and logits as on the CPU, in float32. Raises Unfit."""
    ours, cpu = (results_on(one, WeightFormat.FLOAT32, _FRAMES) for one in (device, "cpu"))
    off = require_same(ours, cpu)
    return Proof(
        f"{len(cpu.answers)} answers as on the CPU, keys and logits off by {off:.1e} (limit {MAX_OFF:g})",
        {"largest_difference": off},
    )


def require_same(ours: Results, cpu: Results) -> float:
    """The largest difference of keys and logits. Raises Unfit where an answer differs, or it is above MAX_OFF."""
    for question, mine, other in zip(QUESTIONS, ours.answers, cpu.answers, strict=True):
        if mine != other:
            raise Unfit(f"{question!r}: {mine!r} (on the CPU {other!r})")
    pairs = zip((ours.logits, *ours.keys), (cpu.logits, *cpu.keys), strict=True)
    off = max(float((mine - other).abs().nan_to_num(torch.inf).max()) for mine, other in pairs)
    if off > MAX_OFF:
        raise Unfit(f"keys or logits are off by {off:.1e} (limit {MAX_OFF:g})", {"largest_difference": off})
    return off


def check_bfloat16(device: str) -> Proof:
    """In bfloat16, as shards run on a GPU: finite numbers, and nearly all answers as in float32 on the CPU.

    Raises Unfit.
    """
    ours = results_on(device, WeightFormat.BFLOAT16, _FRAMES)
    cpu = results_on("cpu", WeightFormat.FLOAT32, _FRAMES)
    equal = require_close(ours, cpu)
    return Proof(
        f"{equal} of {len(cpu.answers)} answers as in float32 on the CPU (at least {MIN_EQUAL_ANSWERS})",
        {"equal_answers": equal},
    )


def require_close(ours: Results, cpu: Results) -> int:
    """How many answers are the same. Raises Unfit for too few, or where a number is not finite."""
    if not all(bool(torch.isfinite(tensor).all()) for tensor in (ours.logits, *ours.keys)):
        raise Unfit("keys or logits are not finite")
    equal = sum(mine == other for mine, other in zip(ours.answers, cpu.answers, strict=True))
    if equal < MIN_EQUAL_ANSWERS:
        raise Unfit(
            f"{equal} of {len(cpu.answers)} answers as in float32 on the CPU (at least {MIN_EQUAL_ANSWERS})",
            {"equal_answers": equal},
        )
    return equal


def check_ttft(device: str, *, max_ms: float = MAX_TTFT_MS) -> Proof:
    """The time to the first token on the idle device: copy of the slot, prefill, first token. Raises Unfit."""
    model = registry.load_model(_MODEL, device)
    writer, memory = _filled(model, _FRAMES)
    _first_token_s(writer, memory)  # warms up
    waits_ms = [1000 * _first_token_s(writer, memory) for _ in range(_TIMED_QUESTIONS)]
    p50, p95 = statistics.median(waits_ms), statistics.quantiles(waits_ms, n=20)[-1]
    figures = {"ttft_p50_ms": round(p50, 2), "ttft_p95_ms": round(p95, 2)}
    if p95 > max_ms:
        raise Unfit(f"{p95:.0f} ms in the 95th percentile (limit {max_ms:g})", figures)
    return Proof(f"{p50:.1f} ms in the median, {p95:.1f} in the 95th percentile (limit {max_ms:g})", figures)


@torch.inference_mode()
def results_on(device: str, weights: WeightFormat, num_frames: int) -> Results:
    """Appends a street to a memory on this device and asks every question. float32 is exact, without TF32."""
    model = registry.load_model(_MODEL, device, weights)
    with torch.backends.cudnn.flags(allow_tf32=False):
        writer, memory = _filled(model, num_frames)
        answers = [_answer(writer, memory, question) for question in QUESTIONS]
        logits = [_first_logits(model, memory, question) for question in QUESTIONS]
    keys = [memory.layer(layer).keys.float().cpu() for layer in range(memory.num_layers)]
    return Results(answers, torch.stack(logits), keys)


def _filled(model: VideoLanguageModel, num_frames: int) -> tuple[MemoryWriter, Memory]:
    """A memory of so many frames at two a second, compacted to its budget."""
    writer = MemoryWriter(
        model, MemoryConfig(tokens_per_layer=_TOKENS_PER_LAYER), max_frames=_STEP, reserve=DeviceConfig().answer_reserve
    )
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    scene, side = Scene(7), model.spec.layout.square
    frames = torch.stack([torch.from_numpy(scene.frame(index / 2, side, side)) for index in range(num_frames)])
    times_s = torch.arange(num_frames, dtype=torch.float64) / 2
    for start in range(0, num_frames, _STEP):
        writer.append([memory], frames[None, start : start + _STEP], times_s[None, start : start + _STEP])
    return writer, memory


def _prefilled(writer: MemoryWriter, memory: Memory, question: str) -> tuple[AnswerDecoder, Answer]:
    model = writer.model
    slots = AnswerSlots(model.spec.kv, DeviceConfig(max_running_questions=1, max_memory_copies=1), writer.capacity)
    decoder = AnswerDecoder(model, decode_graphs.of_device(model, slots.slabs, _refuse))
    answer = Answer(slots.acquire(memory), model.prompts.question(question))
    decoder.step([answer])
    return decoder, answer


def _refuse(error: GraphNotRecorded) -> None:
    """A shard goes on with ordinary passes, which are slower."""
    raise Unfit(str(error)) from error


def _answer(writer: MemoryWriter, memory: Memory, question: str) -> str:
    decoder, answer = _prefilled(writer, memory, question)
    while not decoder.is_ended(answer) and len(answer.ids) < _MAX_ANSWER_TOKENS:
        decoder.step([answer])
    return writer.model.prompts.decode(tuple(answer.ids))


def _first_logits(model: VideoLanguageModel, memory: Memory, question: str) -> Tensor:
    """Logits of the first token of the answer, on the CPU. [V]"""
    ids = torch.tensor(model.prompts.question(question).ids, device=model.spec.device)
    embedded = model.embed_question(ids)
    hidden = model.forward(Embeddings.pack([embedded]), SlotCache([memory], [len(embedded)], is_read_only=True))
    return model.logits(hidden[0, -1]).float().cpu()


def _first_token_s(writer: MemoryWriter, memory: Memory) -> float:
    began_s = time.perf_counter()
    _prefilled(writer, memory, QUESTIONS[0])  # its token id is read from the device, so the device is done
    return time.perf_counter() - began_s
