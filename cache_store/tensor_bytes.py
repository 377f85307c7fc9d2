"""Named tensors as safetensors bytes, and back, without a copy: the library's own way copies everything twice."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "I64": torch.int64,
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_LENGTH_NBYTES = 8  # of the header's length, in front of it
_ALIGNMENT = 8


def packed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[memoryview]:
    """The file in parts: its header, then the tensors as they lie in memory, which must not change meanwhile."""
    # The widest first, so that each starts at a multiple of its width.
    ordered = sorted(tensors.items(), key=lambda named: -named[1].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, start = [], 0
    for name, tensor in ordered:
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        end = start + raw.numel()
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        parts.append(raw.numpy().data)
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return [memoryview(len(text).to_bytes(_LENGTH_NBYTES, "little") + text), *parts]


def unpacked(data: Tensor) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors, as views of the file's bytes, and the metadata. uint8 [N]. Raises ValueError."""
    start = _LENGTH_NBYTES + int.from_bytes(_text(data, 0, _LENGTH_NBYTES), "little")
    try:
        header = json.loads(_text(data, _LENGTH_NBYTES, start))
        metadata = header.pop("__metadata__", {})
        tensors = {name: _view(data[start:], **described) for name, described in header.items()}
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError(f"no header of safetensors: {type(error).__name__}: {error}") from error
    _require_whole(header.values(), data.numel() - start)
    return tensors, metadata


def _text(data: Tensor, start: int, end: int) -> bytes:
    if end > data.numel():
        raise ValueError(f"{data.numel()} bytes end before byte {end}")
    return data[start:end].numpy().tobytes()


def _view(data: Tensor, *, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    start, end = data_offsets
    kind = _DTYPES[dtype]
    if not 0 <= start <= end <= data.numel() or min(shape, default=0) < 0:
        raise ValueError(f"a tensor of shape {shape} at bytes {start} to {end} of {data.numel()}")
    if end - start != math.prod(shape) * kind.itemsize or (data.storage_offset() + start) % kind.itemsize:
        raise ValueError(f"a tensor of {dtype} {shape} at bytes {start} to {end}")
    return data[start:end].view(kind).view(shape)


def _require_whole(described: Iterable[dict[str, Any]], nbytes: int) -> None:
    end = max((one["data_offsets"][1] for one in described), default=0)
    if end != nbytes:
        raise ValueError(f"{nbytes} bytes of tensors (the header says {end})")
