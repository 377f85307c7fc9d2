"""An engine whose cameras' slots have int8 rows: its bytes, its answers, and memories from and for exact slots."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from cache_store.row_format import RowFormat
from models.llava_onevision import LlavaOnevision
from pipeline.device.engine import Engine
from tests.pipeline.device.engine_driver import CONFIG, MEMORY, ask, ingest, whole

CLIPS = 10  # the memory is compacted


@contextmanager
def engine_with(model: LlavaOnevision, rows: RowFormat) -> Iterator[Engine]:
    engine = Engine(model, MEMORY, replace(CONFIG, slot_rows=rows), clock=lambda: 5_000.0)
    engine.start()
    try:
        yield engine
    finally:
        engine.close()


def test_a_camera_takes_what_the_formula_says(model: LlavaOnevision) -> None:
    with engine_with(model, RowFormat.EXACT) as exact, engine_with(model, RowFormat.INT8) as rounded:
        for engine in (exact, rounded):
            engine.add_camera("lobby")
        footprint = model.spec.kv.footprint
        found = rounded.status("lobby").nbytes
        saved_nbytes = exact.status("lobby").nbytes - found

        assert saved_nbytes / exact.status("lobby").nbytes == pytest.approx(
            1 - footprint.slot_nbytes(1_000, RowFormat.INT8) / footprint.slot_nbytes(1_000)
        )
        assert exact.nbytes - rounded.nbytes == CONFIG.max_cameras * saved_nbytes


@pytest.mark.parametrize("after", list(RowFormat))
@pytest.mark.parametrize("before", list(RowFormat))
def test_a_camera_keeps_its_memory_when_the_option_is_switched(
    model: LlavaOnevision, before: RowFormat, after: RowFormat
) -> None:
    with engine_with(model, before) as old, engine_with(model, after) as new:
        old.add_camera("lobby")
        ingest(old, "lobby", CLIPS)
        saved = whole(old, "lobby")
        assert saved.facts.rows is before
        new.add_camera("lobby", saved)
        ingest(new, "lobby", 2, first_s=1_000.0 + 2 * CLIPS)

        assert whole(new, "lobby").facts.rows is after
        assert new.status("lobby").frames_seen == 4 * (CLIPS + 2)
        assert ask(new, "lobby", "what is in view").done().answer_tokens
