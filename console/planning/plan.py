"""A plan: how many GPUs a demand needs, what it runs out of first, and every figure with its source."""

from __future__ import annotations

import math
from dataclasses import dataclass

from console.planning import constants
from console.planning.demand import Demand
from console.planning.figures import Basis, Figure, Section, chosen, computed
from console.planning.gpus import NVDEC_SOURCE, Gpu, gpu_of
from console.planning.limits import (
    Limit,
    Scale,
    cameras_that_fit,
    device_busy_share,
    limits_of,
    node_bits_per_s,
    store_nbytes,
)
from console.planning.model_shapes import shape_of
from console.planning.workload import Workload
from pipeline.device.device_config import DeviceConfig

_CPU_S_PER_FRAME = 7.21e-3  # docs/ingest.md: one 1080p key frame a second of one camera, decoding included


@dataclass(frozen=True, slots=True)
class Plan:
    """gpus: without spares. limits: every one. warnings: what makes a figure unsure."""

    load: Workload
    gpus: int
    limits: tuple[Limit, ...]
    sections: tuple[Section, ...]
    warnings: tuple[str, ...]

    @property
    def shards(self) -> int:
        """One for each GPU, spares included."""
        return self.gpus + self.load.demand.spares

    @property
    def nodes(self) -> int:
        """Machines of so many GPUs each."""
        return math.ceil(self.shards / self.load.demand.gpus_per_node)

    @property
    def cameras_per_shard(self) -> int:
        """Of the fullest shard."""
        return math.ceil(self.load.demand.cameras / self.gpus)

    @property
    def is_feasible(self) -> bool:
        """Whether nothing runs out. GPUs never do, because the plan takes as many as are needed."""
        return all(self.used_share(limit) <= 1 for limit in self.limits)

    @property
    def by_cameras_at(self) -> list[Limit]:
        """The limits; what runs out first when cameras are added comes first."""
        return sorted(self.limits, key=self.cameras_at)

    def used_share(self, limit: Limit) -> float:
        """Share of a resource that this plan uses, spares left out."""
        return limit.used_share(self._count(limit.scale))

    def cameras_at(self, limit: Limit) -> int:
        """With so many cameras of the same kind and as many questions, GPUs, nodes and store of this plan run out."""
        return limit.cameras_at(self._count(limit.scale), self.load.demand.cameras)

    def _count(self, scale: Scale) -> int:
        return {Scale.GPU: self.gpus, Scale.NODE: self.nodes, Scale.SYSTEM: 1}[scale]

    @property
    def settings(self) -> dict[str, object]:
        """The keys of the configuration that this plan sets."""
        demand = self.load.demand
        return {
            "model": demand.model,
            "memory.tokens_per_layer": demand.tokens_per_layer,
            "ingest.sample_fps": demand.fps,
            "shards.count": self.shards,
            "shards.spares": demand.spares,
            "shards.num_gpus": 1,
            "shards.weights": demand.weights.value,
            "shards.checkpoint_every_s": demand.checkpoint_every,
            "shards.checkpoint_rows": demand.checkpoint_rows.value,
            "shards.device.max_cameras": self.cameras_per_shard,
            "shards.device.slot_rows": demand.slot_rows.value,
        }


def plan_for(demand: Demand) -> Plan:
    """The plan for a demand. Raises PlanError."""
    device = DeviceConfig(slot_rows=demand.slot_rows)
    load = Workload(demand, shape_of(demand.model), gpu_of(demand.gpu), device)
    load.model.require_size(demand.frame_size)
    limits = limits_of(load)
    gpus = max(limit.min_gpus() for limit in limits)
    sections = (_gpu_memory(load), _gpu_compute(load), _decoding(load), _store(load), _network(load))
    return Plan(load, gpus, limits, sections, tuple(_warnings(load)))


def _warnings(load: Workload) -> list[str]:
    warnings = ["no figure of a GPU was measured: run `hermes doctor --gpu` on the first one"]
    if not load.model.is_shipped:
        warnings.append(f"answers of {load.model.name} with its published weights were not measured (docs/models.md)")
    if not load.gpu.engine_fps(load.demand.video.codec, load.demand.video.size):
        warnings.append(f"{load.gpu.name} has no decoder for {load.demand.video.codec}: the CPU decodes it")
    return warnings


def _gpu_memory(load: Workload) -> Section:
    fixed = "shape of the model, shards.device, pipeline/device/engine.py"
    figures = (
        Figure("memory of one GPU", load.gpu.nbytes, "B", Basis.PUBLISHED, load.gpu.source),
        Figure("parameters", load.model.num_params, "", Basis.PUBLISHED, f"shape: {load.model.source}"),
        computed("weights", load.weights_nbytes, "B", "parameters x 2 (bfloat16); int8: matrices of the decoder x 1"),
        computed("slot of a camera", load.slot_nbytes, "B", "cache_store/footprint.py, prefix + budget + one step"),
        computed("decoder session of a camera", load.session_nbytes, "B", "surfaces x width x height x 1.5"),
        constants.SURFACES,
        computed("copies and slots for answers", load.answers_nbytes, "B", fixed),
        computed("activations of a step", load.activations_nbytes, "B", fixed),
        constants.RUNTIME_NBYTES,
        constants.MEMORY_SHARE,
        computed("cameras that fit", cameras_that_fit(load), "", "what is left / (slot + session)"),
    )
    return Section("memory of one GPU", figures)


