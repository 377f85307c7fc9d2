"""The format is that of the safetensors library, and corrupt headers are refused."""

from __future__ import annotations

import itertools
import json

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from cache_store import tensor_bytes

DTYPES = (torch.int64, torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8)


@st.composite
def named_tensors(draw: st.DrawFn) -> dict[str, torch.Tensor]:
    """A few tensors of random bytes."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1_000)))
    shapes = draw(st.lists(st.lists(st.integers(0, 4), max_size=3), max_size=5))
    return {
        f"t{number}": torch.randint(0, 100, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))
        for number, shape in enumerate(shapes)
    }


def as_file(tensors: dict[str, torch.Tensor]) -> bytes:
    return b"".join(tensor_bytes.pack(tensors, {"about": "us"}))


def read(data: bytes) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    return tensor_bytes.unpack([data])


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        assert tensor.dtype == right[name].dtype
        assert torch.equal(tensor, right[name])


@given(named_tensors())
def test_unpacked_tensors_equal_the_packed_ones(tensors: dict[str, torch.Tensor]) -> None:
    found, metadata = read(as_file(tensors))
    assert_equal(found, tensors)
    assert metadata == {"about": "us"}


@given(named_tensors())
def test_the_library_reads_what_is_packed_here(tensors: dict[str, torch.Tensor]) -> None:
    assert_equal(safetensors.torch.load(as_file(tensors)), tensors)


@given(named_tensors())
def test_the_first_tensor_starts_at_a_multiple_of_eight_bytes(tensors: dict[str, torch.Tensor]) -> None:
    header, *_ = tensor_bytes.pack(tensors, {"about": "us"})
    assert len(header) % 8 == 0


@given(named_tensors())
def test_a_file_of_the_library_is_unpacked_here(tensors: dict[str, torch.Tensor]) -> None:
    assert_equal(read(safetensors.torch.save(tensors, {"about": "us"}))[0], tensors)


@given(named_tensors(), st.lists(st.integers(0, 400), max_size=5))
def test_a_file_can_be_cut_into_pieces_anywhere(tensors: dict[str, torch.Tensor], cuts: list[int]) -> None:
    data = as_file(tensors)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(places)]
    assert_equal(tensor_bytes.unpack(pieces)[0], tensors)


def test_a_tensor_that_lies_in_one_piece_is_a_view_of_it() -> None:
    data = as_file({"keys": torch.arange(6)})
    again, _ = tensor_bytes.unpack([data])
    found, _ = tensor_bytes.unpack([data])
    assert found["keys"].data_ptr() == again["keys"].data_ptr()


def test_a_view_of_a_tensor_is_packed_as_its_own_part() -> None:
    part = torch.arange(24).view(2, 3, 4)[:, 1:]
    assert_equal(read(as_file({"keys": part}))[0], {"keys": part})


@pytest.mark.parametrize(
    "described",
    [
        {"dtype": "I64", "shape": [2], "data_offsets": [0, 8]},
        {"dtype": "I64", "shape": [3], "data_offsets": [0, 24]},
        {"dtype": "I64", "shape": [-2], "data_offsets": [0, 16]},
        {"dtype": "I64", "shape": [1], "data_offsets": [-8, 0]},
        {"dtype": "I64", "shape": [1], "data_offsets": [4, 12]},
        {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
        {"dtype": "C64", "shape": [2], "data_offsets": [0, 16]},
        {"dtype": "I64", "shape": 2, "data_offsets": [0, 16]},
        {"dtype": "I64", "shape": ["2"], "data_offsets": [0, 16]},
        {"dtype": "I64", "shape": [2]},
        [],
        None,
    ],
)
def test_a_header_that_does_not_fit_its_bytes_is_refused(described: object) -> None:
    text = json.dumps({"keys": described}).encode()
    text += b" " * (-len(text) % 8)
    with pytest.raises(ValueError, match=r"tensor|bytes"):
        read(len(text).to_bytes(8, "little") + text + bytes(16))
