"""Fixtures of many tests: a model of the tiny shape with random weights, a writer and a memory for it."""

from __future__ import annotations

from collections.abc import Iterator

from actors import ray_environment  # noqa: F401
from console.client import grpc_environment  # noqa: F401

# isort: split

import hypothesis
import pytest
import structlog
import torch
from transformers import LlavaOnevisionForConditionalGeneration

from cache_store import token_ids
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models.generation_config import GenerationConfig
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.prompts import Prompts, PromptTexts
from models.tiny import network, vocabulary
from models.tiny.network import TOKENS_PER_FRAME
from models.tiny.vocabulary import GUIDANCE_GLOBAL, GUIDANCE_LOCAL, GUIDANCE_QUESTIONS, PREFIX_TEXT, QUESTION_TEXT
from tests.chaos.report import pytest_configure
from tests.scheduling import pytest_collection_modifyitems, pytest_xdist_make_scheduler
from tests.server_markers import pytest_runtest_protocol

__all__ = [
    "TOKENS_PER_FRAME",
    "pytest_collection_modifyitems",
    "pytest_configure",
    "pytest_runtest_protocol",
    "pytest_xdist_make_scheduler",
]

torch.set_num_threads(1)

# Properties are tried on the same examples each time, however slow the machine.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _process_settings() -> Iterator[None]:
    """Restores what a command line sets for its whole process: the logging, and the number of torch threads."""
    logging_before = structlog.get_config()
    yield
    structlog.configure(**logging_before)
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model() -> LlavaOnevision:
    """The tiny shape with random weights: fast, and exact in float32."""
    return random_model(network.build_model(vocabulary.build_tokenizer(), seed=0))


def random_model(
    weights: LlavaOnevisionForConditionalGeneration, generation: GenerationConfig | None = None
) -> LlavaOnevision:
    """A model with these weights and the texts of the tiny model."""
    tokenizer = vocabulary.build_tokenizer()
    texts = PromptTexts(
        prefix=PREFIX_TEXT,
        question=QUESTION_TEXT,
        guidance_local=GUIDANCE_LOCAL,
        guidance_global=GUIDANCE_GLOBAL,
        guidance_questions=GUIDANCE_QUESTIONS,
    )
    return LlavaOnevision(weights, Prompts(tokenizer, texts), name="random", generation=generation)


@pytest.fixture
def writer(model: LlavaOnevision) -> MemoryWriter:
    """A writer with a budget of 128 tokens a layer and a recent window of 4 frames."""
    config = MemoryConfig(tokens_per_layer=128, recent_frames=4)
    return MemoryWriter(model, config, max_frames=8, reserve=128)


@pytest.fixture
def memory(writer: MemoryWriter) -> Memory:
    """A new memory with its prefix."""
    return new_memory(writer)


def new_memory(writer: MemoryWriter, *, slots: int = 1, slot: int = 0) -> Memory:
    slabs = Slabs(writer.model.spec.kv, slots=slots, capacity=writer.capacity + 256)
    fresh = Memory(slabs, slot)
    writer.reset(fresh)
    return fresh


def random_frames(num_frames: int, seed: int = 0) -> torch.Tensor:
    """uint8 [F, 64, 64, 3]"""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (num_frames, 64, 64, 3), dtype=torch.uint8, generator=generator)


def append_frames(writer: MemoryWriter, memory: Memory, frames: torch.Tensor, *, first_s: float = 0.0) -> None:
    """Appends frames half a second apart, four at a time."""
    times = first_s + torch.arange(len(frames), dtype=torch.float64) / 2
    for start in range(0, len(frames), 4):
        writer.append([memory], frames[None, start : start + 4], times[None, start : start + 4])


def grid(_width: int, _height: int) -> tuple[int, int]:
    """Rows and columns of the tokens of a frame of the tiny model."""
    return 4, 4


def numbered(ids: torch.Tensor) -> torch.Tensor:
    """Token ids of the tiny model as one number each, 16 a frame; summaries keep theirs."""
    cells = token_ids.frames_of(ids) * TOKENS_PER_FRAME + 4 * token_ids.rows_of(ids) + token_ids.columns_of(ids)
    return torch.where(ids < 0, ids, cells)


def rope_frequencies(head_dim: int, base: float) -> torch.Tensor:
    """The frequencies of RoPE as published, float32. -> [D/2]"""
    return 1.0 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def contents(memory: Memory) -> list[torch.Tensor]:
    """A copy of all valid tensors of a memory."""
    layers = (memory.layer(index) for index in range(memory.num_layers))
    return [tensor.clone() for tokens in layers for _, _, tensor in tokens.tensors()]


def assert_same(before: list[torch.Tensor], after: list[torch.Tensor]) -> None:
    assert len(before) == len(after)
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old, new)


def mark_summaries(memory: Memory) -> None:
    """From now on the memory says that a token of it may stand for several."""
    layers = [memory.after_prefix(layer) for layer in range(memory.num_layers)]
    copies = [tokens.at(torch.arange(len(tokens))) for tokens in layers]
    memory.compact(copies, next_position=memory.next_position, reach=memory.reach, has_summaries=True)
