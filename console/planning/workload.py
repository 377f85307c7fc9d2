"""What one camera and one question cost: tokens, arithmetic, seconds of a GPU, bytes on it, bytes to the store."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from cache_store import footprint
from cache_store.row_format import RowFormat
from console.planning.constants import (
    ANSWER_TOKENS,
    BANDWIDTH_SHARE,
    PEAK_SHARE,
    QUESTION_TOKENS,
    SURFACES,
    THUMBNAIL_NBYTES,
    UPKEEP_TOKENS,
)
from console.planning.demand import Demand
from console.planning.gpus import Gpu
from console.planning.model_shapes import BF16_NBYTES, ModelShape
from models.weight_format import WeightFormat
from pipeline.device.device_config import DeviceConfig
from pipeline.sources.ingest_config import IngestConfig

_NV12_NBYTES = 1.5  # a pixel
_LIVE_ACTIVATIONS = 6  # tensors of the hidden size that live at once in a layer


@dataclass(frozen=True, slots=True)
class Workload:
    """One camera of a demand on one model and GPU. device, ingest: the product's settings beside the demand's."""

    demand: Demand
    model: ModelShape
    gpu: Gpu
    device: DeviceConfig = field(default_factory=DeviceConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)

    @property
    def read_share(self) -> float:
        """Share of the sampled frames that are read: those with a change, and a whole one every key_frame_every_s."""
        floor = 1 / (self.demand.fps * self.device.key_frame_every_s)
        return min(1.0, max(self.demand.activity, floor))

    @property
    def frames_read_per_s(self) -> float:
        """Frames that encoder and decoder see. A frame counts as whole, although the gate skips patches of it."""
        return self.demand.fps * self.read_share

    @property
    def tokens_per_s(self) -> float:
        """Visual tokens that are prefilled."""
        return self.frames_read_per_s * self.model.tokens_per_frame(self.demand.frame_size)

    @property
    def steps_per_s(self) -> float:
        """Steps that are appended: one for each clip in which a frame is read, so at most one for each frame."""
        clips_per_s = max(1 / self.ingest.max_clip_wait_s, self.demand.fps / self.ingest.frames_per_clip)
        return min(self.frames_read_per_s, clips_per_s)

    @property
    def flops_per_s(self) -> float:
        """Of the vision encoder, prefill and upkeep."""
        groups_per_s = self.frames_read_per_s / self.model.vision.frames_per_group
        tokens_per_s = self.tokens_per_s + self.steps_per_s * UPKEEP_TOKENS.value
        return groups_per_s * self.model.vision_flops(self.demand.frame_size) + self.model.decoder_flops(
            tokens_per_s, self.demand.tokens_per_layer
        )

    @property
    def ingest_busy_share(self) -> float:
        """Share of the GPU's time for one camera: arithmetic, or reading the weights where that takes longer.

        A step of one camera is one forward pass, and its upkeep another.
        """
        arithmetic = self.flops_per_s / (self.gpu.flops * PEAK_SHARE.value)
        return max(arithmetic, 2 * self.steps_per_s * self._weights_s)

    @property
    def answer_s(self) -> float:
        """Seconds of the GPU for one question: its prefill, and an answer that is decoded token by token."""
        prefill = self.model.decoder_flops(QUESTION_TOKENS.value, self.demand.tokens_per_layer)
        prefill_s = max(prefill / (self.gpu.flops * PEAK_SHARE.value), self._weights_s)
        token_s = self._weights_s + self._read_s(self.copy_nbytes)
        return prefill_s + self._read_s(self.slot_nbytes + self.copy_nbytes) + ANSWER_TOKENS.value * token_s

    @property
    def slot_capacity(self) -> int:
        """Tokens of a slot in each layer."""
        groups = math.ceil(self.device.max_frames_per_step / self.model.vision.frames_per_group)
        step = groups * self.model.max_tokens_per_group
        return footprint.slot_capacity(self.model.prefix_tokens, self.demand.tokens_per_layer, step)

    @property
    def slot_nbytes(self) -> int:
        """A camera's memory on the GPU."""
        return self.model.decoder.footprint().slot_nbytes(self.slot_capacity, self.device.slot_rows)

    @property
    def copy_nbytes(self) -> int:
        """A copy of it, which answers read: exact, whatever the slot has."""
        return self.model.decoder.footprint().slot_nbytes(self.slot_capacity)

    @property
    def answers_nbytes(self) -> int:
        """The copies of memories that answers read, with one answer behind each, and the slots of the other answers."""
        suffix, decoder = footprint.answer_capacity(self.device.answer_reserve), self.model.decoder.footprint()
        copy_nbytes = decoder.slot_nbytes(self.slot_capacity + suffix)
        num_suffixes = footprint.num_suffix_slots(self.device.max_running_questions)
        return self.device.max_memory_copies * copy_nbytes + num_suffixes * decoder.slot_nbytes(suffix)

    @property
    def weights_nbytes(self) -> int:
        """The model in bfloat16; with int8 the matrices of the decoder's layers take one byte a number."""
        saved = self.model.decoder.block_params if self.demand.weights is WeightFormat.INT8 else 0
        return self.model.num_params * BF16_NBYTES - saved

    @property
    def activations_nbytes(self) -> int:
        """What one step of frames takes beside weights and slots: the wider of vision encoder and decoder."""
        vision, decoder = self.model.vision, self.model.decoder
        groups = math.ceil(self.device.max_frames_per_step / vision.frames_per_group)
        patches = groups * self.model.patches(self.demand.frame_size)
        tokens = groups * self.model.tokens_per_group(self.demand.frame_size)
        widest = max(
            patches * (_LIVE_ACTIVATIONS * vision.hidden + 2 * vision.intermediate),
            tokens * (_LIVE_ACTIVATIONS * decoder.hidden + 3 * decoder.intermediate),
        )
        return BF16_NBYTES * widest

    @property
    def session_nbytes(self) -> float:
        """The surfaces of a camera's decoder session."""
        width, height = self.demand.video.size
        return SURFACES.value * width * height * _NV12_NBYTES

    @property
    def checkpoint_nbytes(self) -> int:
        """The rows of a full checkpoint: the whole budget of each layer.

        What a memory holds beyond it between compactions is about what its newest frames have, which are left out.
        """
        rows = (
            RowFormat.INT8
            if RowFormat.INT8 in (self.demand.checkpoint_rows, self.device.slot_rows)
            else RowFormat.EXACT
        )
        return self.model.decoder.footprint().checkpoint_nbytes(self.demand.tokens_per_layer, rows)

    @property
    def saved_share(self) -> float:
        """Share of the intervals in which a frame was read, so that the rows are written again."""
        return min(1.0, self.frames_read_per_s * self.demand.checkpoint_every)

    @property
    def store_nbytes_per_s(self) -> float:
        """Rows and new thumbnails."""
        rows = self.saved_share * self.checkpoint_nbytes / self.demand.checkpoint_every
        return rows + self.frames_read_per_s * THUMBNAIL_NBYTES.value

    @property
    def _weights_s(self) -> float:
        """Reading the decoder's matrices once; int8 is read, written as bfloat16 and read again."""
        nbytes = 1 + 2 * BF16_NBYTES if self.demand.weights is WeightFormat.INT8 else BF16_NBYTES
        return self._read_s(nbytes * self.model.decoder.block_params)

    def _read_s(self, nbytes: float) -> float:
        return nbytes / (self.gpu.nbytes_per_s * BANDWIDTH_SHARE.value)
