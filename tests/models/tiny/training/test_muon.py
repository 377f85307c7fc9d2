"""Muon in float32 does what torch's does in bfloat16."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.tiny.training.muon import Muon, orthogonalize


@settings(max_examples=20, deadline=None)
@given(rows=st.integers(2, 40), columns=st.integers(2, 40), seed=st.integers(0, 2**32))
def test_singular_values_become_about_one_and_their_vectors_stay(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, _, right = torch.linalg.svd(torch.randn(3, rows, columns, generator=generator), full_matrices=False)
    values = 0.2 + torch.rand(3, 1, min(rows, columns), generator=generator)

    moved = orthogonalize((left * values) @ right)

    inner = left.mT @ moved @ right.mT
    spread = torch.diagonal(inner, dim1=1, dim2=2)
    assert ((spread > 0.4) & (spread < 1.4)).all()
    torch.testing.assert_close(inner, torch.diag_embed(spread), atol=1e-3, rtol=0)


def test_many_steps_go_where_torchs_muon_goes() -> None:
    generator = torch.Generator().manual_seed(3)
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((8, 24), (24, 8), (8, 24))]
    theirs = [torch.nn.Parameter(one.detach().clone()) for one in ours]
    start = [one.detach().clone() for one in ours]
    one = Muon(ours, lr=0.02, weight_decay=0.01)
    other = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")

    for _ in range(10):
        for here, there in zip(ours, theirs, strict=True):
            here.grad = torch.randn(here.shape, generator=generator)
            there.grad = here.grad.clone()
        one.step()
        other.step()

    for here, there, before in zip(ours, theirs, start, strict=True):
        assert (here - there).norm() < 0.05 * (here - before).norm()
