"""A camera's slot of int8 rows beside an exact one of the same model: bytes and times."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.on_device import answering, full_memories, pairs
from benchmarks.on_device.answering import FirstToken
from benchmarks.on_device.pairs import Pair
from cache_store.memory import Memory
from cache_store.row_format import RowFormat
from models import frame_encoder
from models.answer_decoder import Answer, AnswerDecoder
from models.memory_writer import MemoryWriter


@dataclass(frozen=True, slots=True)
class Slots:
    """Two full memories, each in slabs of one slot."""

    writer: MemoryWriter
    rounded: Memory
    exact: Memory

    @property
    def nbytes_ratio(self) -> float:
        return self.rounded.slabs.nbytes / self.exact.slabs.nbytes

    def times(self, *, rounds: int, clips: int) -> Iterator[tuple[str, Pair]]:
        """Each by its metric: int8 rows, then exact ones."""
        yield "int8_ttft_over_bf16", self._first_tokens(rounds)
        yield "int8_step_over_bf16", self._steps(rounds)
        yield "int8_ingest_over_bf16", self._ingest(clips)

    def _first_tokens(self, rounds: int) -> Pair:
        """From a question to the first token of its answer, the copy included."""
        first, second = (FirstToken(self.writer.model, memory) for memory in (self.rounded, self.exact))
        return pairs.measure(first, second, rounds=rounds)

    def _steps(self, rounds: int) -> Pair:
        """A decode step of one answer."""
        model = self.writer.model
        decoder, answers = AnswerDecoder(model), []
        for memory in (self.rounded, self.exact):
            slot = answering.answer_slots(model, [memory]).acquire(memory)
            answers.append(Answer(slot, answering.question_of(model)))
            decoder.step(answers[-1:])
        return pairs.measure(lambda: decoder.step(answers[:1]), lambda: decoder.step(answers[1:]), rounds=rounds)

    def _ingest(self, rounds: int) -> Pair:
        """A step of frames that leaves no room for another one: prefill, scoring and compaction, vision left out."""
        writer = self.writer
        frames = full_memories.noise_frames(writer.model, 1, writer.max_frames)
        encoded = frame_encoder.encode(writer.model, frames)

        def append(memory: Memory) -> None:
            times_s = full_memories.times_s(writer.model, memory, writer.max_frames)
            writer.prefill([memory], encoded, times_s[None])

        return pairs.measure(lambda: append(self.rounded), lambda: append(self.exact), rounds=rounds)


def full(writer: MemoryWriter) -> Slots:
    """Memories that hold as many tokens as a compaction leaves."""
    rounded, exact = (full_memories.full(writer, 1, rows)[0] for rows in (RowFormat.INT8, RowFormat.EXACT))
    return Slots(writer, rounded, exact)
