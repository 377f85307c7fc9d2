"""What a question and a decode step take, beside the same passes of the bare model."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.on_device import pairs
from benchmarks.on_device.bare_forward import BareForward
from benchmarks.on_device.pairs import Pair
from benchmarks.scratch_slot import ScratchSlot
from cache_store import footprint
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models import decode_graphs
from models.answer_decoder import Answer, AnswerDecoder
from models.errors import GraphNotRecorded
from models.prompts import QuestionPrompt
from models.vision_language_model import VideoLanguageModel
from pipeline.device.answer_slots import AnswerSlots
from pipeline.device.device_config import DeviceConfig

QUESTION_TOKENS = 49
RESERVE = 256  # tokens of a question and its answer


def question_of(model: VideoLanguageModel, num_tokens: int = QUESTION_TOKENS) -> QuestionPrompt:
    """A question that is read as so many tokens, what ends the video included. Its words make no sense."""
    ids = model.prompts.question("what colour was the last car that went by").ids
    around = len(model.embed_question(torch.tensor(ids, device=model.spec.device))) - len(ids)
    return QuestionPrompt((ids * num_tokens)[: num_tokens - around], ())


def answer_slots(model: VideoLanguageModel, memories: Sequence[Memory]) -> AnswerSlots:
    """Slots for an answer on each of these memories, behind as many copies as there are different ones of them."""
    config = DeviceConfig(max_running_questions=len(memories), max_memory_copies=len(set(memories)))
    return AnswerSlots(model.spec.kv, config, memories[0].slabs.capacity)


def own_slot(model: VideoLanguageModel) -> Memory:
    """A slot for the tokens of one answer."""
    return Memory(Slabs(model.spec.kv, slots=1, capacity=footprint.answer_capacity(RESERVE)), 0)


class FirstToken:
    """What a question waits for on an idle device: the copy of the memory, the prefill behind it, the token.

    A device copies a memory only where it changed since the last question; here it does each time.
    """

    def __init__(self, model: VideoLanguageModel, memory: Memory) -> None:
        self._memory = memory
        self._scratch = ScratchSlot(RESERVE)
        self._decoder, self._prompt = AnswerDecoder(model), question_of(model)

    def __call__(self) -> None:
        self._decoder.step([Answer(self._scratch.copy(self._memory), self._prompt)])


def first_tokens(model: VideoLanguageModel, bare: BareForward, memory: Memory, *, rounds: int) -> Pair:
    """From a question to the first token of its answer."""
    cache = bare.cache_of([memory])
    ids = torch.zeros(1, QUESTION_TOKENS, dtype=torch.int64, device=model.spec.device)

    def theirs() -> None:
        bare.next_tokens(cache, ids)
        cache.crop(-QUESTION_TOKENS)

    return pairs.measure(FirstToken(model, memory), theirs, rounds=rounds)


def decoder_of(model: VideoLanguageModel, slots: AnswerSlots) -> AnswerDecoder:
    """Decodes answers in these slots as a device does: by CUDA graphs where there is a GPU."""
    return AnswerDecoder(model, decode_graphs.of_device(model, slots.slabs, _raise))


def steps(
    model: VideoLanguageModel, bare: BareForward, memories: Sequence[Memory], *, rounds: int, has_graphs: bool = True
) -> Pair:
    """One decode step of an answer on each of these memories, as one batch. The questions differ in length by a few
    tokens; the bare model's caches all have the longest one's. Answers on the same memory share its copy; the bare
    model has a cache for each. has_graphs: as `decoder_of`, or ordinary passes.
    """
    slots = answer_slots(model, memories)
    decoder = decoder_of(model, slots) if has_graphs else AnswerDecoder(model)
    answers = [
        Answer(slots.acquire(memory), question_of(model, QUESTION_TOKENS - row % 8))
        for row, memory in enumerate(memories)
    ]
    decoder.step(answers)
    cache = bare.cache_of(memories)
    bare.append(cache, bare.noise(len(memories), QUESTION_TOKENS))
    ids = torch.tensor([[answer.ids[-1]] for answer in answers], device=model.spec.device)
    return pairs.measure(
        lambda: decoder.step(answers), lambda: bare.next_tokens(cache, ids), rounds=min(rounds, RESERVE // 2)
    )


def _raise(error: GraphNotRecorded) -> None:
    raise error
