"""An unmodified decoder over slots equals the same decoder over its own cache."""

from __future__ import annotations

import pytest
import torch
from transformers import DynamicCache

from cache_store import tiers
from cache_store.memory import Memory
from cache_store.tiers import MemoryConfig, PolicyName, Role
from models import importance
from models.answer_decoder import Answer, AnswerDecoder
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.slot_cache import ATTENTION_NAME, AttentionCapture, SlotCache
from tests.conftest import assert_same, contents, feed, new_memory, random_frames


def plain_decoder(model: LlavaOnevision, implementation: str):  # type: ignore[no-untyped-def]
    """The decoder as transformers runs it; give it back with `slots`."""
    model._network.set_attn_implementation({"text_config": implementation, "vision_config": "sdpa"})
    return model.decoder


@pytest.fixture
def slots(model: LlavaOnevision):  # type: ignore[no-untyped-def]
    yield
    model._network.set_attn_implementation({"text_config": ATTENTION_NAME, "vision_config": "sdpa"})


def everything(model: LlavaOnevision, frames: torch.Tensor) -> torch.Tensor:
    """Prefix and frames as one sequence. -> [1, N, E]"""
    prefix = model.embed_tokens(torch.tensor(model.prompts.prefix))
    return torch.cat((prefix, model.embed_frames(frames).flatten(0, 1)))[None]


@pytest.mark.usefixtures("slots")
def test_three_clips_and_a_question_equal_one_forward_of_transformers(model: LlavaOnevision) -> None:
    reader = roomy(model)
    held, frames = new_memory(reader), random_frames(12)
    feed(reader, held, frames)
    question = model.prompts.question("what is in view")
    embedded = model.embed_question(torch.tensor(question.ids))
    found = model.decode(embedded[None], SlotCache([held], len(embedded)))

    with torch.inference_mode():
        whole = torch.cat((everything(model, frames), embedded[None]), dim=1)
        expected = plain_decoder(model, "sdpa")(inputs_embeds=whole).last_hidden_state

    assert torch.allclose(found, expected[:, -len(embedded) :], atol=1e-4)


@pytest.mark.parametrize("step", [1, 2, 3, 6])
def test_below_the_budget_the_cut_into_clips_does_not_matter(model: LlavaOnevision, step: int) -> None:
    reader, frames = roomy(model), random_frames(6)
    whole, parts = new_memory(reader), new_memory(reader)
    times = torch.arange(6, dtype=torch.float64)[None]
    reader.feed([whole], frames[None], times)
    for start in range(0, 6, step):
        reader.feed([parts], frames[None, start : start + step], times[:, start : start + step])
    for left, right in zip(contents(whole), contents(parts), strict=True):
        assert torch.allclose(left.double(), right.double(), atol=1e-4)


@pytest.mark.usefixtures("slots")
def test_guidance_scores_equal_the_attention_of_the_full_decoder(model: LlavaOnevision) -> None:
    """Section 5, fact 8: real, propagated attention, causal inside each prompt, and the memory is not touched."""
    reader = roomy(model)
    held, frames = new_memory(reader), random_frames(8)
    feed(reader, held, frames)
    before, position = contents(held), held.next_position
    found = reader.guidance.attention([held])[0]
    assert_same(before, contents(held))
    assert held.next_position == position

    expected = eager_scores(model, reader, frames)
    for layer, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
        assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-6), layer


@pytest.mark.usefixtures("slots")
def test_scores_of_hidden_states_that_are_not_propagated_are_others(model: LlavaOnevision) -> None:
    """The negative control: what the published code computes agrees in the first layer only."""
    reader = roomy(model)
    held, frames = new_memory(reader), random_frames(8)
    feed(reader, held, frames)
    found = reader.guidance.attention([held])[0]
    for layer, scores in enumerate(unpropagated_scores(model, reader, held)):
        assert torch.allclose(found[layer], scores, rtol=1e-3, atol=1e-6) == (layer == 0)


def roomy(model: LlavaOnevision) -> MemoryWriter:
    config = MemoryConfig(tokens_per_layer=1_000, policy=PolicyName.HERMES)
    return MemoryWriter(model, config, max_frames=8, reserve=128)


