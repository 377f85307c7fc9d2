"""What real models cost in their published shapes: python -m benchmarks.models --help.

Random weights in bfloat16. A history of frames is appended to a memory that keeps all of it, and a question is asked.
transformers' own `generate` reads the same history and question at once, as a system without a memory does.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig

from benchmarks import machine, random_checkpoints, result_file
from benchmarks.transformers_prompts import prompt_of
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from console.planning.model_shapes import MODELS
from models import registry
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter
from models.prompts import QuestionPrompt
from models.slot_attention import ATTENTION_NAME
from models.vision_language_model import VideoLanguageModel
from models.weight_format import WeightFormat

QUESTION = "What colour was the last car that went by?"
_RESERVE = 256
_CAMERAS = 4  # whose slots are allocated to see what they take
_SIDE = 448  # of the frames, where the family keeps their size


@dataclass(frozen=True, slots=True)
class Row:
    """One model. history_tokens: in each layer. generate_*: of transformers, which reads the history for each answer.

    bytes_over_formula: what a camera's slot really takes over `cache_store.footprint`.
    """

    model: str
    weights: str
    load_s: float
    history_tokens: int
    ingest_tokens_per_s: float
    ttft_s: float
    step_s: float
    generate_ttft_s: float
    generate_step_s: float
    bytes_per_camera: int
    bytes_over_formula: float
    same_first_token: bool


def main() -> None:
    """Measures, prints a table, and writes JSON on request."""
    options = _options()
    torch.set_num_threads(options.threads)
    rows = []
    for name in options.models:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            random_checkpoints.write(name, Path(folder))
            weights = WeightFormat(options.weights)
            rows.append(measure(name, Path(folder), weights, num_frames=options.frames, steps=options.steps))
        print(table(rows[-1:]), flush=True)
    print(table(rows))
    metrics = {
        "bytes_over_formula": max(row.bytes_over_formula for row in rows),
        "generate_over_ttft": round(min(row.generate_ttft_s / row.ttft_s for row in rows), 1),
        "step_over_generate": round(max(row.step_s / row.generate_step_s for row in rows), 2),
    }
    result_file.write(options.json, metrics, rows=rows, machine_suffix=f", torch {torch.__version__}")
    print(f"{machine.described()}, torch {torch.__version__}, {options.threads} threads")


def measure(name: str, folder: Path, weights: WeightFormat, *, num_frames: int, steps: int) -> Row:
    """One checkpoint, over a history of random frames at two a second. steps: decoded tokens."""
    load_s, model = _timed(lambda: registry.load_model(str(folder), weights=weights))
    width, height = model.spec.layout.frame_fit(_SIDE, _SIDE)
    frames = torch.randint(0, 256, (num_frames, height, width, 3), dtype=torch.uint8)
    times_s = torch.arange(num_frames, dtype=torch.float64) / 2
    question = model.prompts.question(QUESTION)
    budget = model.spec.layout.max_tokens(num_frames) + 2
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=budget), max_frames=num_frames, reserve=_RESERVE)
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    ingest_s, _ = _timed(lambda: writer.append([memory], frames[None], times_s[None]))
    ttft_s, step_s, ids = _answer(model, memory, question, steps)
    generate_ttft_s, generate_step_s, generated = _generate(model, frames, times_s.tolist(), question, steps)
    nbytes, formula = _slot_nbytes(model, writer.capacity)
    return Row(
        model=name,
        weights=f"{weights}, {model.spec.kv.dtype}".replace("torch.", ""),
        load_s=round(load_s, 2),
        history_tokens=memory.longest,
        ingest_tokens_per_s=round((memory.longest - memory.prefix_length) / ingest_s, 1),
        ttft_s=round(ttft_s, 3),
        step_s=round(step_s, 4),
        generate_ttft_s=round(generate_ttft_s, 3),
        generate_step_s=round(generate_step_s, 4),
        bytes_per_camera=nbytes,
        bytes_over_formula=round(nbytes / formula, 4),
        same_first_token=ids[0] == generated[0],
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| model | load | history | ingest | TTFT | of generate | step | of generate | a camera | over formula |",
        "|---|" + "---:|" * 9,
    ]
    lines += [
        f"| {row.model} ({row.weights}) | {row.load_s} s | {row.history_tokens:,} | {row.ingest_tokens_per_s} tokens/s "
        f"| {row.ttft_s} s | {row.generate_ttft_s} s | {1e3 * row.step_s:.0f} ms | {1e3 * row.generate_step_s:.0f} ms "
        f"| {row.bytes_per_camera / 1e6:,.1f} MB | {row.bytes_over_formula} |"
        for row in rows
    ]
    return "\n".join(lines)


def _answer(
    model: VideoLanguageModel, memory: Memory, question: QuestionPrompt, steps: int
) -> tuple[float, float, list[int]]:
    """Seconds to the first token, the copy of the slot included, and of one decode step in the median; the tokens."""
    scratch = Memory(Slabs(model.spec.kv, slots=1, capacity=memory.slabs.capacity + _RESERVE), 0)
    decoder, waits = AnswerDecoder(model), []
    answer = Answer(scratch, question)
    for _ in range(3):
        began_s = time.perf_counter()
        scratch.copy_from(memory)
        answer = Answer(scratch, question)
        decoder.step([answer])
        waits.append(time.perf_counter() - began_s)
    stepped_s = [_timed(lambda: decoder.step([answer]))[0] for _ in range(steps)]
    return statistics.median(waits), statistics.median(stepped_s), answer.ids


def _generate(
    model: VideoLanguageModel, frames: Tensor, times_s: list[float], question: QuestionPrompt, steps: int
) -> tuple[float, float, list[int]]:
    """The same of transformers' own `generate` over the whole history, with its own attention and cache."""
    network = model._network  # type: ignore[attr-defined]
    prompt = prompt_of(model, frames, times_s, question.ids, (len(frames),))
    prompt = {name: tensor.to(model.spec.device) for name, tensor in prompt.items()}
    network.set_attn_implementation({"text_config": "sdpa", "vision_config": "sdpa"})
    stamps: list[float] = []
    greedy = GenerationConfig(max_new_tokens=steps + 1, min_new_tokens=steps + 1, do_sample=False, pad_token_id=0)
    try:
        began_s = time.perf_counter()
        with torch.inference_mode():
            output = network.generate(**prompt, generation_config=greedy, streamer=_Stamps(stamps))
    finally:
        network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})
    new = output[0, prompt["input_ids"].shape[1] :].tolist()
    stepped_s = [after - before for before, after in itertools.pairwise(stamps)]
    return stamps[0] - began_s, statistics.median(stepped_s), new


