"""What a stream makes a worker log reaches the log of the shard, bounded."""

from __future__ import annotations

import pytest
import structlog

from pipeline.workers.messages import Logged
from pipeline.workers.worker_log import LINES_PER_S, MAX_LINE, MAX_LINES_AT_ONCE, WorkerLog


def line(**fields: str) -> Logged:
    return Logged(level="warning", event="decoder_fell_back", fields=dict(fields))


def test_a_flood_of_lines_is_cut_and_counted() -> None:
    flood, worker_log = 10 * MAX_LINES_AT_ONCE, WorkerLog()
    with structlog.testing.capture_logs() as lines:
        for _ in range(flood):
            worker_log.add(line(), 100.0)
        worker_log.tick(100.0 + 1 / LINES_PER_S)
        worker_log.tick(200.0)
        worker_log.add(line(camera="yard"), 200.0)

    assert len(lines) == MAX_LINES_AT_ONCE + 2
    assert lines[-2]["event"] == "ingest_worker_lines_left_out"
    assert lines[-2]["lines"] == flood - MAX_LINES_AT_ONCE
    assert lines[-1]["camera"] == "yard"


def test_a_worker_that_says_little_is_heard_whole() -> None:
    worker_log = WorkerLog()
    with structlog.testing.capture_logs() as lines:
        for number in range(1_000):
            worker_log.add(line(reason=str(number)), number / LINES_PER_S)

    assert [found["reason"] for found in lines] == [str(number) for number in range(1_000)]


@pytest.mark.parametrize("count", [1, 10])
def test_a_long_line_is_cut_and_says_so(count: int) -> None:
    texts = {f"field{number}": "x" * (2 * MAX_LINE // count) for number in range(count)}
    with structlog.testing.capture_logs() as lines:
        WorkerLog().add(Logged.model_construct(level="info", event="flood", fields=texts), 0.0)

    (found,) = lines
    text = "".join(str(found[name]) for name in texts)
    assert text.count("x") == MAX_LINE
    assert "characters left out" in text
