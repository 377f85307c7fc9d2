"""Checkpoints of every family as folders: what is loaded is what was saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import Cosmos3OmniConfig, Cosmos3OmniForConditionalGeneration

from benchmarks.transformers_prompts import prompt_of
from cache_store.tiers import MemoryConfig
from models import network_weights, placement, registry
from models.answer_decoder import Answer, AnswerDecoder
from models.embeddings import Embeddings
from models.errors import ModelInvalid
from models.memory_writer import MemoryWriter
from models.quantised_weights import Int8Linear
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel
from models.weight_format import WeightFormat
from tests.conftest import new_memory
from tests.models import families
from tests.models.families import FAMILIES, Family, write_checkpoint


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]()


@pytest.fixture(scope="module")
def checkpoint(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(family.model, tmp_path_factory.mktemp("checkpoint"))


def first_logits(family: Family, model: VideoLanguageModel) -> torch.Tensor:
    """Of the first token of an answer about some frames."""
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=200, recent_frames=2), max_frames=8, reserve=128)
    memory = new_memory(writer)
    with torch.inference_mode():
        writer.append([memory], family.frames(6)[None], torch.arange(6, dtype=torch.float64)[None])
        embedded = model.embed_question(torch.tensor(model.prompts.question("what is in view").ids))
        hidden = model.forward(Embeddings.pack([embedded]), SlotCache([memory], [len(embedded)], is_read_only=True))
        return model.logits(hidden[:, -1])[0]


def test_a_folder_is_loaded_as_it_was_saved(family: Family, checkpoint: Path) -> None:
    model = registry.load_model(str(checkpoint), "cpu")

    # transformers reads the tokenizer of a Qwen3.5 by a class of its own, which our words are not made for.
    saved = families.rebuilt(family.model, family.model._network, model.prompts)  # type: ignore[attr-defined]
    assert model.spec.fingerprint == saved.spec.fingerprint
    assert model.spec.layout.max_cells == saved.spec.layout.max_cells
    assert torch.allclose(first_logits(family, model), first_logits(family, saved), atol=1e-5)


def test_cosmos3_runs_as_the_family_whose_shape_it_has(tmp_path: Path) -> None:
    family = families.qwen3_vl(Cosmos3OmniConfig, Cosmos3OmniForConditionalGeneration)

    model = registry.load_model(str(write_checkpoint(family.model, tmp_path)), "cpu")

    frames, times_s, ids = family.frames(6), torch.arange(6).tolist(), model.prompts.question("what is in view").ids
    found, network = first_logits(family, model), model._network  # type: ignore[attr-defined]
    network.set_attn_implementation({"text_config": "sdpa", "vision_config": "sdpa"})
    with torch.inference_mode():
        expected = network(**prompt_of(model, frames, times_s, ids, (6,))).logits[0, -1]
    assert torch.allclose(found, expected, atol=1e-4)


def test_int8_weights_answer_alike_in_a_third_of_the_bytes(family: Family, checkpoint: Path) -> None:
    exact = registry.load_model(str(checkpoint), "cpu")
    model = registry.load_model(str(checkpoint), "cpu", WeightFormat.INT8)
    found, expected = first_logits(family, model), first_logits(family, exact)

    sizes = [placement._nbytes(one.decoder.layers) for one in (model, exact)]  # type: ignore[attr-defined]
    assert sizes[0] < 0.34 * sizes[1]
    assert model.spec.kv.dtype == exact.spec.kv.dtype
    assert model.spec.fingerprint != exact.spec.fingerprint
    assert float(torch.cosine_similarity(found, expected, dim=0)) > 0.99
    assert not torch.equal(found, expected)


def test_an_answer_is_decoded_with_int8_weights(family: Family, checkpoint: Path) -> None:
    model = registry.load_model(str(checkpoint), "cpu", WeightFormat.INT8)
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=100, recent_frames=2), max_frames=8, reserve=128)
    memory = new_memory(writer)
    for clip in range(8):
        writer.append([memory], family.frames(4)[None], 4.0 * clip + torch.arange(4, dtype=torch.float64)[None])
    decoder, answer = AnswerDecoder(model), Answer(memory, model.prompts.question("what is in view"))
    decoder.step([answer])
    decoder.step([answer])

    assert memory.compactions
    assert len(answer.ids) == 2


@pytest.mark.parametrize(
    ("devices", "capability", "expected"),
    [
        (["cpu"], (9, 0), torch.float32),
        (["cuda:0"], (9, 0), torch.bfloat16),
        (["cuda:0"], (8, 0), torch.bfloat16),
        (["cuda:0", "cuda:1"], (7, 5), torch.float32),  # a T4 emulates bfloat16
    ],
)
def test_a_model_is_in_bfloat16_where_every_device_has_it(
    devices: list[str], capability: tuple[int, int], expected: torch.dtype
) -> None:
    placed = list(map(torch.device, devices))

    for weights in (WeightFormat.AUTO, WeightFormat.INT8):
        assert network_weights.number_type(weights, placed, lambda _: capability) is expected
    assert network_weights.number_type(WeightFormat.FLOAT16, placed, lambda _: capability) is torch.float16


@pytest.mark.parametrize("weights", [WeightFormat.BFLOAT16, WeightFormat.FLOAT16, WeightFormat.FLOAT32])
def test_the_number_type_of_the_weights_can_be_chosen(checkpoint: Path, weights: WeightFormat) -> None:
    spec = registry.load_model(str(checkpoint), "cpu", weights).spec

    assert str(spec.kv.dtype) == f"torch.{weights.value}"


def test_a_device_without_room_is_refused_with_both_sizes(family: Family) -> None:
    network, cpu = family.model._network, torch.device("cpu")  # type: ignore[attr-defined]
    whole, parts = (placement.nbytes_by_device(network, number) for number in (1, 2))

    assert sum(parts) == whole[0]
    assert max(parts) < 0.8 * whole[0]
    network_weights.require_room(network, [cpu, cpu], lambda _: max(parts))
    with pytest.raises(ModelInvalid, match=r"take 0\.\d GB of cpu, which has 0\.\d GB free: use shards\.weights: int8"):
        network_weights.require_room(network, [cpu], lambda _: whole[0] - 1)


def test_a_quantised_layer_is_as_exact_as_its_rows() -> None:
    generator = torch.Generator().manual_seed(0)
    exact = torch.nn.Linear(256, 32)
    values = torch.randn(5, 256, generator=generator)

    with torch.inference_mode():
        off = Int8Linear(exact)(values) - exact(values)

    step = exact.weight.abs().amax(dim=1) / 127
    assert bool((off.abs() <= step / 2 * values.abs().sum(dim=1, keepdim=True)).all())
    assert float(off.abs().max()) > 0
