"""What hermes adds to bare forward passes on this device: python -m benchmarks.device --help.

Every figure is a ratio of two things that were timed in turn in one run, so that other work on the machine meets both.
A bare forward is the unmodified transformers model over a DynamicCache of the same lengths, with the same threads. Each
part is saved when it ends: `--parts` repeats one of them, and the rows of the others stay in the file.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import machine, result_file, slot_rows
from benchmarks.on_device import (
    answering,
    endurance,
    full_memories,
    ingesting,
    int8_slots,
    metrics,
    pairs,
    serving_load,
    streaming,
    without_memory,
)
from benchmarks.on_device.bare_forward import BareForward
from benchmarks.on_device.metrics import Row
from benchmarks.on_device.pairs import Pair
from benchmarks.on_device.plot import plot
from benchmarks.on_device.scale import FULL, QUICK, Scale, tiny
from benchmarks.parts import current_commit
from cache_store.tiers import MemoryConfig, PolicyName
from models.memory_writer import MemoryWriter
from models.vision_language_model import VideoLanguageModel
from pipeline.device.device_config import DeviceConfig

Figures = Iterator[tuple[str, float, Pair | None, str]]  # metric, value, its two times, note
_TINY_TOKENS, _TINY_FRAMES = 256, 4


def main() -> None:
    """Measures the chosen parts, saves each, prints the table."""
    options = _options()
    rows = run(options.parts, QUICK if options.quick else FULL, options.json)
    print(f"\n{machine.described()}, torch {torch.__version__}\n\n{metrics.table(rows)}")
    if options.plot:
        plot(rows, options.plot)


def run(parts: Sequence[str], scale: Scale, file: Path | None) -> list[Row]:
    """The rows of these parts, and those of other parts that the file has. Each part is saved when it ends."""
    rows = result_file.read_rows(file) if file and file.exists() else []
    measured = [Row(**row) for row in rows if row["part"] not in parts]
    for part in parts:
        threads, figures = PARTS[part]
        torch.set_num_threads(threads or os.cpu_count() or 1)
        for metric, value, pair, note in figures(scale):
            ours_ms, other_ms = (None, None) if pair is None else (1e3 * pair.ours_s, 1e3 * pair.bare_s)
            load = round(os.getloadavg()[0], 1)
            measured.append(Row(part, metric, round(value, 4), ours_ms, other_ms, note, load, current_commit()))
        values = {row.metric: row.value for row in measured}
        result_file.write(file, values, rows=measured, machine_suffix=f", torch {torch.__version__}")
        print(metrics.table([row for row in measured if row.part == part]), flush=True)
    return measured


def _forward(scale: Scale) -> Figures:
    model = scale.load_model()
    bare, memories = BareForward(model), full_memories.full(_writer(model, scale.tokens, 8), 1)
    first_token = answering.first_tokens(model, bare, memories[0], rounds=-(-scale.rounds // 3))
    yield "ttft_over_forward", first_token.ratio, first_token, ""
    step = answering.steps(model, bare, memories, rounds=-(-scale.rounds // 2))
    yield "step_over_forward", step.ratio, step, ""


def _ingest(scale: Scale) -> Figures:
    model = scale.load_model()
    writer = _writer(model, scale.tokens, 8, scale.policy)
    times = ingesting.parts(writer, BareForward(model), full_memories.full(writer, 1), 8, scale.clips)
    pair = Pair(statistics.fmean(times.decoder_s), statistics.fmean(times.bare_decoder_s), times.decoder_over_bare)
    yield "ingest_over_forward", pair.ratio, pair, f"means of {scale.clips} clips of {times.tokens} tokens"
    upkeep = Pair(statistics.fmean(times.upkeep_s), times.step_s, times.upkeep_share)
    note = f"beside the whole ingest of a clip; guidance of {writer.scorer.num_tokens} tokens"
    yield "upkeep_share", upkeep.ratio, upkeep, note


def _tiny_ingest(scale: Scale) -> Figures:
    model = tiny()
    writer, bare = _writer(model, _TINY_TOKENS, DeviceConfig().max_frames_per_step), BareForward(model)
    for cameras, metric in ((1, "tiny_ingest_over_forward"), (8, "tiny_ingest_8_over_forward")):
        memories = full_memories.full(writer, cameras)
        pair = ingesting.whole(writer, bare, memories, _TINY_FRAMES, 2 * scale.rounds)
        yield metric, pair.ratio, pair, f"{cameras} x {_TINY_FRAMES} frames"


def _tiny_steps(scale: Scale) -> Figures:
    model = tiny()
    writer, bare = _writer(model, _TINY_TOKENS, _TINY_FRAMES), BareForward(model)
    for answers, metric in ((1, "tiny_step_over_forward"), (8, "tiny_step_8_over_forward")):
        pair = answering.steps(model, bare, full_memories.full(writer, answers), rounds=2 * scale.rounds)
        yield metric, pair.ratio, pair, f"{answers} answers"


def _questions(scale: Scale) -> Figures:
    device = DeviceConfig(max_cameras=4, max_running_questions=32, max_frames_per_step=_TINY_FRAMES)
    cameras = serving_load.Cameras(tiny(), MemoryConfig(tokens_per_layer=_TINY_TOKENS), device)
    cameras.fill(8)
    timed = [serving_load.batch_over_serial(cameras, 32) for _ in range(-(-scale.rounds // 8))]
    cameras.engine.close()
    pair = pairs.of([(alone_s, together_s) for alone_s, together_s, _ in timed])
    note = "answers as alone" if all(is_same for *_, is_same in timed) else "answers DIFFER from those alone"
    yield "questions_32_over_serial", pair.ratio, pair, f"32 on 4 cameras; {note}"


def _stream(scale: Scale) -> Figures:
    streamed = streaming.compare(_writer(tiny(), _TINY_TOKENS, 8), 100, scale.stream, rounds=2 * scale.rounds)
    note = f"{scale.stream:,} frames, {streamed.compactions:,} compactions"
    yield "ttft_100k_over_100", streamed.first_token.ratio, streamed.first_token, note
    yield "bytes_over_formula", streamed.nbytes_over_formula, None, note


def _endurance(scale: Scale) -> Figures:
    device = DeviceConfig(max_cameras=8, max_frames_per_step=_TINY_FRAMES, max_answer_tokens=1)
    cameras = serving_load.Cameras(tiny(), MemoryConfig(tokens_per_layer=_TINY_TOKENS), device)
    usage = endurance.run(cameras, scale.endured_clips, scale.endured_questions)
    cameras.engine.close()
    before, after = (f"{usage.resident_nbytes[index] / 1e6:,.1f} MB" for index in (0, -1))
    slots = "the same" if len(set(usage.slots_nbytes)) == 1 else "OTHERS"
    note = f"{usage.clips:,} clips, {usage.questions:,} questions; the process {before}, {after}; slots {slots}"
    yield "bytes_100k_clips_over_10k", usage.ratio, None, note


def _load(scale: Scale) -> Figures:
    device = DeviceConfig(max_cameras=8, max_frames_per_step=_TINY_FRAMES)
    cameras = serving_load.Cameras(tiny(), MemoryConfig(tokens_per_layer=_TINY_TOKENS), device)
    cameras.fill(8)
    idle_s = cameras.first_token_waits_s(scale.loaded_questions)
    with cameras.ingesting(steps_per_s=0.5):
        loaded_s = cameras.first_token_waits_s(scale.loaded_questions)
    cameras.engine.close()
    p99_s, idle_p50_s = pairs.percentile(loaded_s, 99), statistics.median(idle_s)
    note = (
        f"p99 beside the idle median; idle p99 {1e3 * pairs.percentile(idle_s, 99):.1f} ms; 8 cameras, 2 frames/s each"
    )
    yield "loaded_p99_over_idle", p99_s / idle_p50_s, Pair(p99_s, idle_p50_s, p99_s / idle_p50_s), note


def _without_memory(scale: Scale) -> Figures:
    model, config = tiny(), MemoryConfig(tokens_per_layer=_TINY_TOKENS)
    pair = without_memory.retrieval(model, config, scale.stored_frames, rounds=scale.rounds)
    yield "retrieval_over_ttft", pair.ratio, pair, f"{scale.stored_frames:,} frames stored"
    rereading = without_memory.rereading(
        model, BareForward(model), config, scale.reread_tokens, rounds=-(-scale.rounds // 4)
    )
    yield "reread_4096_over_ttft", rereading.ratio, rereading, f"{scale.reread_tokens:,} tokens of frames"


def _int8(scale: Scale) -> Figures:
    slots = int8_slots.full(_writer(scale.load_model(), scale.tokens, 8))
    yield "int8_over_bf16", slots.nbytes_ratio, None, f"a camera with {scale.tokens:,} tokens a layer"
    for metric, pair in slots.times(rounds=-(-scale.rounds // 4), clips=-(-scale.clips // 3)):
        yield metric, pair.ratio, pair, "int8 slots beside exact ones"


def _int8_accuracy(scale: Scale) -> Figures:
    worst = slot_rows.worst(scale.exam_streams, scale.exam_frames)
    note = f"{worst.n:,} questions, {worst.budget} tokens a layer, 95 % {worst.low:.2f} to {worst.high:.2f}"
    yield "int8_loss_points", worst.lost_points, None, note


# Part -> threads (None: one a core, as a shard has that serves a model of this size), and how it is measured.
PARTS: dict[str, tuple[int | None, Callable[[Scale], Figures]]] = {
    "forward": (None, _forward),
    "ingest": (None, _ingest),
    "tiny-ingest": (1, _tiny_ingest),
    "tiny-steps": (1, _tiny_steps),
    "questions": (1, _questions),
    "stream": (1, _stream),
    "endurance": (1, _endurance),
    "load": (1, _load),
    "without-memory": (1, _without_memory),
    "int8": (None, _int8),
    "int8-accuracy": (1, _int8_accuracy),
}


def _writer(
    model: VideoLanguageModel, tokens: int, max_frames: int, policy: PolicyName = PolicyName.AUTO
) -> MemoryWriter:
    config = MemoryConfig(tokens_per_layer=tokens, policy=policy)
    return MemoryWriter(model, config, max_frames=max_frames, reserve=answering.RESERVE)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=list(PARTS), help="measured, in this order")
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs: no figure means anything"
    )
    result_file.add_option(parser)
    parser.add_argument("--plot", type=Path, help="write the plot into this file")
    return parser.parse_args()


if __name__ == "__main__":
    main()
