"""Copies from GPUs to the host on streams of their own, so that other work goes on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


class SideStreams:
    """One more stream on each GPU, beside the one that the device thread uses."""

    def __init__(self, devices: Iterable[torch.device]) -> None:
        self._streams = {stream.device: stream for stream in map(torch.cuda.Stream, devices)}

    def wait_for_current(self) -> None:
        """Makes later copies wait for the work that the current streams have queued. Does not block."""
        for device, stream in self._streams.items():
            stream.wait_stream(torch.cuda.current_stream(device))

    def to_host(self, tensor: Tensor) -> Tensor:
        """A copy on the host, in ordinary memory. Blocks the calling thread alone until it is there.

        It is copied to pinned memory first, of which torch keeps as much as the largest tensor takes.
        """
        stream = self._streams[tensor.device]
        with torch.cuda.stream(stream):
            pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
        stream.synchronize()
        return pinned.clone()
