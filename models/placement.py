"""One model over several devices: the decoder's layers in order, everything else on the first device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import Module, ModuleList
from transformers import PreTrainedModel

_T = TypeVar("_T")
NAME = "on_device"  # of the module in an OnDevice, as the names of its weights have it


class OnDevice(Module):
    """A module on a device of its own: what it is called with is moved there first."""

    def __init__(self, module: Module, device: torch.device) -> None:
        super().__init__()
        self.on_device = module.to(device)
        self._device = device

    def forward(self, *args: object, **kwargs: object) -> object:
        moved = {name: _moved(value, self._device) for name, value in kwargs.items()}
        return self.on_device(*[_moved(value, self._device) for value in args], **moved)


def split(layer_nbytes: Sequence[int], rest_nbytes: int, num_devices: int) -> list[int]:
    """The device of each layer, in order, so that all devices hold about as many bytes; the rest is on the first."""
    share = (rest_nbytes + sum(layer_nbytes)) / num_devices
    chosen, filled = [], rest_nbytes
    for nbytes in layer_nbytes:
        chosen.append(min(int((filled + nbytes / 2) / share), num_devices - 1))
        filled += nbytes
    return chosen


def nbytes_by_device(network: PreTrainedModel, num_devices: int) -> list[int]:
    """How many bytes of weights each device gets from `place`."""
    layers = [_nbytes(layer) for layer in network.model.language_model.layers]
    rest = _nbytes(network) - sum(layers)
    if num_devices == 1:
        return [rest + sum(layers)]
    chosen = split(layers, rest, num_devices)
    per_device = [
        sum(nbytes for nbytes, at in zip(layers, chosen, strict=True) if at == one) for one in range(num_devices)
    ]
    return [per_device[0] + rest, *per_device[1:]]


def place(network: PreTrainedModel, devices: Sequence[torch.device]) -> None:
    """Moves a network to its devices. Its result is on the first one."""
    decoder = network.model.language_model
    if len(devices) == 1:
        network.to(devices[0])
        return
    layers, sizes = list(decoder.layers), [_nbytes(layer) for layer in decoder.layers]
    chosen = split(sizes, _nbytes(network) - sum(sizes), len(devices))
    decoder.layers = ModuleList()
    network.to(devices[0])
    decoder.norm = OnDevice(decoder.norm, devices[0])
    decoder.layers = ModuleList(OnDevice(layer, devices[at]) for layer, at in zip(layers, chosen, strict=True))


def layer_devices(decoder: Module) -> tuple[torch.device, ...]:
    """The device of each of the decoder's layers."""
    return tuple(next(layer.parameters()).device for layer in decoder.layers)  # type: ignore[union-attr]


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names that they have on one device."""
    return {name.replace(f".{NAME}.", "."): weight for name, weight in weights.items()}


def _moved(value: _T, device: torch.device) -> _T:
    if isinstance(value, Tensor):
        return value.to(device)  # type: ignore[return-value]
    if isinstance(value, tuple):
        return tuple(_moved(part, device) for part in value)  # type: ignore[return-value]
    return value


def _nbytes(module: Module) -> int:
    return sum(weight.nbytes for weight in (*module.parameters(), *module.buffers()))
