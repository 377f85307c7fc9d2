"""The shapes that a plan computes with are those of the models: of what ships, and of transformers' own classes."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedModel

from benchmarks import random_checkpoints
from console.planning import model_shapes
from console.planning.figures import PlanError
from console.planning.model_shapes import MODELS, ModelShape, shape_of
from models import patches, registry
from models.catalogue import CHECKPOINTS
from models.registry import FAMILIES

SMALL_PARTS = 0.005  # norms, biases and position tables, which a shape leaves out
# Billions of parameters that the models' pages state.
PUBLISHED = {
    "llava-onevision-0.5b": 0.89,
    "llava-onevision-7b": 8.03,
    "qwen2.5-vl-3b": 3.75,
    "qwen2.5-vl-7b": 8.29,
    "qwen3-vl-2b": 2.13,
    "qwen3-vl-4b": 4.44,
    "qwen3-vl-8b": 8.77,
}


# Of the first part of a name.
MODEL_TYPES = {
    "tiny": "llava_onevision",
    "llava": "llava_onevision",
    "qwen2.5": "qwen2_5_vl",
    "qwen3": "qwen3_vl",
}


def network_of(shape: ModelShape) -> PreTrainedModel:
    """The network that benchmarks of this shape run, on a device that holds no numbers."""
    network, config = random_checkpoints.network_of(shape)
    with torch.device("meta"):
        return network(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_shape_has_the_parameters_of_the_published_model(name: str) -> None:
    shape = MODELS[name]
    in_transformers = sum(weights.numel() for weights in network_of(shape).parameters())

    assert in_transformers * (1 - SMALL_PARTS) <= shape.num_params <= in_transformers
    assert shape.num_params / 1e9 == pytest.approx(PUBLISHED[name], rel=0.01)


@pytest.mark.parametrize("name", [name for name, shape in MODELS.items() if shape.is_shipped])
def test_the_shape_of_a_model_that_ships_is_that_of_its_checkpoint(name: str) -> None:
    shape, model = MODELS[name], registry.load_model(name, "cpu")
    weights = sum(parameter.numel() for parameter in model.decoder.parameters())  # type: ignore[attr-defined]

    assert shape.decoder.footprint(4) == model.spec.kv.footprint
    assert shape.tokens_per_group(shape.frame_size) == shape.max_tokens_per_group == model.spec.layout.max_tokens(1)
    assert shape.vision.frames_per_group == model.spec.layout.frames_per_group
    assert shape.frame_size == (model.spec.layout.square, model.spec.layout.square)
    assert shape.prefix_tokens == len(model.prompts.prefix)
    assert shape.decoder.block_params + shape.decoder.embedding_params == pytest.approx(weights, rel=0.01)


def test_a_plan_knows_every_model_with_a_name_and_no_other() -> None:
    assert {MODEL_TYPES[name.partition("-")[0]] for name in MODELS} <= set(FAMILIES)
    assert set(CHECKPOINTS) == set(MODELS)


def test_a_slot_has_room_for_frames_of_any_size() -> None:
    assert model_shapes.MAX_CELLS == patches.MAX_CELLS
    assert shape_of("qwen3-vl-8b").max_tokens_per_group == 256 + 12
    with pytest.raises(PlanError, match="qwen3-vl-8b would read 2,040 cells a frame, and larger frames are reduced to"):
        shape_of("qwen3-vl-8b").require_size((1920, 1080))


@pytest.mark.parametrize(
    ("name", "size", "tokens"),
    [
        ("llava-onevision-7b", (384, 384), 196),  # 27 x 27 patches, pooled to 14 x 14
        ("qwen3-vl-8b", (448, 448), (14 * 14 + 12) / 2),  # a pair of frames, and the text of its time
        ("qwen2.5-vl-7b", (1920, 1080), 69 * 39 / 2),
        ("tiny", (64, 64), 16),
        ("tiny-qwen3-vl", (80, 48), (3 * 5 + 6) / 2),
    ],
)
def test_tokens_of_a_frame(name: str, size: tuple[int, int], tokens: float) -> None:
    assert MODELS[name].tokens_per_frame(size) == tokens


def test_a_model_that_reads_one_size_refuses_others() -> None:
    with pytest.raises(PlanError, match="--frame-size is 448x448: llava-onevision-7b reads frames of 384x384 alone"):
        MODELS["llava-onevision-7b"].require_size((448, 448))
    with pytest.raises(PlanError, match="at least 32 pixels a side"):
        MODELS["qwen3-vl-8b"].require_size((16, 448))


def test_an_unknown_model_is_refused_with_the_list() -> None:
    with pytest.raises(PlanError, match=r"--model is 'gpt': a plan knows tiny, .*qwen3-vl-8b"):
        shape_of("gpt")
    with pytest.raises(PlanError, match=r"; did you mean 'qwen3-vl-8b'\?$"):
        shape_of("qwen3-vl8b")


def test_arithmetic_of_a_7b_model_by_hand() -> None:
    """Of each of 28 layers: 2 x 3584 x 128 x (28 + 4) + 3 x 3584 x 18944 numbers, and attention of 28 heads of 128."""
    shape = MODELS["llava-onevision-7b"]
    numbers = 28 * (29_360_128 + 203_685_888)

    assert shape.decoder.block_params == numbers
    assert shape.decoder_flops(1, 0) == 2 * numbers
    assert shape.decoder_flops(10, 4_000) == 10 * (2 * numbers + 28 * 4 * 28 * 128 * 4_000)
    # 729 patches through 26 layers of 4 x 1152² + 2 x 1152 x 4304, and the projector on each patch
    assert shape.vision_flops((384, 384)) == (
        2 * 729 * 26 * (4 * 1152**2 + 2 * 1152 * 4304)
        + 4 * 26 * 1152 * 729**2
        + 2 * 729 * 3584 * (1152 + 3584)
    )  # fmt: skip
