"""docs/capacity.md has the figures that a plan computes now."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.planning import constants, limits
from console.planning.limits import cameras_that_fit
from console.planning.plan import plan_for
from tests.console.planning.test_plan import demand

PAGE = (Path(__file__).parents[3] / "docs" / "capacity.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if " | yes | " in line]
GPUS = {"L4": "l4-24g", "L40S": "l40s-48g", "A100 80 GB": "a100-80g", "H200": "h200-141g"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]} on {row[2]}")
def test_the_page_has_the_figures_of_the_plan(row: list[str]) -> None:
    plan = plan_for(demand(row[0].lower().replace(" ", "-"), GPUS[row[2]], tokens_per_layer=4_000))

    load = plan.load
    carried = round(constants.BUSY_LIMIT.value / load.ingest_busy_share)
    sizes = [f"{nbytes / 1e6:.0f} MB" for nbytes in (load.slot_nbytes, load.checkpoint_nbytes)]
    interval_s = limits.min_interval_s(load, limits.store_capacity())
    assert row[3:] == [str(cameras_that_fit(load)), f"{carried:,}", str(plan.gpus), *sizes, f"{interval_s:,}"]


def test_the_page_has_models_and_gpus_of_each_kind() -> None:
    assert {row[2] for row in ROWS} == set(GPUS)
