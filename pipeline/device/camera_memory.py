"""One camera on the device: its memory, its pictures, and what it missed. Device thread only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from cache_store import checkpoint
from cache_store.checkpoint import Checkpoint, CheckpointFacts
from cache_store.memory import Memory
from models.memory_writer import MemoryWriter
from pipeline import answers
from pipeline.cameras import MemoryStatus
from pipeline.decoding import images
from pipeline.device.change_gate import ChangeGate
from pipeline.device.thumbnails import Thumbnails
from pipeline.sources.clips import Clip

_MAX_GAPS = 32
_NO_TOKEN = 1 << 62  # no token has an id as high


class CameraMemory:
    """A camera's memory with its pictures. `gap_after_s`: more time than this between two frames is a gap.

    A frame of which the gate lets nothing pass is seen all the same: the memory is as of then.
    """

    def __init__(
        self,
        name: str,
        held: Memory,
        reader: MemoryWriter,
        entrance: ChangeGate,
        *,
        gap_after_s: float,
        started_s: float,
    ) -> None:
        self.name = name
        self.memory = held
        self.thumbnails = Thumbnails()
        self.gaps: deque[answers.Gap] = deque(maxlen=_MAX_GAPS)
        self.frames_seen = 0
        self.tokens_read = 0
        self._dropped_before = 0
        self.started_s = started_s
        self.newest_s: float | None = None
        self.saved_s: float | None = None
        self._keeper = reader
        self._gate = entrance
        # Of the newest frames seen: the number that each got, or would have got, and when the one before it was seen.
        self._newest: deque[tuple[int, float | None]] = deque(maxlen=reader.config.recent_frames)
        self._gap_after_s = gap_after_s
        self._gap_reason = "no frames"
        reader.begin(held)

    def append(self, clip: Clip) -> None:
        """Reads a clip into the memory, in steps of as many frames as the device takes at once."""
        for start in range(0, len(clip.times_s), self._keeper.max_frames):
            self._feed_step(clip, slice(start, start + self._keeper.max_frames))

    def _feed_step(self, clip: Clip, step: slice) -> None:
        times_s = clip.times_s[step]
        first_frame, compactions = self.memory.next_frame, self.memory.compactions
        self._note_gap(times_s[0])
        try:
            passed = self._gate.admit(clip.frames[step], times_s)
            times = torch.tensor([times_s], dtype=torch.float64)
            self._keeper.feed([self.memory], clip.frames[None, step], times, passed)
        except RuntimeError:
            self._gate.invalidate()
            raise
        self.tokens_read += int(passed.sum())
        self._note_seen(times_s, clip.previews[step], passed.any(dim=1).tolist(), first_frame)
        if self.memory.compactions != compactions:
            self.thumbnails.keep_only(self._cached_frames())

    def _note_seen(
        self, times_s: Sequence[float], previews: Sequence[Tensor], are_read: Sequence[bool], next_frame: int
    ) -> None:
        for time_s, preview, is_read in zip(times_s, previews, are_read, strict=True):
            self._newest.append((next_frame, self.newest_s))
            if is_read:
                self.thumbnails.add(next_frame, images.encode_jpeg(preview))
            next_frame += is_read
            self.frames_seen += 1
            self.newest_s = time_s

    def _note_gap(self, next_s: float) -> None:
        if self.newest_s is not None and next_s - self.newest_s > self._gap_after_s:
            self.gaps.append(answers.Gap(self.newest_s, next_s, self._gap_reason))
        self._gap_reason = "no frames"

    def _cached_frames(self) -> set[int]:
        tokens = [self.memory.remembered(index).token_ids for index in range(self.memory.num_layers)]
        frames = torch.cat(tokens) // self._keeper.model.spec.tokens_per_frame
        return set(torch.unique(frames).tolist())

    def snapshot(self, frames_dropped: int, now: float, *, is_whole: bool = False) -> Checkpoint:
        """The memory without the newest frames seen, as many as make a recent window, or the whole of it; with the
        pictures of its frames.

        What is left out comes back from the stream in a moment. In a still picture nothing would, so nothing is.
        """
        per_frame = self._keeper.model.spec.tokens_per_frame
        first_left_out, newest_s = _NO_TOKEN, self.newest_s
        if self._newest and not is_whole:
            next_frame, newest_s = self._newest[0]
            first_left_out = next_frame * per_frame
        layers = checkpoint.capture(self.memory, first_left_out)
        held_frames = torch.unique(torch.cat([layer.token_ids for layer in layers]) // per_frame).tolist()
        facts = CheckpointFacts(
            fingerprint=self._keeper.model.spec.fingerprint,
            saved_s=now,
            started_s=self.started_s,
            newest_s=newest_s or 0.0,
            next_position=self.memory.next_position,
            next_frame=self.memory.next_frame,
            frames_seen=self.frames_seen,
            frames_dropped=self._dropped_before + frames_dropped,
            compactions=self.memory.compactions,
            gaps=tuple(self.gaps),
        )
        return Checkpoint(facts, layers, self.thumbnails.of(held_frames))

    def restore(self, saved: Checkpoint) -> None:
        """Takes over what an earlier process saved; a recent window that is not in it is lost and becomes a gap."""
        checkpoint.restore(self.memory, saved)
        facts = saved.facts
        for frame, jpeg in saved.thumbnails.items():
            self.thumbnails.add(frame, jpeg)
        self.gaps.extend(facts.gaps)
        self.frames_seen = facts.frames_seen
        self._dropped_before = facts.frames_dropped
        self.started_s = facts.started_s
        self.newest_s = facts.newest_s or None
        self.saved_s = facts.saved_s
        self._gap_reason = "restored from a checkpoint"

    def status(self, frames_dropped: int) -> MemoryStatus:
        """The memory in numbers."""
        held, reader = self.memory, self._keeper
        first_recent = reader.first_recent_id(held)
        remembered = [held.remembered(index) for index in range(held.num_layers)]
        recent = sum(int((tokens.token_ids >= first_recent).sum()) for tokens in remembered)
        total = sum(len(tokens) for tokens in remembered)
        return MemoryStatus(
            frames_seen=self.frames_seen,
            frames_dropped=self._dropped_before + frames_dropped,
            tokens_read=self.tokens_read,
            compressions=held.compactions,
            prefix_tokens=held.prefix_length * held.num_layers,
            summary_tier_tokens=total - recent,
            recent_window_tokens=recent,
            nbytes=held.slabs.capacity * held.slabs.shape.nbytes_per_token * held.num_layers,
            thumbnails=len(self.thumbnails),
            thumbnail_nbytes=self.thumbnails.nbytes,
            next_position=held.next_position,
            oldest_s=min((float(tokens.times_s[0]) for tokens in remembered if len(tokens)), default=None),
            newest_s=self.newest_s,
            checkpointed_s=self.saved_s,
            gaps=tuple(self.gaps),
        )
