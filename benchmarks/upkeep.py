"""What compaction costs at the shape of a real model: python -m benchmarks.upkeep --help.

LLaVA-OneVision 0.5B with random weights appends clips. Upkeep is scoring and compaction; the rest is the vision encoder
and prefill. Texts are shortened to about as many tokens as with the real vocabulary. The figure is that of the policy
that published weights of this shape get; `benchmarks.device` has the same one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from benchmarks import real_shape, result_file
from benchmarks.stream_memories import TimedWriter
from cache_store.memory import Memory
from cache_store.policies import POLICIES
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig, PolicyName
from models import frame_encoder
from models.vision_language_model import VideoLanguageModel


@dataclass(frozen=True, slots=True)
class Row:
    """Medians over the clips that caused a compaction. upkeep_share: of the whole ingest of a clip."""

    policy: str
    tokens_per_clip: int
    tokens_per_layer: int
    guidance_tokens: int
    vision_s: float
    prefill_s: float
    upkeep_s: float
    upkeep_share: float


def main() -> None:
    """Measures, prints a table, and writes JSON on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=8, help="of a clip, 196 tokens each")
    parser.add_argument("--clips", type=int, default=3, help="measured, after those that fill the memory")
    parser.add_argument("--tokens", type=int, default=4_000, help="budget: tokens a layer")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), choices=list(POLICIES))
    result_file.add_option(parser)
    options = parser.parse_args()
    torch.set_num_threads(os.cpu_count() or 1)
    model = real_shape.load()
    rows = [measure(model, name, options.frames, options.clips, options.tokens) for name in options.policies]
    print(table(rows))
    shares = {row.policy: row.upkeep_share for row in rows}
    metrics = {"upkeep_share": shares[real_shape.POLICY]} if real_shape.POLICY in shares else {}
    result_file.write(options.json, metrics, rows=rows)


def measure(model: VideoLanguageModel, policy: str, num_frames: int, clips: int, tokens_per_layer: int) -> Row:
    """One policy over a stream of random frames."""
    config = MemoryConfig(tokens_per_layer=tokens_per_layer, policy=PolicyName(policy))
    writer = TimedWriter(model, config, max_frames=num_frames, reserve=512)
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    per_clip = model.spec.layout.max_tokens(num_frames)
    timed = []
    for clip in range(-(-tokens_per_layer // per_clip) + clips):
        is_over = memory.longest - memory.prefix_length + per_clip > tokens_per_layer
        durations = _one_clip(writer, memory, num_frames, first_s=float(clip * num_frames))
        if is_over:
            timed.append(durations)
    vision_s, prefill_s, upkeep_s = (statistics.median(column) for column in zip(*timed, strict=True))
    return Row(
        policy,
        per_clip,
        tokens_per_layer,
        writer.scorer.num_tokens,
        round(vision_s, 2),
        round(prefill_s, 2),
        round(upkeep_s, 2),
        round(upkeep_s / (vision_s + prefill_s + upkeep_s), 4),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| policy | tokens a clip | budget | guidance tokens | vision | prefill | upkeep | share |",
        "|---|" + "---:|" * 7,
    ]
    for row in rows:
        seconds = f"{row.vision_s} s | {row.prefill_s} s | {row.upkeep_s} s"
        sizes = f"{row.tokens_per_clip:,} | {row.tokens_per_layer:,} | {row.guidance_tokens}"
        lines.append(f"| {row.policy} | {sizes} | {seconds} | {row.upkeep_share:.1%} |")
    return "\n".join(lines)


def _one_clip(writer: TimedWriter, memory: Memory, num_frames: int, *, first_s: float) -> tuple[float, float, float]:
    """Seconds for vision, for prefill, and for upkeep."""
    side, upkeep_before_s = writer.model.spec.layout.square, writer.upkeep_s
    frames = torch.randint(0, 256, (num_frames, side, side, 3), dtype=torch.uint8)
    times_s = first_s + torch.arange(num_frames, dtype=torch.float64)[None]
    began_s = time.perf_counter()
    encoded = frame_encoder.encode(writer.model, [frames])
    encoded_s = time.perf_counter()
    writer.prefill([memory], encoded, times_s)
    upkeep_s = writer.upkeep_s - upkeep_before_s
    return encoded_s - began_s, time.perf_counter() - encoded_s - upkeep_s, upkeep_s


if __name__ == "__main__":
    main()
