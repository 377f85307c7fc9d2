"""The published shapes of models that can be planned with, and what they cost: parameters, arithmetic, tokens."""

from __future__ import annotations

from dataclasses import dataclass

from cache_store.footprint import MemoryFootprint
from console.planning.figures import PlanError
from models import catalogue

BF16_NBYTES = 2
MAX_CELLS = 256  # of a group of frames at its own shape: `models/patches.py`, which loads torch
_POOLED = 2  # LLaVA-OneVision pools 2 x 2 patches, Qwen merges as many


@dataclass(frozen=True, slots=True)
class VisionShape:
    """A vision encoder. mlp_matrices: two, or three where the MLP is gated. frames_per_group: encoded as one.

    merger_layers: how many of its layers have a merger of their own (DeepStack), the last one included. A shape with
    0 of them has LLaVA's projector, which works on each patch.
    """

    num_layers: int
    hidden: int
    intermediate: int
    mlp_matrices: int
    patch: int
    frames_per_group: int
    merger_layers: int

    @property
    def block_params(self) -> int:
        """The matrices of all layers."""
        return self.num_layers * (4 * self.hidden**2 + self.mlp_matrices * self.hidden * self.intermediate)


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """A decoder of full attention. vocabulary: rows of its embedding."""

    num_layers: int
    hidden: int
    intermediate: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int
    is_tied: bool

    @property
    def block_params(self) -> int:
        """The matrices of all layers: what a token is multiplied with, the output layer left out."""
        attention = 2 * self.hidden * self.head_dim * (self.num_heads + self.num_kv_heads)
        return self.num_layers * (attention + 3 * self.hidden * self.intermediate)

    @property
    def embedding_params(self) -> int:
        """The input embedding, and the output layer where it is another matrix."""
        return self.vocabulary * self.hidden * (1 if self.is_tied else 2)

    def footprint(self, number_nbytes: int = BF16_NBYTES) -> MemoryFootprint:
        """What it caches."""
        return MemoryFootprint(self.num_layers, self.num_kv_heads, self.head_dim, number_nbytes)


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A model as its config was published. frame_size: width and height that it reads unless asked otherwise.

    has_fixed_frames: it reads no other size. text_tokens: between two groups of frames. tokens_per_layer: the budget
    that a plan takes by default. max_cells: of a group of frames at its own shape.
    """

    name: str
    decoder: DecoderShape
    vision: VisionShape
    frame_size: tuple[int, int]
    has_fixed_frames: bool
    prefix_tokens: int
    text_tokens: int
    tokens_per_layer: int
    source: str
    max_cells: int = MAX_CELLS

    @property
    def is_shipped(self) -> bool:
        """Whether hermes has weights of it, whose answers this project measured."""
        return not self.source.startswith("https://")

    @property
    def num_params(self) -> int:
        """All matrices; norms, biases and position tables, less than 0.5 %, are left out."""
        return self.decoder.block_params + self.decoder.embedding_params + self.vision_params

    @property
    def vision_params(self) -> int:
        """The vision encoder with what joins it to the decoder."""
        patch = 3 * self.vision.frames_per_group * self.vision.patch**2 * self.vision.hidden
        return self.vision.block_params + patch + self._joint_params * max(1, self.vision.merger_layers)

    @property
    def _joint_params(self) -> int:
        if not self.vision.merger_layers:
            return self.decoder.hidden * (self.vision.hidden + self.decoder.hidden)
        merged = _POOLED**2 * self.vision.hidden
        return merged * (merged + self.decoder.hidden)

    def patches(self, size: tuple[int, int]) -> int:
        """Patches of one group of frames."""
        columns, rows = self._grid(size)
        return columns * rows

    def tokens_per_group(self, size: tuple[int, int]) -> int:
        """Tokens of one group of frames, the text between groups included."""
        columns, rows = self._grid(size)
        return -(-columns // _POOLED) * -(-rows // _POOLED) + self.text_tokens

    @property
    def max_tokens_per_group(self) -> int:
        """What a slot has room for, whatever the size of the frames."""
        return self.tokens_per_group(self.frame_size) if self.has_fixed_frames else self.max_cells + self.text_tokens

    def tokens_per_frame(self, size: tuple[int, int]) -> float:
        """Tokens of a frame, as a share of its group."""
        return self.tokens_per_group(size) / self.vision.frames_per_group

    def require_size(self, size: tuple[int, int]) -> None:
        """Raises PlanError for a size that the model does not read."""
        name = f"--frame-size is {size[0]}x{size[1]}: {self.name}"
        if self.has_fixed_frames and size != self.frame_size:
            raise PlanError(f"{name} reads frames of {self.frame_size[0]}x{self.frame_size[1]} alone")
        if not self.has_fixed_frames and min(self._grid(size)) < _POOLED:
            raise PlanError(f"{name} reads frames of at least {_POOLED * self.vision.patch} pixels a side")
        cells = self.tokens_per_group(size) - self.text_tokens
        if not self.has_fixed_frames and cells > self.max_cells:
            raise PlanError(
                f"{name} would read {cells:,} cells a frame, and larger frames are reduced to {self.max_cells}"
            )

    def _grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Columns and rows of patches; native resolution is rounded to whole merged patches."""
        if self.has_fixed_frames:
            return size[0] // self.vision.patch, size[1] // self.vision.patch
        unit = _POOLED * self.vision.patch
        return _POOLED * round(size[0] / unit), _POOLED * round(size[1] / unit)

    def decoder_flops(self, num_tokens: float, context: float) -> float:
        """Of so many new tokens that attend to `context` cached ones; two operations a multiplication."""
        attention = 4 * self.decoder.num_layers * self.decoder.num_heads * self.decoder.head_dim * context
        return num_tokens * (2 * self.decoder.block_params + attention)

    def vision_flops(self, size: tuple[int, int]) -> float:
        """Of one group of frames. Attention counts as full; Qwen2.5-VL's windows make it a few per cent less."""
        patches = self.patches(size)
        joint = self._joint_params * max(1, self.vision.merger_layers)
        joined = patches / _POOLED**2 if self.vision.merger_layers else patches
        attention = 4 * self.vision.num_layers * self.vision.hidden * patches**2
        return 2 * patches * self.vision.block_params + attention + 2 * joined * joint


