"""What the static gate saves on a quiet camera and what it costs in accuracy: python -m benchmarks.gate --help.

Quiet: a street without visitors, with sensor noise, drifting light and lamps that switch, through the product's code
with and without the gate. Vigilance: whether every visitor passes the gate at once. Loss: the default policy of
benchmarks.accuracy on the same streams, with and without the gate.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks import accuracy, parts, result_file, rows, streams
from benchmarks.contenders import GATED, OURS
from benchmarks.parts import MIXED, Part
from benchmarks.streams import FRAMES_PER_S, FRAMES_PER_STEP, KEY_FRAME_EVERY_S, VISITS, Character
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import registry
from models.memory_writer import MemoryWriter
from models.tiny.scenes.scene import Scene
from models.vision_language_model import VideoLanguageModel
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import OpenGate, StaticGate
from pipeline.sources.clips import Clip

GOALS = {"quiet_token_ratio": 10.0, "quiet_device_time_ratio": 5.0, "gate_loss_points": 1.0}

_NO_VISITOR_S = 1e9  # mean time until the first visitor
_SWITCH_EVERY_S = 120.0
_WARM_UP_FRAMES = 64  # until the memory is full and compacted at every step
_VIGILANCE_FRAMES = 512


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. low, high: the 95 % interval of a figure of random streams."""

    metric: str
    value: float
    goal: float | None
    n: int
    of: str
    commit: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of one camera: tokens read, and seconds of the device thread."""

    tokens: int
    device_s: float


def main() -> None:
    """Measures, prints a table, and writes JSON on request."""
    options = _options()
    torch.set_num_threads(1)
    results: list[Row] = []
    for part in options.parts:
        results += _PARTS[part](options)
    print(table(results))
    result_file.write(options.json, {row.metric: row.value for row in results}, rows=results)


_PARTS: dict[str, Callable[[argparse.Namespace], Iterable[Row]]] = {
    "quiet": lambda options: quiet_rows(registry.load_model(options.models[0]), options.minutes, options.seed),
    "vigilance": lambda options: vigilance_rows(registry.load_model(options.models[0]), options.seed),
    "loss": lambda options: loss_rows(options),
}


def quiet_rows(model: VideoLanguageModel, minutes: int, seed: int = 1) -> Iterator[Row]:
    """How many times a quiet camera costs more without the gate: in tokens, and in time of the device thread."""
    frames = 60 * minutes * round(FRAMES_PER_S)
    gated, ungated = (quiet_cost(model, frames, seed, is_gated=is_gated) for is_gated in (True, False))
    of = f"{frames:,} frames of a street without visitors, {model.spec.name}"
    yield _row("quiet_token_ratio", ungated.tokens / gated.tokens, frames, of)
    yield _row("quiet_device_time_ratio", ungated.device_s / gated.device_s, frames, of)
    yield _row("device_ms_per_frame_ungated", 1000 * ungated.device_s / frames, frames, of)
    yield _row("device_ms_per_frame_gated", 1000 * gated.device_s / frames, frames, of)


def quiet_cost(model: VideoLanguageModel, num_frames: int, seed: int, *, is_gated: bool) -> Cost:
    """The cost of `num_frames` frames of a quiet camera, after a warm-up that fills its memory."""
    writer = MemoryWriter(model, MemoryConfig(), max_frames=FRAMES_PER_STEP, reserve=256)
    memory = Memory(Slabs(model.spec.kv, slots=1, capacity=writer.capacity), 0)
    writer.reset(memory)
    grid = model.spec.layout.grid
    gate = StaticGate(grid, key_frame_every_s=KEY_FRAME_EVERY_S) if is_gated else OpenGate(grid)
    camera = CameraMemory("quiet", memory, writer, gate, gap_after_s=3.0, started_s=0.0)
    street = Scene(seed, mean_gap_s=_NO_VISITOR_S, switch_every_s=_SWITCH_EVERY_S)
    for clip in _clips(street, model.spec.layout.square, range(_WARM_UP_FRAMES)):
        camera.append(clip)
    tokens_before, device_s = camera.tokens_read, 0.0
    for clip in _clips(street, model.spec.layout.square, range(_WARM_UP_FRAMES, _WARM_UP_FRAMES + num_frames)):
        began_s = time.thread_time()
        camera.append(clip)
        device_s += time.thread_time() - began_s
    return Cost(camera.tokens_read - tokens_before, device_s)


def _clips(street: Scene, side: int, frames: range) -> Iterator[Clip]:
    for start in range(frames.start, frames.stop, FRAMES_PER_STEP):
        times_s = tuple(frame / FRAMES_PER_S for frame in range(start, start + FRAMES_PER_STEP))
        pixels = np.stack([street.frame(at_s, side, side) for at_s in times_s])
        yield Clip("quiet", pixels, times_s, tuple(pixels), times_s[-1])


def vigilance_rows(model: VideoLanguageModel, seed: int, num_streams: int = 24) -> Iterator[Row]:
    """The share of visitors that pass at once, and of empty frames that pass although no key frame is due."""
    is_read: list[bool] = []
    is_alarm: list[bool] = []
    for index in range(num_streams):
        character = list(Character)[index % len(Character)]
        scene = streams.make_scene(seed * 1_000 + index, character, _VIGILANCE_FRAMES)
        passed = streams.film(model, scene, _VIGILANCE_FRAMES).passed
        is_read += _is_read_at_once(scene, passed)
        is_alarm += _is_false_alarm(scene, passed)
    of = f"{num_streams} streams of {_VIGILANCE_FRAMES} frames"
    yield _row("visitors_read_at_once_share", sum(is_read) / len(is_read), len(is_read), of)
    yield _row("false_alarm_share", sum(is_alarm) / len(is_alarm), len(is_alarm), f"{of}: the empty ones")


def _is_read_at_once(scene: Scene, passed: Tensor) -> Iterator[bool]:
    """For each visitor whether the cell of its centre passes in the first frame with the visitor."""
    side = math.isqrt(passed.shape[1])
    for visit in scene.visits(len(passed) / FRAMES_PER_S):
        first = math.ceil(visit.enter_s * FRAMES_PER_S)
        if first < len(passed):
            column, row = (min(int(share * side), side - 1) for share in visit.centre(first / FRAMES_PER_S))
            yield bool(passed[first, row * side + column])


def _is_false_alarm(scene: Scene, passed: Tensor) -> Iterator[bool]:
    """For each frame of an empty step after an empty step whether it passes before a key frame is due."""
    per_step, key_frame = FRAMES_PER_STEP, 0
    for frame, tokens in enumerate(passed):
        step = frame // per_step * per_step
        near = range(max(0, step - per_step), step + per_step)
        is_due = (frame - key_frame) / FRAMES_PER_S >= KEY_FRAME_EVERY_S
        if frame >= 2 * per_step and not any(scene.visible(other / FRAMES_PER_S) for other in near):
            yield bool(tokens.any()) and not is_due
        key_frame = frame if bool(tokens.all()) else key_frame


def loss_rows(options: argparse.Namespace) -> Iterator[Row]:
    """The points of accuracy that the gate costs at each length and budget; below zero, gated answers are better."""
    by_kind: dict[tuple[int, int], dict[str, list[Part]]] = {}
    for name in options.models:
        for part in accuracy.run(accuracy.load(name), options):
            kind = part.settings.length, part.settings.budget
            by_kind.setdefault(kind, {}).setdefault(part.settings.policy, []).append(part)
    for (length, budget), by_policy in by_kind.items():
        plain, gated = (_right(by_policy[policy]) for policy in options.policies)
        of = (
            f"{length:,} frames, {budget} tokens a layer, {len(options.models)} models: "
            f"{_share(plain):.3f} ungated, {_share(gated):.3f} gated"
        )
        loss = 100 * (_share(plain) - _share(gated))
        yield _row(
            "gate_loss_points", loss, sum(len(answers) for answers in plain), of, rows.loss_interval(plain, gated)
        )


def table(results: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| metric | value | 95 % | goal | n | of |", "|---|---:|---:|---:|---:|---|"]
    for row in results:
        span = "-" if row.low is None else f"{row.low:.2f} to {row.high:.2f}"
        goal = "-" if row.goal is None else f"{row.goal:g}"
        lines.append(f"| {row.metric} | {row.value:.4g} | {span} | {goal} | {row.n:,} | {row.of} |")
    return "\n".join(lines)


def _row(metric: str, value: float, n: int, of: str, span: tuple[float, float] = (math.nan, math.nan)) -> Row:
    low, high = (None if math.isnan(end) else round(end, 4) for end in span)
    return Row(metric, round(value, 4), GOALS.get(metric), n, of, parts.current_commit(), low, high)


def _right(model_parts: Sequence[Part]) -> list[list[bool]]:
    """Whether each answer is right, stream by stream, all models together."""
    by_stream = zip(*(part.outcomes for part in model_parts), strict=True)
    return [[outcome.is_right for outcomes in of_stream for outcome in outcomes] for of_stream in by_stream]


def _share(by_stream: Sequence[Sequence[bool]]) -> float:
    return sum(map(sum, by_stream)) / sum(map(len, by_stream))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=_PARTS, default=list(_PARTS), help="what is measured")
    parser.add_argument("--models", nargs="+", default=["tiny"], help="all for the loss, the first for the rest")
    parser.add_argument("--seed", type=int, default=1, help="of the scenes")
    parser.add_argument("--minutes", type=accuracy.positive, default=10, help="of the quiet camera, at least one")
    parser.add_argument("--streams", type=accuracy.positive, default=12, help="of each length")
    parser.add_argument("--budgets", type=accuracy.positive, nargs="+", default=[48, 256], help="tokens a layer")
    parser.add_argument("--lengths", type=accuracy.positive, nargs="+", default=[256], help="frames")
    parser.add_argument("--folder", type=Path, default=Path(".accuracy"), help="where finished parts are saved")
    result_file.add_option(parser)
    policies = [OURS, GATED]
    parser.set_defaults(policies=policies, character=MIXED, visits=VISITS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
