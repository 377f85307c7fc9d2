"""A decoder over several devices: which layers are where, and that what they are called with comes along."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch

from cache_store import summaries
from cache_store.cached_tokens import CachedTokens
from cache_store.memory import Memory
from cache_store.positions import Positions
from cache_store.slabs import KVShape, RecurrentShape, Slabs
from models import placement
from models.embeddings import Embeddings
from models.placement import OnDevice
from models.slot_cache import SlotCache
from tests.models.families import FAMILIES, rebuilt
from tests.models.test_loading import first_logits

CPU, META = torch.device("cpu"), torch.device("meta")


@pytest.mark.parametrize(
    ("layers", "rest", "num_devices", "chosen"),
    [
        ([1] * 6, 0, 2, [0, 0, 0, 1, 1, 1]),
        ([1] * 6, 2, 2, [0, 0, 1, 1, 1, 1]),
        ([1] * 6, 100, 2, [1, 1, 1, 1, 1, 1]),
        ([1] * 6, 3, 3, [1, 1, 1, 2, 2, 2]),
        ([5, 1, 1], 0, 2, [0, 1, 1]),
        ([2, 2, 2], 1, 2, [0, 1, 1]),
        ([1] * 4, 1, 1, [0, 0, 0, 0]),
    ],
)
def test_layers_are_split_in_order_into_about_equal_bytes(
    layers: list[int], rest: int, num_devices: int, chosen: list[int]
) -> None:
    assert placement.split(layers, rest, num_devices) == chosen


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_split_model_is_the_same_model(name: str) -> None:
    """Both devices are the CPU here: the same numbers, and the same fingerprint, so memories move between the two."""
    family = FAMILIES[name]()
    whole = family.model
    network = copy.deepcopy(whole._network)  # type: ignore[attr-defined]
    placement.place(network, [CPU, CPU])

    found = rebuilt(whole, network, whole.prompts)

    assert all(isinstance(layer, OnDevice) for layer in network.model.language_model.layers)
    assert found.spec.fingerprint == whole.spec.fingerprint
    assert torch.equal(first_logits(family, found), first_logits(family, whole))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_pass_over_a_split_decoder_mixes_no_tensors_of_two_devices(name: str) -> None:
    """The second device is `meta`, which holds no numbers: torch refuses to add or multiply with those of the CPU."""
    model: Any = FAMILIES[name]().model
    placement.place(model._network, [CPU, META])
    model.decoder.norm = OnDevice(model.decoder.norm.on_device, META)  # nothing can be moved back from there
    devices = placement.layer_devices(model.decoder)
    memory = Memory(Slabs(dataclasses.replace(model.spec.kv, devices=devices), slots=1, capacity=32), 0)
    forward_pass = SlotCache([memory], [5])

    hidden = model.forward(Embeddings.pack([model.embed_tokens(torch.arange(5))]), forward_pass)
    forward_pass.write_states()

    assert (devices[0], devices[-1], hidden.device) == (CPU, META, META)
    with pytest.raises(RuntimeError, match="device"):
        model.decoder.layers[-1].on_device.input_layernorm(torch.zeros(1, 5, hidden.shape[-1]))


def test_a_layers_keys_values_and_states_are_beside_its_weights() -> None:
    shape = KVShape(
        num_layers=2,
        num_kv_heads=1,
        head_dim=4,
        positions=Positions([1.0, 0.1]),
        dtype=torch.float32,
        device=CPU,
        recurrent=RecurrentShape(layers=(0, 2), convolution=(3, 4), state=(2, 4, 4)),
        devices=(CPU, CPU, META, META),
    )

    slabs = Slabs(shape, slots=1, capacity=8)

    assert [tensor.device.type for tensor in (*slabs.keys, *slabs.values)] == ["cpu", "meta", "cpu", "meta"]
    assert [state.device.type for state in slabs.states] == ["cpu", "cpu", "meta", "meta"]
    assert slabs.positions.device == CPU


def test_tokens_whose_keys_are_on_another_device_are_chosen_moved_and_folded() -> None:
    """The other device is `meta`, which holds no numbers."""
    positions = Positions([1.0, 0.1])
    tokens = CachedTokens(
        keys=torch.zeros(1, 6, 4, device=META),
        values=torch.zeros(1, 6, 4, device=META),
        positions=torch.arange(6),
        token_ids=torch.arange(6),
        counts=torch.ones(6, dtype=torch.int64),
        times_s=torch.zeros(6, dtype=torch.float64),
        moved=torch.ones(6, dtype=torch.int32),
    )
    chosen = tokens.at(torch.tensor([0, 2, 3]))
    summary = summaries.summary_at(tokens.positions[0], tokens, tokens.counts, positions)
    moved = positions.shift(tokens.keys, tokens.moved, 4)

    for one in (chosen, summary):
        assert (one.keys.device, one.values.device, one.positions.device) == (META, META, CPU)
    assert moved.device == META
