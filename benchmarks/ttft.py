"""Time to the first token of an answer against the length of the stream: python -m benchmarks.ttft --help.

Frames of a simulated camera are appended to one memory. At each length the same question is asked many times on a copy.
The measured time is what a question waits for on an idle device: copy of the slot, prefill, first token.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from benchmarks import machine, result_file
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import registry
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel

FRAMES_PER_STEP = 4
FRAMES_PER_S = 2.0


@dataclass(frozen=True, slots=True)
class Row:
    """The figures at one length of the stream."""

    frames: int
    hours: float
    tokens_per_layer: int
    memory_mb: float
    ttft_p50_ms: float
    ttft_p95_ms: float
    ingest_ms_per_frame: float


def main() -> None:
    """Measures, prints a Markdown table, and writes JSON on request."""
    options = _options()
    torch.set_num_threads(options.threads)
    model = registry.load_model(options.model)
    rows = list(measure(model, options.tokens, options.lengths, options.repeats))
    ran_on = f"{machine.described()}, torch {torch.__version__}"
    print(f"{options.model} on {model.spec.device}, {options.tokens} tokens a layer; {ran_on}\n")
    print(table(rows))
    metrics = {
        "model": options.model,
        "ttft_p50_ms": rows[-1].ttft_p50_ms,
        "ttft_longest_over_shortest": round(rows[-1].ttft_p50_ms / rows[0].ttft_p50_ms, 3),
    }
    result_file.write(options.json, metrics, rows=rows, machine_suffix=f", torch {torch.__version__}")


def measure(model: VideoLanguageModel, tokens: int, lengths: list[int], repeats: int) -> Iterator[Row]:
    """A row for each length of one stream."""
    config = MemoryConfig(tokens_per_layer=tokens)
    writer = MemoryWriter(model, config, max_frames=FRAMES_PER_STEP, reserve=320)
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    scratch = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity + 320), 0)
    decoder = AnswerDecoder(model)
    writer.reset(memory)
    for length in lengths:
        ingest_ms = [1000 * seconds / FRAMES_PER_STEP for seconds in _append_until(writer, memory, length)]
        waits = [_first_token_s(decoder, memory, scratch, model) for _ in range(repeats)]
        yield Row(
            frames=length,
            hours=round(length / FRAMES_PER_S / 3600, 2),
            tokens_per_layer=memory.longest,
            memory_mb=round(memory.longest * model.spec.kv.footprint.kv_nbytes * memory.num_layers / 1e6, 2),
            ttft_p50_ms=round(1000 * statistics.median(waits), 1),
            ttft_p95_ms=round(1000 * statistics.quantiles(waits, n=20)[-1], 1),
            ingest_ms_per_frame=round(statistics.median(ingest_ms), 2),
        )


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| frames | at 2/s | tokens a layer | memory | TTFT p50 | TTFT p95 | ingest a frame |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.frames:,} | {row.hours:.2f} h | {row.tokens_per_layer} | {row.memory_mb} MB | {row.ttft_p50_ms} ms "
        f"| {row.ttft_p95_ms} ms | {row.ingest_ms_per_frame} ms |"
        for row in rows
    ]
    return "\n".join(lines)


def _append_until(writer: MemoryWriter, memory: Memory, length: int) -> Iterator[float]:
    """Appends the stream up to `length` frames; yields the seconds of each step."""
    scene, side = Scene(seed=7), writer.model.spec.layout.square
    while memory.next_frame < length:
        times_s = [(memory.next_frame + offset) / FRAMES_PER_S for offset in range(FRAMES_PER_STEP)]
        frames = torch.stack([torch.from_numpy(scene.frame(at_s, side, side)) for at_s in times_s])
        started = time.perf_counter()
        writer.append([memory], frames[None], torch.tensor([times_s], dtype=torch.float64))
        yield time.perf_counter() - started


def _first_token_s(decoder: AnswerDecoder, memory: Memory, scratch: Memory, model: VideoLanguageModel) -> float:
    started = time.perf_counter()
    question = model.prompts.question("what colour was the last car")
    scratch.copy_from(memory)
    answer = Answer(scratch, question)
    decoder.step([answer])
    return time.perf_counter() - started


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name, hub id or folder")
    parser.add_argument("--tokens", type=int, default=256, help="budget: tokens a layer")
    parser.add_argument("--lengths", type=int, nargs="+", default=[100, 300, 1_000, 3_000, 10_000], help="frames")
    parser.add_argument("--repeats", type=int, default=50, help="questions at each length")
    parser.add_argument("--threads", type=int, default=1, help="of torch; a shard has one")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