_SIGLIP = VisionShape(26, 1152, 4304, 2, 14, 1, 0)
_QWEN25_VISION = VisionShape(32, 1280, 3420, 3, 14, 2, 1)
_QWEN3_SMALL_VISION = VisionShape(24, 1024, 4096, 2, 16, 2, 4)
_QWEN3_VISION = VisionShape(27, 1152, 4304, 2, 16, 2, 4)
_HUB = "https://huggingface.co/{}/blob/main/config.json, 2026-11"


def _llava(name: str, hub: str, decoder: DecoderShape) -> ModelShape:
    return ModelShape(name, decoder, _SIGLIP, (384, 384), True, 14, 0, 4_000, _HUB.format(hub))


def _qwen25(name: str, hub: str, decoder: DecoderShape) -> ModelShape:
    return ModelShape(name, decoder, _QWEN25_VISION, (448, 448), False, 14, 0, 4_000, _HUB.format(hub))


def _qwen3(name: str, hub: str, decoder: DecoderShape, vision: VisionShape) -> ModelShape:
    return ModelShape(name, decoder, vision, (448, 448), False, 3, 12, 4_000, _HUB.format(hub))


_TINY = ModelShape(
    "tiny",
    DecoderShape(6, 128, 384, 4, 2, 32, 81, True),
    VisionShape(2, 96, 256, 2, 8, 1, 0),
    (64, 64),
    True,
    4,
    0,
    256,
    "models/tiny/checkpoint/config.json",
)
_TINY_QWEN3 = ModelShape(
    "tiny-qwen3-vl",
    DecoderShape(6, 128, 384, 4, 2, 32, 94, True),
    VisionShape(3, 96, 256, 2, 8, 2, 3),
    (64, 64),
    False,
    5,
    6,
    256,
    "models/tiny/qwen3_vl_checkpoint/config.json",
    max_cells=16,
)
_SHAPES = (
    _TINY,
    _TINY_QWEN3,
    _llava("llava-onevision-0.5b", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
           DecoderShape(24, 896, 4864, 14, 2, 64, 152_000, True)),
    _llava("llava-onevision-7b", "llava-hf/llava-onevision-qwen2-7b-ov-hf",
           DecoderShape(28, 3584, 18_944, 28, 4, 128, 152_128, False)),
    _qwen25("qwen2.5-vl-3b", "Qwen/Qwen2.5-VL-3B-Instruct",
          DecoderShape(36, 2048, 11_008, 16, 2, 128, 151_936, True)),
    _qwen25("qwen2.5-vl-7b", "Qwen/Qwen2.5-VL-7B-Instruct",
          DecoderShape(28, 3584, 18_944, 28, 4, 128, 152_064, False)),
    _qwen3("qwen3-vl-2b", "Qwen/Qwen3-VL-2B-Instruct",
          DecoderShape(28, 2048, 6_144, 16, 8, 128, 151_936, True), _QWEN3_SMALL_VISION),
    _qwen3("qwen3-vl-4b", "Qwen/Qwen3-VL-4B-Instruct",
          DecoderShape(36, 2560, 9_728, 32, 8, 128, 151_936, True), _QWEN3_SMALL_VISION),
    _qwen3("qwen3-vl-8b", "Qwen/Qwen3-VL-8B-Instruct",
          DecoderShape(36, 4096, 12_288, 32, 8, 128, 151_936, False), _QWEN3_VISION),
)  # fmt: skip
MODELS = {shape.name: shape for shape in _SHAPES}


def shape_of(name: str) -> ModelShape:
    """The shape of the model of this name. Raises PlanError."""
    if name not in MODELS:
        raise PlanError(f"--model is {name!r}: a plan knows {', '.join(MODELS)}{catalogue.suggestion(name, MODELS)}")
    return MODELS[name]
