"""A shard knows what its process costs its machine."""

from __future__ import annotations

import psutil
import torch

from actors.shard import process_cost


def test_the_cost_of_a_process_is_its_resident_memory_and_what_it_has_on_gpus() -> None:
    cost = process_cost.of_this_process()

    assert 0.5 < cost.resident_nbytes / psutil.Process().memory_info().rss < 2.0
    assert (cost.device_nbytes > 0) == (torch.cuda.is_available() and torch.cuda.memory_reserved() > 0)
