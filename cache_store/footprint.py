"""The bytes of a memory by the shape of its model: in a slot and in a checkpoint. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from cache_store.row_format import RowFormat

# What a cached token has in each layer beside its key and value, see `slabs.Slabs`.
FACT_NBYTES = {"positions": 8, "token_ids": 8, "counts": 8, "times_s": 8, "moved": 4}
_SCALE_NBYTES = 2  # of the scale of an int8 row, see `ops.quantising`


@dataclass(frozen=True, slots=True)
class MemoryFootprint:
    """What a decoder caches. number_nbytes: of one number of a key or a value.

    num_layers: those that cache tokens. state_nbytes: of all states of recurrent layers, whatever the memory holds.
    """

    num_layers: int
    num_kv_heads: int
    head_dim: int
    number_nbytes: int
    state_nbytes: int = 0

    @property
    def kv_nbytes(self) -> int:
        """Key and value of one token in one layer."""
        return 2 * self.num_kv_heads * self.head_dim * self.number_nbytes

    def slot_nbytes(self, capacity: int, rows: RowFormat = RowFormat.EXACT) -> int:
        """A slot of the slabs, all layers."""
        quantised = 2 * self.num_kv_heads * (self.head_dim + _SCALE_NBYTES)
        row = quantised if rows is RowFormat.INT8 else self.kv_nbytes
        return self.num_layers * capacity * (row + sum(FACT_NBYTES.values())) + self.state_nbytes

    def checkpoint_nbytes(self, tokens_per_layer: int, rows: RowFormat) -> int:
        """The tensors of a checkpoint with so many tokens in each layer, without header and thumbnails."""
        return self.slot_nbytes(tokens_per_layer, rows)  # what a slot has of each token


def slot_capacity(prefix: int, tokens_per_layer: int, step_tokens: int) -> int:
    """Tokens that a slot must hold: the prompt's prefix, the budget and one step of frames."""
    return prefix + tokens_per_layer + step_tokens


def answer_capacity(reserve: int) -> int:
    """Tokens of an answer's suffix. reserve: longest question and answer; one more may end the video, and one place is
    never read, see `AnswerSlabs` in `models/decode_step.py`.
    """
    return reserve + 2


def num_suffix_slots(max_running: int) -> int:
    """Slots for suffixes: one that stays empty, see `AnswerSlabs`, and one for each answer but one.

    That one runs in the slot of its copy.
    """
    return max_running
