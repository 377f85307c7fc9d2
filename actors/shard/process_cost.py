"""What this process costs its machine."""

from __future__ import annotations

from dataclasses import dataclass

import psutil
import torch


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """resident_nbytes: of main memory, shared libraries included. device_nbytes: what PyTorch has reserved on GPUs, 0
    without one; CUDA itself takes some hundred megabytes more.
    """

    resident_nbytes: int
    device_nbytes: int


def of_this_process() -> ProcessCost:
    """Costs some microseconds, and does not begin to use a GPU."""
    has_devices = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = range(torch.cuda.device_count()) if has_devices else ()
    return ProcessCost(
        resident_nbytes=psutil.Process().memory_info().rss, device_nbytes=sum(map(torch.cuda.memory_reserved, devices))
    )
