"""What a question and a decode step take, beside the same passes of the bare model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.on_device import pairs
from benchmarks.on_device.bare_forward import BareForward
from benchmarks.on_device.pairs import Pair
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models.answer_decoder import Answer, AnswerDecoder
from models.prompts import QuestionPrompt
from models.vision_language_model import VideoLanguageModel

QUESTION_TOKENS = 49
RESERVE = 256  # tokens of a question and its answer


def question_of(model: VideoLanguageModel, num_tokens: int = QUESTION_TOKENS) -> QuestionPrompt:
    """A question that is read as so many tokens, what ends the video included. Its words make no sense."""
    ids = model.prompts.question("what colour was the last car that went by").ids
    around = len(model.embed_question(torch.tensor(ids, device=model.spec.device))) - len(ids)
    return QuestionPrompt((ids * num_tokens)[: num_tokens - around], ())


def scratch_slots(model: VideoLanguageModel, memories: Sequence[Memory], number: int) -> list[Memory]:
    """Slots for copies of these memories, with a question and an answer behind each."""
    slabs = Slabs(model.spec.kv, slots=number, capacity=memories[0].slabs.capacity + RESERVE)
    return [Memory(slabs, slot) for slot in range(number)]


def first_tokens(model: VideoLanguageModel, bare: BareForward, memory: Memory, *, rounds: int) -> Pair:
    """From a question to the first token of its answer: the copy of the slot, the prefill, the token."""
    prompt, decoder = question_of(model), AnswerDecoder(model)
    scratch = scratch_slots(model, [memory], 1)[0]
    cache = bare.cache_of([memory])
    ids = torch.zeros(1, QUESTION_TOKENS, dtype=torch.int64, device=model.spec.device)

    def ours() -> None:
        scratch.copy_from(memory)
        decoder.step([Answer(scratch, prompt)])

    def theirs() -> None:
        bare.next_tokens(cache, ids)
        cache.crop(-QUESTION_TOKENS)

    return pairs.measure(ours, theirs, rounds=rounds)


def steps(model: VideoLanguageModel, bare: BareForward, memories: Sequence[Memory], *, rounds: int) -> Pair:
    """One decode step of an answer on each of these memories, as one batch. The questions differ in length by a few
    tokens; the bare model's caches all have the longest one's.
    """
    decoder = AnswerDecoder(model)
    answers = []
    for row, (scratch, memory) in enumerate(zip(scratch_slots(model, memories, len(memories)), memories, strict=True)):
        scratch.copy_from(memory)
        answers.append(Answer(scratch, question_of(model, QUESTION_TOKENS - row % 8)))
        decoder.step([answers[-1]])
    cache = bare.cache_of(memories)
    bare.append(cache, bare.noise(len(memories), QUESTION_TOKENS))
    ids = torch.tensor([[answer.ids[-1]] for answer in answers], device=model.spec.device)
    return pairs.measure(
        lambda: decoder.step(answers), lambda: bare.next_tokens(cache, ids), rounds=min(rounds, RESERVE // 2)
    )