class _Stamps:
    """A streamer that notes when each new token comes; the first call of a streamer is the prompt."""

    def __init__(self, stamps: list[float]) -> None:
        self._stamps = stamps
        self._has_prompt = False

    def put(self, _tokens: Tensor) -> None:
        if self._has_prompt:
            self._stamps.append(time.perf_counter())
        self._has_prompt = True

    def end(self) -> None:
        """Does nothing."""


def _slot_nbytes(model: VideoLanguageModel, capacity: int) -> tuple[int, int]:
    """What a camera's slot takes of the memory that is allocated for some of them, and what the formula says."""
    slabs = Slabs(model.spec.kv, slots=_CAMERAS, capacity=capacity)
    parts = [part for value in vars(slabs).values() for part in (value if isinstance(value, list) else [value])]
    allocated = sum(part.untyped_storage().nbytes() for part in parts if isinstance(part, Tensor))
    return allocated // _CAMERAS, model.spec.kv.footprint.slot_nbytes(capacity)


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and the result. Waits for the GPU."""
    began_s = time.perf_counter()
    result = work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began_s, result


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shapes = [name for name, shape in MODELS.items() if not shape.is_shipped]
    default = ["llava-onevision-0.5b", "qwen3-vl-2b", "qwen2.5-vl-3b"]
    parser.add_argument("--models", nargs="+", default=default, choices=shapes, help="published shapes")
    parser.add_argument("--weights", default="bfloat16", choices=list(WeightFormat), help="number type of the weights")
    parser.add_argument("--frames", type=int, default=8, help="of the history, two a second")
    parser.add_argument("--steps", type=int, default=8, help="decoded tokens")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of torch")
    parser.add_argument("--folder", help="where the checkpoints are written for the run; 8 GB for 3B")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