def prompt_of(model: LlavaOnevision, role: Role) -> tuple[int, ...]:
    local, whole = model.prompts.guidance_local, model.prompts.guidance_global
    return {Role.SENSORY: local, Role.WORKING: local + whole, Role.LONG_TERM: whole}[role]


def eager_scores(model: LlavaOnevision, reader: MemoryWriter, frames: torch.Tensor) -> list[torch.Tensor]:
    """The slow reference: each prompt alone through transformers' eager decoder, over its own cache."""
    decoder, prefix = plain_decoder(model, "eager"), len(model.prompts.prefix)
    scores: list[torch.Tensor] = []
    with torch.inference_mode():
        for layer, plan in enumerate(reader.plans):
            ids = torch.tensor(prompt_of(model, plan.role))
            whole = torch.cat((everything(model, frames), model.embed_tokens(ids)[None]), dim=1)
            attention = decoder(inputs_embeds=whole, output_attentions=True).attentions[layer][0]
            scores.append(attention.mean(dim=0)[-len(ids) :, prefix : -len(ids)].mean(dim=0))
    return scores


def unpropagated_scores(model: LlavaOnevision, reader: MemoryWriter, held: Memory) -> list[torch.Tensor]:
    """Queries projected from the raw embeddings in every layer, as published."""
    decoder, scores = model.decoder, []
    with torch.inference_mode():
        for index, plan in enumerate(reader.plans):
            ids = torch.tensor(prompt_of(model, plan.role))
            hidden = model.embed_tokens(ids)[None]
            positions = held.next_position + torch.arange(len(ids))[None]
            layer = decoder.layers[index]
            running = SlotCache(
                [held], len(ids), is_read_only=True, capture=AttentionCapture([slice(0, len(ids))] * held.num_layers)
            )
            layer.self_attn(
                layer.input_layernorm(hidden),
                position_embeddings=decoder.rotary_emb(hidden, positions),
                attention_mask=None,
                past_key_values=running,
                slot_pass=running,
            )
            assert running.capture is not None
            scores.append(running.capture.weights[index][0][held.prefix_length :])
    return scores


def test_two_memories_in_one_batch_equal_two_passes(reader: MemoryWriter) -> None:
    """Unequal lengths, compaction included: the same tokens stay, and the same values to rounding."""
    together = [new_memory(reader), new_memory(reader)]
    shared = together[0].slabs
    together[1] = Memory(grown(shared, 2), 1)
    together[0] = Memory(together[1].slabs, 0)
    for held in together:
        reader.begin(held)
    feed(reader, together[1], random_frames(4, seed=9))
    alone = [new_memory(reader), new_memory(reader)]
    feed(reader, alone[1], random_frames(4, seed=9))
    for turn in range(4):
        frames = torch.stack((random_frames(4, seed=turn), random_frames(4, seed=50 + turn)))
        times = torch.stack((torch.arange(4.0) + 10 * turn,) * 2).double() + 100
        reader.feed(together, frames, times)
        for row, held in enumerate(alone):
            reader.feed([held], frames[[row]], times[[row]])
    for left, right in zip(together, alone, strict=True):
        assert left.lengths == right.lengths
        for index in range(left.num_layers):
            assert torch.equal(left.layer(index).token_ids, right.layer(index).token_ids)
            assert torch.allclose(left.layer(index).keys, right.layer(index).keys, atol=1e-4)


def grown(room, slots: int):  # type: ignore[no-untyped-def]
    return type(room)(room.shape, slots=slots, capacity=room.capacity)


def test_two_answers_in_one_batch_equal_two_alone(model: LlavaOnevision, reader: MemoryWriter) -> None:
    held = new_memory(reader)
    feed(reader, held, random_frames(12))
    writer = AnswerDecoder(model)
    questions = ["what is in view", "how many cars so far"]

    def started() -> list[Answer]:
        room = grown(held.slabs, 2)
        found = []
        for slot, text in enumerate(questions):
            copy = Memory(room, slot)
            copy.copy_from(held)
            answer = Answer(copy, model.prompts.question(text))
            writer.read(answer)
            found.append(answer)
        return found

    together, alone = started(), started()
    for _ in range(5):
        writer.step(together)
        for answer in alone:
            writer.step([answer])
    assert [answer.ids for answer in together] == [answer.ids for answer in alone]


