"""The weights of a checkpoint: safetensors alone, checked on the CPU before anything is on the device."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import PretrainedConfig, PreTrainedModel

from models import placement, quantised_weights
from models.checkpoint_files import CheckpointFiles
from models.errors import ModelInvalid
from models.weight_format import WeightFormat

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_DTYPES = {
    WeightFormat.FLOAT32: torch.float32,
    WeightFormat.BFLOAT16: torch.bfloat16,
    WeightFormat.FLOAT16: torch.float16,
}
_FIRST_WITH_BFLOAT16 = (8, 0)  # Ampere; older GPUs emulate it, which is slower than float32
_LAYER = re.compile(r"language_model\.(?:model\.)?layers\.(\d+)\.")
_SHOWN = 3  # names of weights that are missing
_MOST_DESCRIBED = 2  # times as many weights as a checkpoint holds: what its config describes is allocated


def weight_files(files: CheckpointFiles) -> list[Path]:
    """The files with the weights of a checkpoint. Raises ModelInvalid unless all are there, as safetensors."""
    if (single := files.folder / _SINGLE).is_file():
        return [single]
    index = files.read(_INDEX)
    if index is None:
        pickled = sorted(path.name for pattern in _PICKLED for path in files.folder.glob(pattern))
        other = f"{pickled[0]} is pickled, which could run any code: convert it" if pickled else "no weights"
        raise ModelInvalid(f"{files.folder}: {other} (only {_SINGLE} is read, or the files of {_INDEX})")
    weight_map = index.content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise index.refuse("weight_map", "expected the file of each weight")
    parts = sorted(set(map(str, weight_map.values())))
    if foreign := [part for part in parts if Path(part).name != part or not part.endswith(".safetensors")]:
        raise index.refuse("weight_map", f"expected *.safetensors beside it, found {foreign[0]!r}")
    if missing := [part for part in parts if not (files.folder / part).is_file()]:
        raise ModelInvalid(f"{files.folder}: {missing[0]} is missing ({len(missing)} of {len(parts)} files)")
    return [files.folder / part for part in parts]


def load(
    network: type[PreTrainedModel],
    files: CheckpointFiles,
    config: PretrainedConfig,
    weights: WeightFormat,
    devices: Sequence[torch.device],
) -> PreTrainedModel:
    """A network with the weights of a checkpoint on its devices, see `placement`. Blocks while they load.

    Raises ModelInvalid if weights are missing or the devices have no room for them, and what transformers raises.
    """
    _require_size(network, files, config)
    loaded, found = network.from_pretrained(
        files.folder,
        config=config,
        dtype=number_type(weights, devices),
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,
    )
    # transformers fills what is missing or has another shape with random numbers, and says so in a warning.
    if mismatched := sorted(found["mismatched_keys"]):
        name, shape, expected = mismatched[0]
        raise ModelInvalid(f"{files.folder}: {name} is {list(shape)} (its config says {list(expected)})")
    if missing := sorted(found["missing_keys"]):
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise ModelInvalid(f"{files.folder}: {len(missing)} weights are missing: {shown}")
    num_layers = len(loaded.model.language_model.layers)
    if beyond := [name for name in sorted(found["unexpected_keys"]) if _layer_of(name) >= num_layers]:
        raise ModelInvalid(f"{files.folder}: {beyond[0]} is of no layer (its config says {num_layers} layers)")
    if weights is WeightFormat.INT8:
        quantised_weights.quantise(loaded.model.language_model)
    require_room(loaded, devices, _free_nbytes)
    placement.place(loaded, devices)
    return loaded


def number_type(
    weights: WeightFormat,
    devices: Sequence[torch.device],
    capability_of: Callable[[torch.device], tuple[int, int]] = torch.cuda.get_device_capability,
) -> torch.dtype:
    """What a model on these devices is computed in, see `WeightFormat`."""
    has_bfloat16 = all(device.type == "cuda" and capability_of(device) >= _FIRST_WITH_BFLOAT16 for device in devices)
    return _DTYPES.get(weights, torch.bfloat16 if has_bfloat16 else torch.float32)


def _require_size(network: type[PreTrainedModel], files: CheckpointFiles, config: PretrainedConfig) -> None:
    """Returns unless a config describes far more weights than its files hold. Raises ModelInvalid."""
    with torch.device("meta"):
        described = sum(weight.numel() for weight in network(copy.deepcopy(config)).parameters())
    num_weights = sum(map(_num_weights, weight_files(files)))
    if described > _MOST_DESCRIBED * num_weights:
        raise ModelInvalid(f"{files.folder}: {num_weights:,} weights, but config.json describes {described:,}")


def _num_weights(path: Path) -> int:
    """As its header says. Raises ModelInvalid."""
    try:
        with safe_open(path, "pt") as weights:
            return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    except SafetensorError as error:
        raise ModelInvalid(f"{path}: damaged, or not copied to its end ({error}): bring it again") from error


def _layer_of(name: str) -> int:
    """The decoder's layer that a weight is of; -1 for other weights."""
    found = _LAYER.search(name)
    return int(found[1]) if found else -1


def require_room(
    network: PreTrainedModel, devices: Sequence[torch.device], free_nbytes: Callable[[torch.device], float]
) -> None:
    """Returns if each device has room for its part of the weights. Raises ModelInvalid with both sizes."""
    for device, nbytes in zip(devices, placement.nbytes_by_device(network, len(devices)), strict=True):
        if nbytes > (free := free_nbytes(device)):
            raise ModelInvalid(
                f"the weights take {nbytes / 1e9:.1f} GB of {device}, which has {free / 1e9:.1f} GB free: use "
                "shards.weights: int8, more GPUs for a shard (shards.num_gpus), or a smaller model"
            )


def _free_nbytes(device: torch.device) -> float:
    """The weights are on the CPU already."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else math.inf
