"""How a checkpoint wants its frames prepared, as its processor config says: read, or refused."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from models.checkpoint_files import CheckpointFiles, JsonFile

# Where transformers looks for the processor of a video, in this order.
_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_NESTED_FILE, _NESTED_KEYS = "processor_config.json", ("video_processor", "image_processor")

# Keys that do not change how a frame of a given size is prepared. Frames are sampled by `ingest`, and reduced to the
# model's size by a method of ours (`pipeline/decoding/images.py`). Tiles of still images are not read.
# fmt: off
_WITHOUT_EFFECT = frozenset((
    "auto_map", "chat_template", "crop_size", "data_format", "default_to_square", "device", "disable_grouping",
    "do_convert_rgb", "do_pad", "do_sample_frames", "feature_extractor_type", "fps", "image_grid_pinpoints",
    "image_processor_type", "image_seq_length", "image_token", "input_data_format", "model_valid_processing_keys",
    "num_frames", "num_image_tokens", "pad_size", "processor_class", "resample", "return_metadata", "return_tensors",
    "video_metadata", "video_processor_type", "video_token", "vision_aspect_ratio", "vision_feature_select_strategy",
))
_WITHOUT_EFFECT_NATIVE = frozenset((
    "cap_pixels_per_frame", "max_duration", "max_frames", "max_image_size", "max_pixels", "max_video_tokens",
    "min_frames", "min_pixels",
))
# fmt: on
_CHANNELS = 3
_FIXED: dict[str, list[Any]] = {
    "do_normalize": [True],
    "do_rescale": [True],
    "do_resize": [True],
    "do_center_crop": [False],
}
_READ = frozenset(("image_mean", "image_std", "rescale_factor"))


@dataclass(frozen=True, slots=True)
class PixelScale:
    """How pixels in 0..1 are normalised, per channel."""

    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)


DEFAULT_SCALE = PixelScale()


def pixel_scale(files: CheckpointFiles, frame_size: int) -> PixelScale:
    """The scale of pixels of a checkpoint whose frames are squares of `frame_size`; the default without a file.

    Raises ModelInvalid for a key that asks for frames that are prepared in another way.
    """
    config = _config(files)
    if config is None:
        return DEFAULT_SCALE
    size = {"height": frame_size, "width": frame_size}
    fixed: dict[str, list[Any]] = _FIXED | {"size": [size, frame_size]}
    config.require(fixed, _WITHOUT_EFFECT | _READ, "frames are rescaled to 0..1, normalised and reduced to squares")
    return _scale(config)


def native_scale(
    files: CheckpointFiles, *, patch: int, merge: int, frames_per_group: int, max_cells: int
) -> tuple[PixelScale, tuple[int, int]]:
    """The scale of pixels of a checkpoint whose frames keep their shape, and the fewest and most cells of a frame.

    `size` bounds the pixels of a whole video as published; here those of each frame, with `max_cells` at most. Raises
    ModelInvalid.
    """
    config = _config(files)
    if config is None:
        return DEFAULT_SCALE, (1, max_cells)
    fixed: dict[str, list[Any]] = _FIXED | {
        "patch_size": [patch],
        "merge_size": [merge],
        "temporal_patch_size": [frames_per_group],
    }
    allowed = _WITHOUT_EFFECT | _WITHOUT_EFFECT_NATIVE | _READ | {"size"}
    config.require(fixed, allowed, "frames are rescaled to 0..1, normalised and cut into patches at their own shape")
    least, most = _pixels(config)
    cell = (patch * merge) ** 2
    most = min(max(1, most // cell), max_cells) if most else max_cells
    return _scale(config), (min(max(1, least // cell), most), most)


def _pixels(config: JsonFile) -> tuple[int, int]:
    """The fewest and most pixels of a frame; 0 where the processor has no such limit. Raises ModelInvalid."""
    size = config.content.get("size")
    if not size:
        return 0, 0
    least, most = (size.get(edge) if isinstance(size, dict) else None for edge in ("shortest_edge", "longest_edge"))
    if not isinstance(least, int) or not isinstance(most, int) or not 0 < least <= most:
        raise config.refuse("size", "expected shortest_edge and longest_edge, in pixels of a frame, in this order")
    return least, most


def _scale(config: JsonFile) -> PixelScale:
    factor = config.content.get("rescale_factor")
    if factor is not None and not (isinstance(factor, float) and math.isclose(factor, 1 / 255, rel_tol=1e-3)):
        raise config.refuse("rescale_factor", "expected 1/255")
    mean, std = _channels(config, "image_mean"), _channels(config, "image_std")
    return PixelScale(mean or DEFAULT_SCALE.mean, std or DEFAULT_SCALE.std)


def _config(files: CheckpointFiles) -> JsonFile | None:
    nested = files.read(_NESTED_FILE)
    parts = dict(nested.content) if nested is not None else {}
    processors = {key: parts.pop(key, None) for key in _NESTED_KEYS}
    if nested is not None:
        JsonFile(nested.name, parts).require({}, _WITHOUT_EFFECT, "only processors of images and videos are read")
        if isinstance(processors["video_processor"], dict):
            return JsonFile(f"{nested.name}, video_processor", processors["video_processor"])
    for name in _FILES:
        if (config := files.read(name)) is not None:
            return config
    if nested is not None and isinstance(processors["image_processor"], dict):
        return JsonFile(f"{nested.name}, image_processor", processors["image_processor"])
    return None


def _channels(config: JsonFile, key: str) -> tuple[float, float, float] | None:
    values: Any = config.content.get(key)
    if values is None:
        return None
    is_std = key == "image_std"
    if not isinstance(values, list) or len(values) != _CHANNELS or not all(_is_valid(one, is_std) for one in values):
        raise config.refuse(key, f"expected {_CHANNELS} numbers{' above 0' if is_std else ''}")
    red, green, blue = map(float, values)
    return red, green, blue


def _is_valid(value: object, is_std: bool) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return is_number and (value > 0 or not is_std)  # type: ignore[operator]
