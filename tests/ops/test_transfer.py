"""Tensors on their way to a device. What a GPU makes of them is in the tests marked gpu."""

from __future__ import annotations

import torch

from ops import transfer

CPU = torch.device("cpu")


def test_on_a_cpu_nothing_is_copied() -> None:
    frames = torch.arange(12, dtype=torch.uint8).view(2, 6)

    assert transfer.to_device(frames, CPU) is frames
    assert transfer.concat_to_device([frames], CPU) is frames


def test_several_tensors_become_one() -> None:
    parts = [torch.full((number, 2, 3), number) for number in (1, 4, 2)]

    assert torch.equal(transfer.concat_to_device(parts, CPU), torch.cat(parts))
