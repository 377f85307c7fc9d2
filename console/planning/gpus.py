"""The published figures of GPUs that can be planned with. NVDEC is the decoder chip on them."""

from __future__ import annotations

from dataclasses import dataclass

from console.planning.figures import PlanError
from models import catalogue

_FULL_HD = 1920 * 1080
_GB, _TERA = 10**9, 10**12
NVDEC_SOURCE = (
    "https://docs.nvidia.com/video-technologies/video-codec-sdk/13.0/nvdec-application-note/index.html, read 2026-11-27"
)


@dataclass(frozen=True, slots=True)
class DecoderChip:
    """One NVDEC engine of a generation: 1080p frames a second of each codec at this clock, as published.

    GA100 and Hopper have Turing's engine (the same source).
    """

    clock_mhz: int
    full_hd_fps: dict[str, int]


TURING = DecoderChip(1_860, {"h264": 771, "hevc": 1_316, "vp9": 932})
ADA = DecoderChip(2_160, {"h264": 903, "hevc": 1_641, "vp9": 1_290, "av1": 1_018})
CODECS = ("h264", "hevc", "vp9", "av1")


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU. flops: peak of dense bfloat16. clock_mhz: its highest video clock."""

    name: str
    nbytes: int
    flops: float
    nbytes_per_s: float
    engines: int
    chip: DecoderChip
    clock_mhz: int
    is_clock_published: bool
    source: str

    def engine_fps(self, codec: str, size: tuple[int, int]) -> float:
        """Frames of this size that one engine decodes in a second, 0 where it does not know the codec."""
        full_hd = self.chip.full_hd_fps.get(codec, 0) * self.clock_mhz / self.chip.clock_mhz
        return full_hd * _FULL_HD / (size[0] * size[1])


# Video clocks that `nvidia-smi -q` reports of such cards (Max Clocks); for others three quarters of the chip's.
_CLOCKS_MHZ = {"a100": 1_290, "h100": 1_545, "h200": 1_545}
_ASSUMED_CLOCK_MHZ = 1_620


def _gpu(name: str, gigabytes: int, teraflops: float, gigabytes_per_s: int, engines: int) -> Gpu:
    page = name.partition("-")[0]
    return Gpu(
        name,
        gigabytes * _GB,
        teraflops * _TERA,
        float(gigabytes_per_s * _GB),
        engines,
        ADA if page.startswith("l4") else TURING,
        _CLOCKS_MHZ.get(page, _ASSUMED_CLOCK_MHZ),
        page in _CLOCKS_MHZ,
        f"data sheet of https://www.nvidia.com/en-us/data-center/{page}/, 2026-11",
    )


_ALL = (
    _gpu("a100-40g", 40, 312, 1_555, 5),
    _gpu("a100-80g", 80, 312, 2_039, 5),
    _gpu("h100-80g", 80, 989, 3_350, 7),
    _gpu("h200-141g", 141, 989, 4_800, 7),
    _gpu("l4-24g", 24, 121, 300, 4),
    _gpu("l40s-48g", 48, 362, 864, 3),
)
GPUS = {gpu.name: gpu for gpu in _ALL}


def gpu_of(name: str) -> Gpu:
    """The GPU of this name. Raises PlanError."""
    if name not in GPUS:
        raise PlanError(f"--gpu is {name!r}: a plan knows {', '.join(GPUS)}{catalogue.suggestion(name, GPUS)}")
    return GPUS[name]
