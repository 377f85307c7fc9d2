"""The benchmark of models measures the same history on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import models
from models.weight_format import WeightFormat
from tests.models.families import FAMILIES, write_checkpoint


@pytest.mark.parametrize("family", list(FAMILIES))
def test_hermes_and_generate_begin_with_the_same_token(family: str, tmp_path: Path) -> None:
    folder = write_checkpoint(FAMILIES[family]().model, tmp_path)

    row = models.measure(family, folder, WeightFormat.FLOAT32, num_frames=8, steps=3)

    assert row.same_first_token
    assert row.history_tokens > 8 * 4
    assert row.bytes_over_formula == 1
    assert min(row.ttft_s, row.step_s, row.generate_ttft_s, row.generate_step_s, row.ingest_tokens_per_s) > 0
