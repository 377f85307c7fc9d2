"""Options with which store and network suffice for the same cameras and GPUs: rarer checkpoints, a larger store."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from cache_store.row_format import RowFormat
from console.planning import constants, limits
from console.planning.demand import Demand
from console.planning.figures import PlanError
from console.planning.plan import Plan, plan_for


def feasible_demands(plan: Plan) -> Iterator[Demand]:
    """For an infeasible plan, its demand changed so that it is feasible: with its checkpoint rows, and with int8 ones.

    Yields nothing if the plan is feasible, or if no interval between checkpoints and no store would be enough.
    """
    if plan.is_feasible:
        return
    for rows in dict.fromkeys((plan.load.demand.checkpoint_rows, RowFormat.INT8)):
        try:
            smaller = plan_for(replace(plan.load.demand, checkpoint_rows=rows))
            changed = _with_room(smaller)
            if changed is not None and plan_for(changed).is_feasible:
                yield changed
        except PlanError:  # no plan can be computed for it
            continue


def _with_room(plan: Plan) -> Demand | None:
    load, demand = plan.load, plan.load.demand
    network = plan.nodes * constants.NODE_NETWORK_BITS_PER_S.value * constants.NETWORK_SHARE.value
    left = (network - demand.cameras * demand.video.bitrate * 1e6) / 8
    interval_s = limits.min_interval_s(load, min(left, limits.store_capacity()))
    if interval_s is None:
        return None
    return replace(
        demand,
        checkpoint_every=max(demand.checkpoint_every, float(interval_s)),
        store_gb=max(demand.store_gb, float(math.ceil(limits.store_nbytes(load) / 1e9))),
    )
