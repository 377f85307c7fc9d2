"""The unit of ingest: a short run of sampled frames with their times."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Clip:
    """Sampled frames of one camera in order of time, ready for the device.

    frames: uint8 RGB [F, S, S, 3], reduced to the model's square; times_s: Unix seconds, one per frame,
    strictly increasing; thumbnails: one JPEG per frame; received_s: when the newest frame was at hand.
    """

    camera: str
    frames: Tensor
    times_s: tuple[float, ...]
    thumbnails: tuple[bytes, ...]
    received_s: float
