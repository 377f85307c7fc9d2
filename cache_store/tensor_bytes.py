"""Named tensors as safetensors bytes, and back, without a copy: the library itself copies everything twice."""

from __future__ import annotations

import bisect
import itertools
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

# Tensors that are read are only copied into a memory, never written to.
warnings.filterwarnings("ignore", message="The given buffer is not writable", category=UserWarning)

DTYPES = {
    "I64": torch.int64,
    "I32": torch.int32,
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I8": torch.int8,
    "U8": torch.uint8,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_LENGTH_NBYTES = 8  # of the number in front of the header that is its length
_ALIGNMENT = 8


def pack(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> list[memoryview]:
    """The file in parts: its header, then views of the tensors, which must not change as long as the parts are used."""
    # The widest dtype first, so that each tensor starts at a multiple of its width.
    ordered = sorted(tensors.items(), key=lambda named: -named[1].dtype.itemsize)
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    parts, start = [], 0
    for name, tensor in ordered:
        raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        end = start + raw.numel()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
        parts.append(raw.numpy().data)
        start = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return [memoryview(len(text).to_bytes(_LENGTH_NBYTES, "little") + text), *parts]


def unpack(pieces: Sequence[bytes]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file in pieces, and its metadata. Raises ValueError.

    A tensor that lies in one piece is a view of it, not to be written to; the others are copies.
    """
    file = _File(pieces)
    start = _LENGTH_NBYTES + int.from_bytes(file.read(0, _LENGTH_NBYTES), "little")
    try:
        header = json.loads(file.read(_LENGTH_NBYTES, start))
        metadata = header.pop("__metadata__", {})
        tensors = {name: _tensor(file, start, **described) for name, described in header.items()}
        end = max((described["data_offsets"][1] for described in header.values()), default=0)
    except (TypeError, AttributeError, KeyError, RecursionError) as error:
        raise ValueError(f"header of tensors: {type(error).__name__}: {error}") from error
    if start + end != file.nbytes:
        raise ValueError(f"{file.nbytes} bytes (the header says that the last tensor ends at {start + end})")
    return tensors, metadata


class _File:
    """A file whose bytes are in pieces."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = pieces
        self._starts = list(itertools.accumulate(map(len, pieces), initial=0))
        self.nbytes = self._starts[-1]

    def find(self, start: int, end: int) -> tuple[bytes, int]:
        """Bytes that contain those from `start` to before `end`, and the offset of `start` in them."""
        if not 0 <= start <= end <= self.nbytes:
            raise ValueError(f"bytes {start} to {end} of {self.nbytes}")
        first = max(0, bisect.bisect_right(self._starts, start, hi=len(self._pieces)) - 1)
        offset = start - self._starts[first]
        if end <= self._starts[first + 1]:
            return self._pieces[first], offset
        last = bisect.bisect_left(self._starts, end)
        return b"".join(self._pieces[first:last])[offset:], 0

    def read(self, start: int, end: int) -> bytes:
        if start == end:
            return b""
        data, offset = self.find(start, end)
        return data[offset : offset + end - start]


def _tensor(file: _File, origin: int, *, dtype: str, shape: list[int], data_offsets: list[int]) -> Tensor:
    start, end = data_offsets
    kind = DTYPES[dtype]
    if min(shape, default=0) < 0 or end - start != math.prod(shape) * kind.itemsize or start < 0:
        raise ValueError(f"a tensor of {dtype} {shape} at bytes {start} to {end}")
    if start == end:
        return torch.empty(shape, dtype=kind)
    data, offset = file.find(origin + start, origin + end)
    return torch.frombuffer(data, dtype=kind, count=math.prod(shape), offset=offset).view(shape)
