"""What int8 rows of a checkpoint cost in accuracy and save in bytes: python -m benchmarks.saved_rows --help.

Streams of benchmarks.accuracy are appended under the default policy. At every frame with questions the memory is saved,
restored and asked, once with exact rows and once with int8 rows. The recent window is saved too, so that only the rows
differ.
"""

from __future__ import annotations

import argparse
import itertools
import operator
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from benchmarks import accuracy, contenders, parts, result_file, rows, streams
from benchmarks.contenders import OURS
from benchmarks.exam import Examiner
from benchmarks.on_device import checkpoints
from benchmarks.stream_memories import Task
from benchmarks.streams import Stream
from cache_store import checkpoint_codec
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from cache_store.slabs import Slabs
from models.vision_language_model import VideoLanguageModel


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one kind of rows. nbytes, write_ms, read_ms: medians without thumbnails, in CPU time.

    lost_points: accuracy below that of exact rows; low and high: its 95 % interval.
    """

    model: str
    rows: str
    budget: int
    frames: int
    streams: int
    n: int
    accuracy: float
    lost_points: float
    low: float
    high: float
    changed_answers: int  # right with one kind and wrong with the other
    nbytes: int
    write_ms: float
    read_ms: float
    commit: str


@dataclass(slots=True)
class _Tally:
    """Results of one kind of rows: for each stream whether each answer is right, and for each checkpoint its costs."""

    is_right: list[list[bool]]
    costs: list[tuple[int, float, float]]


def main() -> None:
    """Measures, prints a table, and writes JSON on request."""
    options = _options()
    torch.set_num_threads(1)
    model = accuracy.load(options.model)
    seeds = range(options.seed * 1_000, options.seed * 1_000 + options.streams)
    all_streams = [streams.make_stream(model, seed, options.frames) for seed in seeds]
    results = [row for budget in options.budgets for row in measure(model, options.model, all_streams, budget)]
    print(table(results))
    result_file.write(options.json, {}, rows=results)


@torch.inference_mode()
def measure(model: VideoLanguageModel, name: str, all_streams: Sequence[Stream], budget: int) -> Iterator[Row]:
    """A row for each kind of rows."""
    num_frames = all_streams[0].footage.num_frames
    contender = contenders.named(OURS).make(Task(model, len(all_streams), budget, num_frames))
    examiner = Examiner(model)
    tallies = {kind: _Tally([[] for _ in all_streams], []) for kind in RowFormat}
    for newest, encoded, times_s in streams.steps([stream.footage for stream in all_streams]):
        contender.append(encoded, times_s)
        for index, stream in enumerate(all_streams):
            questions = stream.questions.get(newest)
            if not questions:
                continue
            (memory, _), *_ = contender.recall(index, questions)
            for kind, tally in tallies.items():
                restored, cost = save_and_restore(memory, kind)
                tally.is_right[index] += [outcome.is_right for outcome in examiner.ask(restored, questions)]
                tally.costs.append(cost)
    yield from (_row(name, kind, tallies, budget, num_frames) for kind in tallies)


def save_and_restore(memory: Memory, kind: RowFormat) -> tuple[Memory, tuple[int, float, float]]:
    """The memory restored from a checkpoint with such rows, its bytes, and the seconds to write and to read it."""
    taken = checkpoints.whole(memory, kind)
    began_s = time.thread_time()
    written = b"".join(checkpoint_codec.encode(taken))
    written_s = time.thread_time()
    loaded = checkpoint_codec.decode([written], taken.facts, {})
    read_s = time.thread_time()
    restored = Memory(Slabs(memory.slabs.shape, slots=1, capacity=memory.slabs.capacity), 0)
    restored.copy_from(memory)
    checkpoint_codec.restore(restored, loaded)
    return restored, (len(written), written_s - began_s, read_s - written_s)


def _row(name: str, kind: RowFormat, tallies: dict[RowFormat, _Tally], budget: int, num_frames: int) -> Row:
    mine, exact = tallies[kind].is_right, tallies[RowFormat.EXACT].is_right
    before, after = list(itertools.chain(*exact)), list(itertools.chain(*mine))
    low, high = rows.loss_interval(exact, mine)
    nbytes, write_s, read_s = map(statistics.median, zip(*tallies[kind].costs, strict=True))
    return Row(
        model=name,
        rows=kind,
        budget=budget,
        frames=num_frames,
        streams=len(mine),
        n=len(after),
        accuracy=round(statistics.fmean(after), 4),
        lost_points=round(100 * (statistics.fmean(before) - statistics.fmean(after)), 3),
        low=round(low, 3),
        high=round(high, 3),
        changed_answers=sum(map(operator.ne, before, after)),
        nbytes=round(nbytes),
        write_ms=round(1000 * write_s, 3),
        read_ms=round(1000 * read_s, 3),
        commit=parts.current_commit(),
    )


def table(results: Iterable[Row]) -> str:
    """The rows as Markdown."""
    lines = [
        "| model | rows | tokens | frames | n | accuracy | points lost | 95 % | other answers | bytes | write | read |",
        "|---|---|" + "---:|" * 10,
    ]
    for row in results:
        answers = (
            f"{row.accuracy:.3f} | {row.lost_points:.2f} | {row.low:.2f} to {row.high:.2f} | {row.changed_answers}"
        )
        costs = f"{row.nbytes:,} | {row.write_ms:.2f} ms | {row.read_ms:.2f} ms"
        lines.append(f"| {row.model} | {row.rows} | {row.budget} | {row.frames:,} | {row.n:,} | {answers} | {costs} |")
    return "\n".join(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="one that knows the words of the scenes")
    parser.add_argument("--seed", type=int, default=1, help="of the scenes")
    parser.add_argument("--streams", type=accuracy.positive, default=12)
    parser.add_argument("--frames", type=accuracy.positive, default=256, help="of each stream")
    parser.add_argument("--budgets", type=accuracy.positive, nargs="+", default=[48, 256], help="tokens a layer")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