def test_an_answer_never_touches_the_memory_it_reads(model: LlavaOnevision, reader: MemoryWriter) -> None:
    """Asked, cut off in the middle or failing: the memory is the same to the bit, and so is what comes after."""
    asked, quiet = new_memory(reader), new_memory(reader)
    for held in (asked, quiet):
        feed(reader, held, random_frames(12))
    before = contents(asked)
    writer = AnswerDecoder(model)
    copy = Memory(grown(asked.slabs, 1), 0)
    copy.copy_from(asked)
    answer = Answer(copy, model.prompts.question("what came first"))
    writer.read(answer)
    writer.step([answer])
    copy.clear()
    assert_same(before, contents(asked))
    for held in (asked, quiet):
        feed(reader, held, random_frames(8, seed=3), first_s=6.0)
    assert_same(contents(quiet), contents(asked))


def test_a_forward_that_fails_leaves_the_memory_as_it_was(model: LlavaOnevision, reader: MemoryWriter) -> None:
    held = new_memory(reader)
    feed(reader, held, random_frames(4))
    before, position = contents(held), held.next_position
    with pytest.raises(RuntimeError):
        model.decode(torch.zeros(1, 16, 7), SlotCache([held], 16))
    assert_same(before, contents(held))
    assert held.next_position == position


def test_guidance_asks_each_layer_by_its_role(model: LlavaOnevision) -> None:
    plans = tiers.plan_layers(6, MemoryConfig())
    packed = importance.by_role(model, plans)
    local, whole = len(model.prompts.guidance_local), len(model.prompts.guidance_global)
    assert packed.longest == local + whole


@pytest.mark.usefixtures("slots")
def test_a_bank_of_questions_scores_by_the_most_that_any_word_looks(model: LlavaOnevision) -> None:
    """The slow reference: each question alone through transformers' eager decoder, over its own cache."""
    reader = roomy(model)
    held, frames = new_memory(reader), random_frames(8)
    feed(reader, held, frames)
    before, position = contents(held), held.next_position
    found = importance.by_questions(model, reader.plans).attention([held])[0]
    assert_same(before, contents(held))
    assert held.next_position == position

    decoder, prefix = plain_decoder(model, "eager"), len(model.prompts.prefix)
    asked = [model.embed_question(torch.tensor(ids)) for ids in model.prompts.guidance_questions]
    with torch.inference_mode():
        looks = []
        for question in asked:
            whole = torch.cat((everything(model, frames), question[None]), dim=1)
            attentions = decoder(inputs_embeds=whole, output_attentions=True).attentions
            looks.append([layer[0, :, -len(question) :, prefix : -len(question)].mean(dim=0) for layer in attentions])
    for layer, mine in enumerate(found):
        expected = torch.cat([look[layer] for look in looks]).amax(dim=0)
        assert torch.allclose(mine, expected, rtol=1e-4, atol=1e-6), layer


def test_the_memories_of_a_batch_are_scored_as_each_alone(model: LlavaOnevision) -> None:
    reader = roomy(model)
    first, second = (Memory(grown(new_memory(reader).slabs, 2), slot) for slot in range(2))
    second.slabs = first.slabs
    for held, frames in ((first, 8), (second, 3)):
        reader.begin(held)
        feed(reader, held, random_frames(frames, seed=frames))
    guide = importance.by_questions(model, reader.plans)
    for together, held in zip(guide.attention([first, second]), (first, second), strict=True):
        for mine, alone in zip(together, guide.attention([held])[0], strict=True):
            assert torch.allclose(mine, alone, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("slots")
def test_transformers_own_cache_class_is_a_fair_reference(model: LlavaOnevision) -> None:
    """The reference of these tests, checked against itself: clip by clip equals all at once."""
    decoder, frames = plain_decoder(model, "sdpa"), random_frames(4)
    whole = everything(model, frames)
    with torch.inference_mode():
        at_once = decoder(inputs_embeds=whole).last_hidden_state
        cache = DynamicCache(config=decoder.config)
        parts = [decoder(inputs_embeds=part, past_key_values=cache).last_hidden_state for part in whole.split(16, 1)]
    assert torch.allclose(torch.cat(parts, dim=1), at_once, atol=1e-4)
