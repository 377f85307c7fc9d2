"""The contract of every family: a stream behind the seam is what transformers' own model reads at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.on_device import checkpoints
from benchmarks.transformers_prompts import prompt_of
from cache_store import checkpoint_codec, reindexing, token_ids
from cache_store.checkpoint import Checkpoint
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from cache_store.tiers import MemoryConfig
from models import memory_restorer
from models.answer_decoder import Answer, AnswerDecoder
from models.embeddings import Embeddings
from models.frame_encoder import FrameStep
from models.memory_writer import MemoryWriter
from models.slot_attention import ATTENTION_NAME
from models.slot_cache import SlotCache
from models.vision_language_model import VideoLanguageModel
from pipeline.device import evidence
from tests.conftest import assert_same, contents, new_memory
from tests.models.families import FAMILIES, Family

QUESTION = "what is in view"
SPLITS = ((8,), (4, 4), (2, 6), (6, 2), (2, 2, 2, 2))


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]()


@pytest.fixture(scope="module")
def model(family: Family) -> VideoLanguageModel:
    return family.model


def writer_of(model: VideoLanguageModel, tokens_per_layer: int = 1_000) -> MemoryWriter:
    config = MemoryConfig(tokens_per_layer=tokens_per_layer, recent_frames=2)
    return MemoryWriter(model, config, max_frames=8, reserve=128)


def times(num_frames: int, first_s: float = 1_000.0) -> Tensor:
    return first_s + torch.arange(num_frames, dtype=torch.float64) / 2


def append(writer: MemoryWriter, memory: Memory, frames: Tensor, split: tuple[int, ...] = (), first_s: float = 1_000.0):  # type: ignore[no-untyped-def]
    for part, at_s in zip(frames.split(split or 4), times(len(frames), first_s).split(split or 4), strict=True):
        writer.append([memory], part[None], at_s[None])


def copy_of(memory: Memory) -> Memory:
    copy = Memory(Slabs(memory.slabs.shape, slots=1, capacity=memory.slabs.capacity), 0)
    copy.copy_from(memory)
    return copy


def reference(
    family: Family,
    frames: Tensor,
    text: tuple[int, ...],
    split: tuple[int, ...],
    attention: str = "sdpa",
    **options: Any,
) -> Any:
    """The output of transformers' own model on the whole prompt, with its own attention, cache and positions.

    split: the frames of each step, for a family in which a step is a video.
    """
    inner = family.model._network  # type: ignore[attr-defined]
    inner.set_attn_implementation({"text_config": attention, "vision_config": "sdpa"})
    try:
        with torch.inference_mode():
            return inner(**prompt_of(family.model, frames, times(len(frames)).tolist(), text, split), **options)
    finally:
        inner.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})


@pytest.mark.parametrize("split", SPLITS)
def test_a_stream_in_any_clips_and_a_question_equal_one_forward_of_transformers(
    family: Family, model: VideoLanguageModel, split: tuple[int, ...]
) -> None:
    writer, frames = writer_of(model), family.frames(8)
    memory = new_memory(writer)
    append(writer, memory, frames, split)
    ids = model.prompts.question(QUESTION).ids
    embedded = model.embed_question(torch.tensor(ids))
    found = model.logits(
        model.forward(Embeddings.pack([embedded]), SlotCache([memory], [len(embedded)], is_read_only=True))[0]
    )

    expected = reference(family, frames, ids, split).logits[0, -len(embedded) :]

    assert torch.allclose(found, expected, atol=1e-4), float((found - expected).abs().max())


def test_an_odd_last_frame_is_what_transformers_makes_of_it(family: Family, model: VideoLanguageModel) -> None:
    writer, frames = writer_of(model), family.frames(5)
    memory = new_memory(writer)
    append(writer, memory, frames, (2, 3))
    ids = model.prompts.question(QUESTION).ids
    embedded = model.embed_question(torch.tensor(ids))
    found = model.logits(
        model.forward(Embeddings.pack([embedded]), SlotCache([memory], [len(embedded)], is_read_only=True))[0]
    )

    assert torch.allclose(found, reference(family, frames, ids, (2, 3)).logits[0, -len(embedded) :], atol=1e-4)


def test_each_token_of_an_answer_is_the_one_that_transformers_would_choose(
    family: Family, model: VideoLanguageModel
) -> None:
    writer, frames = writer_of(model), family.frames(4)
    memory = new_memory(writer)
    append(writer, memory, frames)
    decoder, answer = AnswerDecoder(model), Answer(copy_of(memory), model.prompts.question(QUESTION))
    for _ in range(8):
        decoder.step([answer])

    so_far = (*answer.question.ids, *answer.ids[:-1])
    assert answer.ids == reference(family, frames, so_far, (4,)).logits[0, -8:].argmax(dim=-1).tolist()


def test_scores_equal_the_attention_of_transformers(family: Family, model: VideoLanguageModel) -> None:
    writer, frames = writer_of(model), family.frames(4)
    memory = new_memory(writer)
    append(writer, memory, frames)
    found = writer.scorer.score([memory])[0]

    length, prefix = memory.lengths[0], memory.prefix_length
    peaks = []
    for ids in model.prompts.guidance_questions:
        attentions = reference(family, frames, ids, (4,), "eager", output_attentions=True).attentions
        peaks.append([layer[0, :, length:, prefix:length].mean(dim=0).amax(dim=0) for layer in attentions])
    for layer, mine in enumerate(found):
        assert torch.allclose(mine, torch.stack([one[layer] for one in peaks]).amax(dim=0), rtol=1e-4, atol=1e-6), layer


def test_renumbered_keys_equal_those_that_the_decoder_rotates_there(family: Family, model: VideoLanguageModel) -> None:
    """Time moves; height and width of a frame stay together."""
    writer = writer_of(model)
    positions = model.spec.kv.positions
    memory = new_memory(writer)
    append(writer, memory, family.frames(8))
    before = memory.after_prefix(1).map(lambda tensor, _: tensor.clone())
    chosen = torch.arange(0, len(before), 3)
    for layer in range(memory.num_layers):
        memory.replace(layer, memory.after_prefix(layer).at(chosen))
    reindexing.reindex(memory, max_span=1_000, max_gap=2)

    now, was = memory.after_prefix(1), before.at(chosen)
    assert not torch.equal(now.positions, was.positions)
    assert bool((now.positions.diff() >= 0).all())
    shape = positions.coordinates(now.positions, now.token_ids) - now.positions
    assert torch.equal(shape, positions.coordinates(was.positions, was.token_ids) - was.positions)
    raw = positions.rotate(was.keys, -positions.coordinates(was.positions, was.token_ids))
    expected = rotated_by_transformers(model, raw, positions.coordinates(now.positions, now.token_ids))
    assert torch.allclose(memory.keys(1)[:, memory.prefix_length :], expected, atol=1e-4)


def rotated_by_transformers(model: VideoLanguageModel, raw: Tensor, coordinates: Tensor) -> Tensor:
    place = coordinates[:, None] if len(coordinates) > 1 else coordinates
    cos, sin = model.decoder.rotary_emb(raw, place)  # type: ignore[attr-defined]
    turning, rest = raw[..., : cos.shape[-1]], raw[..., cos.shape[-1] :]
    half = turning.shape[-1] // 2
    turned = torch.cat((-turning[..., half:], turning[..., :half]), dim=-1)
    return torch.cat((turning * cos[0] + turned * sin[0], rest), dim=-1)


def test_positions_are_those_of_transformers_after_frames_a_question_and_a_restore(
    family: Family, model: VideoLanguageModel
) -> None:
    writer, frames = writer_of(model), family.frames(8)
    memory = new_memory(writer)
    append(writer, memory, frames[:4], (2, 2))
    decoder, answer = AnswerDecoder(model), Answer(copy_of(memory), model.prompts.question(QUESTION))
    decoder.step([answer])
    decoder.step([answer])
    memory = restored(writer, saved(memory))
    append(writer, memory, frames[4:], (4,), first_s=1_002.0)

    tokens = memory.layer(0)
    found = model.spec.kv.positions.coordinates(tokens.positions, tokens.token_ids)
    ids = model.prompts.question(QUESTION).ids
    expected = positions_of_transformers(family, frames, ids)
    assert torch.equal(found, expected[:, : len(tokens)])
    ends_video = len(model.embed_question(torch.tensor(ids))) - len(ids)
    assert memory.next_position + ends_video == int(expected[0, -len(ids)])


def positions_of_transformers(family: Family, frames: Tensor, ids: tuple[int, ...]) -> Tensor:
    """[A, N], of the whole prompt."""
    inner = family.model._network.model  # type: ignore[attr-defined]
    prompt = prompt_of(family.model, frames, times(len(frames)).tolist(), ids, (2, 2, 4))
    if not hasattr(inner, "get_rope_index"):
        return torch.arange(prompt["input_ids"].shape[1])[None]
    del prompt["pixel_values_videos"]
    found: Tensor = inner.get_rope_index(**prompt)[0][:, 0]
    return found


def test_answers_that_share_a_memory_are_those_on_copies_of_it(family: Family, model: VideoLanguageModel) -> None:
    """Two memories, three questions about each: one answer is begun right behind the copy, then two of unequal length
    in their own slots. Tokens, and what they rest on.
    """
    writer, decoder = writer_of(model), AnswerDecoder(model)
    memories = [new_memory(writer) for _ in range(2)]
    for number, memory in enumerate(memories):
        append(writer, memory, family.frames(4 + 2 * number, seed=number))
    first, *rest = [model.prompts.question(text) for text in ("what came first", QUESTION, "what")]
    behind = [copy_of(memory) for memory in memories]
    bases = [copy.frozen() for copy in behind]
    shared = [Answer(copy, first) for copy in behind]
    decoder.step(shared)
    own = Slabs(model.spec.kv, slots=4, capacity=64)
    for slot, (prompt, base) in enumerate(itertools.product(rest, bases)):  # the two memories take turns
        memory = Memory(own, slot)
        memory.continue_from(base)
        shared.append(Answer(memory, prompt))
    for _ in range(3):
        decoder.step(shared)

    alone = [Answer(copy_of(memory), prompt) for prompt, memory in itertools.product((first, *rest), memories)]
    for one, answer in zip(alone, shared, strict=True):
        while len(one.ids) < len(answer.ids):
            decoder.step([one])
        assert answer.ids == one.ids
        for layer, weights in one.attention_weights.items():
            assert torch.allclose(answer.attention_weights[layer], weights, atol=1e-5)
            assert torch.equal(answer.cached_tokens(layer).token_ids, one.cached_tokens(layer).token_ids)


def test_a_question_changes_nothing_to_the_bit(family: Family, model: VideoLanguageModel) -> None:
    writer = writer_of(model, 100)
    asked, quiet = new_memory(writer), new_memory(writer)
    for memory in (asked, quiet):
        append(writer, memory, family.frames(12))
    before = everything(asked)
    decoder, answer = AnswerDecoder(model), Answer(copy_of(asked), model.prompts.question(QUESTION))
    decoder.step([answer])
    decoder.step([answer])
    writer.scorer.score([asked])
    assert_same(before, everything(asked))
    for memory in (asked, quiet):
        append(writer, memory, family.frames(8, seed=3), first_s=1_006.0)
    assert_same(everything(quiet), everything(asked))


class ExhaustedWriter(MemoryWriter):
    """A writer whose device runs out of memory behind a forward pass, when what it wrote is valid already."""

    def commit(self, memory: Memory, step: FrameStep) -> None:
        super().commit(memory, step)
        raise torch.OutOfMemoryError("out of memory")


def test_a_step_that_fails_after_its_forward_pass_leaves_the_memory_as_it_was(
    family: Family, model: VideoLanguageModel
) -> None:
    writer = writer_of(model, 100)
    memory = new_memory(writer)
    append(writer, memory, family.frames(6))
    before, position = everything(memory), position_of(memory)
    exhausted = ExhaustedWriter(model, writer.config, max_frames=8, reserve=128)

    with pytest.raises(torch.OutOfMemoryError):
        append(exhausted, memory, family.frames(8, seed=1), (8,), first_s=1_003.0)

    assert_same(before, everything(memory))
    assert position_of(memory) == position


def test_an_erased_memory_is_as_a_new_one(family: Family, model: VideoLanguageModel) -> None:
    writer = writer_of(model, 100)
    erased, new = new_memory(writer), new_memory(writer)
    append(writer, erased, family.frames(12))
    erased.erase()
    for memory in (erased, new):
        append(writer, memory, family.frames(4, seed=1), first_s=2_000.0)
    assert_same(everything(new), everything(erased))


def everything(memory: Memory) -> list[Tensor]:
    """A copy of all valid tensors of a memory, the states of recurrent layers too."""
    return [*contents(memory), *(state.clone() for state in memory.states)]


def saved(memory: Memory) -> Checkpoint:
    """The whole memory through bytes."""
    written = checkpoints.whole(memory)
    parts = checkpoint_codec.encode(written)
    return checkpoint_codec.decode([b"".join(map(bytes, parts))], written.facts, {})


def restored(writer: MemoryWriter, checkpoint: Checkpoint) -> Memory:
    memory = new_memory(writer)
    memory_restorer.restore(writer, memory, checkpoint)
    return memory


def test_saved_loaded_and_continued_is_the_same_to_the_bit(family: Family, model: VideoLanguageModel) -> None:
    writer = writer_of(model, 100)
    memory = new_memory(writer)
    append(writer, memory, family.frames(24))
    assert memory.compactions
    loaded = restored(writer, saved(memory))
    for one in (memory, loaded):
        append(writer, one, family.frames(6, seed=5), first_s=1_012.0)
    assert_same(everything(memory), everything(loaded))
    assert position_of(memory) == position_of(loaded)


def position_of(memory: Memory) -> tuple[object, ...]:
    return memory.lengths, memory.next_position, memory.next_frame, memory.origin_s


@pytest.mark.parametrize(("frame", "row", "column"), [(0, 0, 0), (3, 2, 3), (5, 1, 2)])
def test_evidence_names_the_frame_and_the_cell_that_changed(
    family: Family, model: VideoLanguageModel, frame: int, row: int, column: int
) -> None:
    """One cell of one frame differs between two streams: of the cells' values those of its token differ most."""
    writer = writer_of(model)
    frames = torch.full((6, family.height, family.width, 3), 120, dtype=torch.uint8)
    other = frames.clone()
    cell = 16
    other[frame, row * cell : (row + 1) * cell, column * cell : (column + 1) * cell] = family.frames(1)[0, :cell, :cell]
    memories = [new_memory(writer), new_memory(writer)]
    for memory, pictures in zip(memories, (frames, other), strict=True):
        append(writer, memory, pictures, (2, 4))
    first, second = (memory.after_prefix(0) for memory in memories)
    difference = (first.values - second.values).norm(dim=-1).sum(dim=0)
    token = int((difference * token_ids.is_cell(second.token_ids)).argmax())

    ids = second.token_ids[token : token + 1]
    assert (int(token_ids.rows_of(ids)), int(token_ids.columns_of(ids))) == (row, column)
    weights = torch.full((len(second),), 1e-3).index_fill(0, torch.tensor([token]), 1.0)
    moment, *_ = evidence.find_moments([(second, weights)])
    group = model.spec.layout.frames_per_group
    assert moment.frame == frame // group
    assert moment.time_s == float(times(6)[frame // group * group + group - 1])


def test_any_number_of_clips_keeps_budget_and_positions(family: Family, model: VideoLanguageModel) -> None:
    writer = writer_of(model, 100)
    writer.max_position = writer.capacity + 40  # so that positions run out often
    memory = new_memory(writer)
    for clip in range(60):
        append(writer, memory, family.frames(4, seed=clip), first_s=1_000.0 + 2 * clip)
        assert memory.longest <= writer.capacity
        assert memory.next_position <= writer.max_position
        for layer in range(memory.num_layers):
            assert bool((memory.after_prefix(layer).positions.diff() >= 0).all())


def test_cells_that_are_not_admitted_leave_positions_and_text_as_they_are(
    family: Family, model: VideoLanguageModel
) -> None:
    writer, frames = writer_of(model), family.frames(4)
    whole, gated = new_memory(writer), new_memory(writer)
    append(writer, whole, frames)
    rows, columns = model.spec.layout.grid(family.width, family.height)
    admitted = torch.zeros(4, rows * columns, dtype=torch.bool)
    admitted[0, 2] = admitted[3, 5] = True
    writer.append([gated], frames[None], times(4)[None], [admitted])
    expected, found = whole.after_prefix(0), gated.after_prefix(0)
    is_cell = token_ids.is_cell(found.token_ids)
    assert int(is_cell.sum()) == 2
    at = [int((expected.token_ids == one).nonzero()) for one in found.token_ids] if len(found) > 2 else None
    if at is not None:
        assert torch.equal(found.positions, expected.positions[at])


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield
