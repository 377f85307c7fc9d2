"""A GPU gives the same answers and keys as the CPU. It needs no more than `benchmarks.gpu`, which runs it too."""

from __future__ import annotations

import threading

import pytest
import torch

from benchmarks.on_device import answering, equality, full_memories, plain_models
from cache_store.tiers import MemoryConfig
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]


@pytest.mark.parametrize("name", [plain_models.TINY, plain_models.TINY_QWEN])
@pytest.mark.parametrize(("num_frames", "tokens_per_layer"), [(24, 1_000), (96, 256)], ids=["whole", "compacted"])
def test_a_tiny_model_answers_on_a_gpu_as_on_the_cpu(name: str, num_frames: int, tokens_per_layer: int) -> None:
    """float32 on both: the same answers, and the same keys to rounding, after compactions too.

    Scores that are as good as equal may keep another token here and there.
    """
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        on_cpu, on_gpu = (
            equality.answers(name, torch.device(device), num_frames=num_frames, tokens_per_layer=tokens_per_layer)
            for device in ("cpu", "cuda")
        )

    assert on_gpu.answers == on_cpu.answers
    assert on_gpu.same_tokens(on_cpu) >= 0.98


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_answers_of_unequal_lengths_are_decoded_in_one_pass(dtype: torch.dtype) -> None:
    model = plain_models.load(plain_models.TINY, torch.device("cuda"), dtype)
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128), max_frames=8, reserve=answering.RESERVE)
    memory = full_memories.full(writer, 1)[0]
    slots = answering.answer_slots(model, [memory] * 3)
    decoder = answering.decoder_of(model, slots)
    answers = [Answer(slots.acquire(memory), answering.question_of(model, 49 - row)) for row in range(3)]
    decoder.step(answers)
    decoder.step(answers)

    assert [len(answer.ids) for answer in answers] == [2, 2, 2]


def test_a_memory_in_bfloat16_on_a_gpu_is_compacted_and_asked() -> None:
    model = plain_models.load(plain_models.TINY, torch.device("cuda"), torch.bfloat16)
    writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128), max_frames=8, reserve=answering.RESERVE)
    memory = full_memories.full(writer, 1)[0]
    times_s = full_memories.times_s(model, memory, 8)
    writer.append([memory], full_memories.noise_frames(model, 1, 8), times_s[None])
    slots = answering.answer_slots(model, [memory])
    decoder = answering.decoder_of(model, slots)
    answer = Answer(slots.acquire(memory), answering.question_of(model))
    decoder.step([answer])
    decoder.step([answer])

    assert memory.lengths == [memory.prefix_length + 128] * memory.num_layers
    assert memory.layer(0).keys.dtype == torch.bfloat16
    assert len(answer.ids) == 2
    assert all(weights.device.type == "cuda" for weights in answer.attention_weights.values())


class Decoding:
    """Answers on three memories of a tiny model on a GPU, some of which share a copy. Their questions were read."""

    def __init__(self, name: str, *, has_graphs: bool) -> None:
        model = plain_models.load(name, torch.device("cuda"))
        writer = MemoryWriter(model, MemoryConfig(tokens_per_layer=128), max_frames=8, reserve=answering.RESERVE)
        first, second, third = full_memories.full(writer, 3)
        memories = [first, first, second, third, second]
        slots = answering.answer_slots(model, memories)
        self.decoder = answering.decoder_of(model, slots) if has_graphs else AnswerDecoder(model)
        questions = [answering.question_of(model, 40 + row) for row in range(len(memories))]
        self.answers = [
            Answer(slots.acquire(memory), question) for memory, question in zip(memories, questions, strict=True)
        ]
        self.step()

    def step(self) -> None:
        self.decoder.step(self.answers)

    def assert_same(self, other: Decoding) -> None:
        assert [answer.ids for answer in self.answers] == [answer.ids for answer in other.answers]
        for mine, theirs in zip(self.answers, other.answers, strict=True):
            assert mine.attention_weights.keys() == theirs.attention_weights.keys()
            for layer, weights in theirs.attention_weights.items():
                assert torch.allclose(mine.attention_weights[layer], weights, atol=1e-4)


@pytest.mark.parametrize("name", [plain_models.TINY, plain_models.TINY_QWEN])
def test_a_replayed_graph_decodes_what_an_ordinary_pass_decodes(name: str) -> None:
    graph, ordinary = (Decoding(name, has_graphs=has_graphs) for has_graphs in (True, False))
    for _ in range(5):
        graph.step()
        ordinary.step()

    graph.assert_same(ordinary)


def test_the_graphs_of_two_models_do_not_disturb_each_other() -> None:
    names = (plain_models.TINY, plain_models.TINY_QWEN)
    graphs, ordinary = ([Decoding(name, has_graphs=has) for name in names] for has in (True, False))
    for _ in range(5):
        for decoding in (*graphs, *ordinary):
            decoding.step()

    for mine, theirs in zip(graphs, ordinary, strict=True):
        mine.assert_same(theirs)


def test_a_graph_is_recorded_while_another_thread_uses_the_gpu() -> None:
    """As those do that decode video or copy a snapshot: they allocate pinned memory and memory of the GPU."""
    decoding = Decoding(plain_models.TINY, has_graphs=True)
    is_over, copied = threading.Event(), threading.Event()

    def copy_to_the_gpu() -> None:
        stream, size = torch.cuda.Stream(), 1 << 20
        while not is_over.is_set():
            size += 1 << 16  # never one that is cached
            with torch.cuda.stream(stream):
                torch.ones(size, dtype=torch.uint8).pin_memory().to("cuda", non_blocking=True)
            stream.synchronize()
            copied.set()

    other = threading.Thread(target=copy_to_the_gpu)
    other.start()
    try:
        assert copied.wait(60)
        for number in (1, 2, 3, 5):
            assert len(decoding.decoder.next_tokens(decoding.answers[:number])) == number
    finally:
        is_over.set()
        other.join()


def test_a_thousand_replays_take_no_more_memory() -> None:
    """Of two numbers of rows in turn, whose graphs share their memory."""
    decoding = Decoding(plain_models.TINY, has_graphs=True)
    batches = (decoding.answers, decoding.answers[:2])
    for batch in batches:
        decoding.decoder.next_tokens(batch)
    allocated = torch.cuda.memory_allocated()

    found = {tuple(token.id for token in decoding.decoder.next_tokens(batches[step % 2])) for step in range(1_000)}

    assert torch.cuda.memory_allocated() == allocated
    assert len(found) == 2
