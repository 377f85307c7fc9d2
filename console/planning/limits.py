"""What a system can run out of, how much of each it needs, and what helps."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cache_store.row_format import RowFormat
from console.planning import constants
from console.planning.figures import PlanError
from console.planning.workload import Workload

_GB = 1e9


class Scale(StrEnum):
    """What brings more of a resource."""

    GPU = "gpu"
    NODE = "node"
    SYSTEM = "system"  # nothing: there is one store


@dataclass(frozen=True, slots=True)
class Limit:
    """A resource. needed, available: in `unit`, the latter for one of `scale`. remedy: what helps.

    fixed: how much of `needed` does not grow with the cameras.
    """

    name: str
    needed: float
    available: float
    unit: str
    scale: Scale
    remedy: str
    fixed: float = 0.0

    def min_gpus(self) -> int:
        """So many GPUs bring enough of it; 1 where GPUs bring none."""
        return max(1, math.ceil(self.needed / self.available)) if self.scale is Scale.GPU else 1

    def used_share(self, count: int) -> float:
        """Share that is used of so many of `scale`; above 1 it does not suffice."""
        return self.needed / (self.available * count)

    def cameras_at(self, count: int, cameras: int) -> int:
        """With so many cameras, each like one of the `cameras` that need it now, so many of `scale` run out of it."""
        return int((self.available * count - self.fixed) * cameras / (self.needed - self.fixed))


def limits_of(load: Workload) -> tuple[Limit, ...]:
    """Every limit of a system. Raises PlanError where a GPU cannot hold the model with one camera."""
    return (*_gpu_limits(load), *_store_limits(load))


def cameras_that_fit(load: Workload) -> int:
    """How many slots fit into a GPU beside the model. Raises PlanError if none does."""
    fixed = load.weights_nbytes + load.answers_nbytes + load.activations_nbytes + constants.RUNTIME_NBYTES.value
    room = load.gpu.nbytes * constants.MEMORY_SHARE.value - fixed
    each = load.slot_nbytes + load.session_nbytes
    if room < each:
        raise PlanError(
            f"--gpu is {load.gpu.name}: {load.model.name} with {load.demand.tokens_per_layer} tokens a layer takes "
            f"{(fixed + each) / _GB:.1f} GB with one camera (limit {(room + fixed) / _GB:.1f} GB)"
        )
    return int(room // each)


def device_busy_share(load: Workload) -> float:
    """GPUs that ingest and answers would keep busy without pause."""
    return load.demand.cameras * load.ingest_busy_share + answers_busy_share(load)


def answers_busy_share(load: Workload) -> float:
    """GPUs that answers alone would keep busy: people ask as much, however many cameras there are."""
    return load.demand.questions_per_minute / 60 * load.answer_s


def node_bits_per_s(load: Workload) -> float:
    """What all nodes receive from cameras and send to the store."""
    return load.demand.cameras * (load.demand.video.bitrate * 1e6 + 8 * load.store_nbytes_per_s)


def _gpu_limits(load: Workload) -> Iterator[Limit]:
    demand, cameras = load.demand, float(load.demand.cameras)
    rows = "--slot-rows int8, " if load.device.slot_rows is RowFormat.EXACT else ""
    remedy = f"{rows}a lower --tokens-per-layer, or a larger GPU"
    yield Limit("GPU memory", cameras, cameras_that_fit(load), "cameras", Scale.GPU, remedy)
    yield Limit(
        "GPU compute",
        device_busy_share(load),
        constants.BUSY_LIMIT.value,
        "busy GPUs",
        Scale.GPU,
        "a lower --fps (ingest.sample_fps), fewer --questions-per-minute, a smaller --model or --frame-size, "
        "or a faster GPU",
        fixed=answers_busy_share(load),
    )
    engine_fps = load.gpu.engine_fps(demand.video.codec, demand.video.size)
    if engine_fps:
        yield Limit(
            "decoder engines",
            cameras * demand.video.decoded_fps(demand.fps),
            load.gpu.engines * engine_fps * constants.DECODER_SHARE.value,
            "frames/s",
            Scale.GPU,
            "a key frame at least every 1/fps seconds, so that key frames alone are decoded, or a smaller sub-stream",
        )
    yield Limit(
        "network of a node",
        node_bits_per_s(load),
        constants.NODE_NETWORK_BITS_PER_S.value * constants.NETWORK_SHARE.value,
        "b/s",
        Scale.NODE,
        "sub-streams of a lower --bitrate, a longer --checkpoint-every, or fewer --gpus-per-node",
    )


def store_capacity() -> float:
    """Bytes a second that one store can write beside its other work."""
    return constants.STORE_NBYTES_PER_S.value * constants.STORE_BUSY_LIMIT.value


def store_nbytes(load: Workload) -> float:
    """What the checkpoints and thumbnails of all cameras take in the store."""
    thumbnails = constants.THUMBNAILS.value * constants.THUMBNAIL_NBYTES.value
    return load.demand.cameras * (constants.GENERATIONS.value * load.checkpoint_nbytes + thumbnails)


def min_interval_s(load: Workload, nbytes_per_s: float) -> int | None:
    """The shortest interval, in seconds, at which all checkpoints fit this rate; None if thumbnails alone exceed it."""
    thumbnails = load.demand.cameras * load.frames_read_per_s * constants.THUMBNAIL_NBYTES.value
    if thumbnails >= nbytes_per_s:
        return None
    return math.ceil(load.demand.cameras * load.checkpoint_nbytes / (nbytes_per_s - thumbnails))


def _rarer_checkpoints(load: Workload) -> str:
    """The interval that the bandwidth of one store needs, or that it is to be raised where the present one fits it."""
    every_s, interval_s = load.demand.checkpoint_every, min_interval_s(load, store_capacity())
    if load.demand.cameras * load.store_nbytes_per_s <= store_capacity():
        return f"shards.checkpoint_every_s: more than {every_s:g}, "
    return "" if interval_s is None else f"shards.checkpoint_every_s: {interval_s} or more instead of {every_s:g}, "


def _store_limits(load: Workload) -> Iterator[Limit]:
    demand = load.demand
    needed = demand.cameras * load.store_nbytes_per_s
    several = "several systems with a store each"
    rows = "shards.checkpoint_rows: int8, " if demand.checkpoint_rows is RowFormat.EXACT else ""
    remedy = f"{_rarer_checkpoints(load)}{rows}or {several}"
    yield Limit("store bandwidth", needed, store_capacity(), "B/s", Scale.SYSTEM, remedy)
    kept = store_nbytes(load)
    server = f"a server with {math.ceil(kept / _GB)} GB (--store-gb)"
    if kept <= demand.store_gb * _GB:
        server = f"a server with more than {demand.store_gb:g} GB (--store-gb)"
    remedy = f"{rows}a lower --tokens-per-layer, {server}, or {several}"
    yield Limit("store memory", kept, demand.store_gb * _GB, "B", Scale.SYSTEM, remedy)