def _gpu_compute(load: Workload) -> Section:
    demand, size = load.demand, load.demand.frame_size
    shape = f"shape: {load.model.source}"
    figures = (
        Figure("bfloat16 peak, dense", load.gpu.flops, "FLOP/s", Basis.PUBLISHED, load.gpu.source),
        Figure("memory bandwidth", load.gpu.nbytes_per_s, "B/s", Basis.PUBLISHED, load.gpu.source),
        constants.PEAK_SHARE,
        constants.BANDWIDTH_SHARE,
        constants.BUSY_LIMIT,
        computed("tokens of a frame", load.model.tokens_per_frame(size), "", f"{shape}, at --frame-size"),
        chosen("frames sampled of a camera", demand.fps, "/s", "--fps"),
        computed(
            "share of them that is read", load.read_share, "", "--activity, or one whole frame every key_frame_every_s"
        ),
        computed(
            "tokens prefilled, all cameras", demand.cameras * load.tokens_per_s, "/s", "read whole: an upper bound"
        ),
        computed("vision, a frame", load.model.vision_flops(size) / load.model.vision.frames_per_group, "FLOP", shape),
        computed("prefill, a token", load.model.decoder_flops(1, demand.tokens_per_layer), "FLOP", shape),
        constants.UPKEEP_TOKENS,
        computed(
            "GPU time of a camera", load.ingest_busy_share, "", "one camera a forward pass; arithmetic or weights read"
        ),
        constants.QUESTION_TOKENS,
        constants.ANSWER_TOKENS,
        computed("GPU time of a question", load.answer_s, "s", "prefill, then weights and slot read for each token"),
        computed("GPUs kept busy", device_busy_share(load), "", "cameras and --questions-per-minute"),
    )
    return Section("compute", figures)


def _decoding(load: Workload) -> Section:
    demand, video, gpu = load.demand, load.demand.video, load.gpu
    decoded_fps = video.decoded_fps(demand.fps)
    pixels = video.size[0] * video.size[1] / (1920 * 1080)
    cores = demand.cameras * _CPU_S_PER_FRAME * decoded_fps * pixels
    figures = (
        Figure("decoder engines of one GPU", gpu.engines, "", Basis.PUBLISHED, gpu.source),
        Figure(f"{video.codec} at this size, an engine", gpu.engine_fps(video.codec, video.size), "frames/s",
               Basis.PUBLISHED, f"{NVDEC_SOURCE}, scaled by clock and pixels"),
        _video_clock(gpu),
        constants.DECODER_SHARE,
        computed("decoded of a camera", decoded_fps, "frames/s", "key frames alone where they come often enough"),
        computed("decoder sessions", demand.cameras, "", "one a camera"),
        computed("CPU cores if they decoded instead", cores, "", "7.21 ms a key frame: benchmarks/ingest.py"),
    )  # fmt: skip
    return Section("decoding", figures)


def _video_clock(gpu: Gpu) -> Figure:
    published = Figure(
        "video clock", gpu.clock_mhz, "MHz", Basis.PUBLISHED, "`nvidia-smi -q` of such cards, Max Clocks"
    )
    assumed = Figure("video clock", gpu.clock_mhz, "MHz", Basis.ASSUMED, "three quarters of the clock of the rates")
    return published if gpu.is_clock_published else assumed


def _store(load: Workload) -> Section:
    demand = load.demand
    figures = (
        computed("checkpoint of a camera", load.checkpoint_nbytes, "B", "cache_store/footprint.py, the whole budget"),
        chosen("time between checkpoints", demand.checkpoint_every, "s", "--checkpoint-every"),
        computed("share of the intervals that write rows", load.saved_share, "", "those in which a frame was read"),
        constants.THUMBNAIL_NBYTES,
        constants.THUMBNAILS,
        constants.GENERATIONS,
        computed("bandwidth, all cameras", demand.cameras * load.store_nbytes_per_s, "B/s", "rows and new thumbnails"),
        constants.STORE_NBYTES_PER_S,
        constants.STORE_BUSY_LIMIT,
        computed("memory, all cameras", store_nbytes(load), "B", "generations x rows + thumbnails"),
        chosen("memory of the store", demand.store_gb * 1e9, "B", "--store-gb"),
    )
    return Section("store", figures)


def _network(load: Workload) -> Section:
    demand = load.demand
    figures = (
        chosen("bitrate of a camera", demand.video.bitrate * 1e6, "b/s", "--bitrate"),
        computed("from all cameras", demand.cameras * demand.video.bitrate * 1e6, "b/s", "cameras x bitrate"),
        computed("with the checkpoints", node_bits_per_s(load), "b/s", "cameras and store"),
        constants.NODE_NETWORK_BITS_PER_S,
        constants.NETWORK_SHARE,
    )
    return Section("network", figures)
