"""One camera on the device: its memory, its thumbnails and its gaps. Device thread only."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch

from cache_store import checkpoint_codec, token_ids
from cache_store.checkpoint import Checkpoint, CheckpointFacts
from cache_store.gap import Gap, GapReason
from cache_store.memory import Memory
from models import checkpoint_restorer
from models.memory_writer import MemoryWriter
from pipeline.decoding import images
from pipeline.device.change_gate import ChangeGate
from pipeline.device.thumbnails import Thumbnails
from pipeline.memory_status import MemoryStatus
from pipeline.sources.clips import Clip

_MAX_GAPS = 32
_LONGEST_STEP = 1.5  # of the time between two samples: a longer step lacks a frame
_ABOVE_EVERY_ID = 1 << 62  # no token has an id as high


class CameraMemory:
    """The memory of a camera, with thumbnails of its cached frames. Starts from a memory that holds its prefix alone.

    gap_after_s: more time than this between two frames is a gap, and less where frames are known to be lost. A frame of
    which the gate admits no patch counts as seen: the memory is as of its time.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        writer: MemoryWriter,
        gate: ChangeGate,
        *,
        gap_after_s: float,
        started_s: float,
    ) -> None:
        self.name = name
        self.memory = memory
        self.thumbnails = Thumbnails()
        self.frames_seen = 0
        self.tokens_read = 0
        self.tokens_skipped = 0
        self.ingest_s = 0.0
        self.upkeep_s = 0.0
        self.dropped_before = 0
        self.started_s = started_s
        self.newest_s: float | None = None
        self.saved_s: float | None = None
        self._writer = writer
        self.gate = gate
        self._layout = writer.model.spec.layout
        # Of each of the newest groups of frames: its number, or the one it would have got, and the time before it.
        self._newest: deque[tuple[int, float | None]] = deque(maxlen=writer.recent_groups)
        # Of each of the newest groups in the memory: its tokens, all layers together.
        self._recent_tokens: deque[int] = deque(maxlen=writer.recent_groups)
        self._oldest_s: float | None = None  # of a token
        self._gap_after_s = gap_after_s
        self._gaps: deque[Gap] = deque(maxlen=_MAX_GAPS)
        self._open_gap: Gap | None = None  # it lasts until the next frame

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """The newest last; one that has not ended yet is among them as far as it is known."""
        is_known = self._open_gap is not None and self._open_gap.end_s > self._open_gap.start_s
        return (*self._gaps, self._open_gap) if self._open_gap is not None and is_known else tuple(self._gaps)

    def begin_with(self, gap: Gap) -> None:
        """Notes that the memory, in which nothing was appended yet, lacks a time that lasts until the next frame."""
        is_long = gap.end_s - gap.start_s > self._gap_after_s
        self._open_gap = gap if is_long else replace(gap, end_s=gap.start_s)

    def change_gate(self, gate: ChangeGate) -> None:
        """Judges the patches of later frames by another gate."""
        self.gate = gate

    def append(self, clip: Clip) -> None:
        """Appends a clip of at most `max_frames` frames, and compacts the memory where its slot has no room.

        If it raises, whatever it raises, the memory holds what it held before; `lose` says what to do then.
        """
        times_s = clip.times_s
        began_s, upkeep_before_s = time.perf_counter(), self._writer.upkeep_s
        first_frame, compactions = self.memory.next_frame, self.memory.compactions
        frames = torch.as_tensor(clip.frames)
        admitted = self.gate.admit(frames, times_s)
        by_group = self._layout.by_group(admitted)
        num_tokens = int(by_group.sum())
        size = self._layout.frames_per_group
        groups = [slice(start, start + size) for start in range(0, len(times_s), size)]
        jpegs = [
            images.encode_jpeg(clip.previews[group][-1]) if is_appended else None
            for group, is_appended in zip(groups, by_group.any(dim=1).tolist(), strict=True)
        ]
        at_s = torch.tensor(times_s, dtype=torch.float64)
        (sizes,) = self._writer.append([self.memory], [frames], [at_s], [admitted])
        # The memory has the frames: they must be noted before anything else can fail.
        self.tokens_read += num_tokens
        self.tokens_skipped += by_group.numel() - num_tokens
        self.ingest_s += time.perf_counter() - began_s
        self.upkeep_s += self._writer.upkeep_s - upkeep_before_s
        self._note_gaps(clip)
        self._note_frames([times_s[group] for group in groups], jpegs, first_frame)
        self._recent_tokens.extend(size * self.memory.num_layers for size in sizes)
        if self.memory.compactions != compactions:
            self._look()

    def lose(self, clip: Clip) -> int:
        """Notes that `append` failed on a clip; its frames become a gap. How many were lost. Allocates nothing.

        The gap lasts until a frame is appended again.
        """
        self.gate.invalidate()
        lost_s = [time_s for time_s in clip.times_s if self.newest_s is None or time_s > self.newest_s]
        if lost_s and self._open_gap is not None:
            self._open_gap = replace(self._open_gap, end_s=lost_s[-1])
        elif lost_s:
            since_s = lost_s[0] if self.newest_s is None else self.newest_s
            self._open_gap = Gap(since_s, lost_s[-1], GapReason.DEVICE_FAILED)
        return len(lost_s)

    def _note_frames(self, groups: Sequence[Sequence[float]], jpegs: Sequence[bytes | None], next_frame: int) -> None:
        """groups: times of frames. jpegs: of each group that was appended, None where the gate admitted nothing."""
        for times_s, jpeg in zip(groups, jpegs, strict=True):
            self._newest.append((next_frame, self.newest_s))
            if jpeg is not None:
                self._oldest_s = times_s[-1] if self._oldest_s is None else self._oldest_s
                self.thumbnails.add(next_frame, jpeg)
                next_frame += 1
            self.frames_seen += len(times_s)
            self.newest_s = times_s[-1]

    def _note_gaps(self, clip: Clip) -> None:
        """Notes the gaps before and between the frames of a clip. Must be called before `_note_frames`."""
        before = self._open_gap.start_s if self._open_gap is not None else self.newest_s
        lost_before = clip.lost_before or ("",) * len(clip.times_s)
        for time_s, lost in zip(clip.times_s, lost_before, strict=True):
            reason = self._open_gap.reason if self._open_gap is not None else lost
            # Where frames are known to be lost, one frame that is due and missing is a gap.
            longest_s = _LONGEST_STEP * clip.period_s
            longest_s = longest_s if reason else max(longest_s, self._gap_after_s)
            if before is not None and time_s - before > longest_s:
                self._gaps.append(Gap(before, time_s, reason or GapReason.NO_FRAMES))
            before, self._open_gap = time_s, None

    def _look(self) -> None:
        """Reads from the device what a compaction or a restore changes: which frames are cached, the oldest time."""
        layers = [self.memory.after_prefix(layer) for layer in range(self.memory.num_layers)]
        frames = token_ids.frames_of(torch.cat([tokens.token_ids for tokens in layers]))
        self.thumbnails.keep(set(torch.unique(frames).tolist()))
        self._oldest_s = float(torch.cat([tokens.times_s for tokens in layers]).min()) if len(frames) else None
        first_recent = max(0, self.memory.next_frame - self._writer.recent_groups)
        self._recent_tokens.clear()
        self._recent_tokens.extend((frames[frames >= first_recent] - first_recent).bincount().tolist())

    def snapshot(self, frames_dropped: int, now: float, *, is_whole: bool = False) -> Checkpoint:
        """A copy of the memory, with the thumbnails of its frames, without the newest frames unless `is_whole`.

        As many of the newest frames seen are left out as make a recent window: the stream refills it after a restore.
        Of a still scene the newest frames seen have no tokens, so nothing is left out.
        """
        before_id, newest_s = _ABOVE_EVERY_ID, self.newest_s
        if self._newest and not is_whole:
            first_left_out, newest_s = self._newest[0]
            before_id = token_ids.first_of(first_left_out)
        layers = checkpoint_codec.capture(self.memory, before_id)
        frames = torch.unique(token_ids.frames_of(torch.cat([layer.token_ids for layer in layers]))).tolist()
        facts = CheckpointFacts(
            fingerprint=self._writer.model.spec.fingerprint,
            saved_s=now,
            started_s=self.started_s,
            newest_s=newest_s or 0.0,
            next_position=self.memory.next_position,
            next_frame=self.memory.next_frame,
            origin_s=self.memory.origin_s,
            frames_seen=self.frames_seen,
            frames_dropped=self.dropped_before + frames_dropped,
            compactions=self.memory.compactions,
            gaps=self.gaps,
        )
        states = checkpoint_codec.capture_states(self.memory)
        return Checkpoint(facts, layers, self.thumbnails.of(frames), states)

    def restore(self, saved: Checkpoint) -> None:
        """Restores a checkpoint into this new memory. What it lacks up to the next frame becomes a gap.

        What does not fit this memory's slot is evicted. Raises CheckpointCorrupt; see `checkpoint_restorer`.
        """
        checkpoint_restorer.restore(self._writer, self.memory, saved)
        facts = saved.facts
        for frame, jpeg in saved.thumbnails.items():
            self.thumbnails.add(frame, jpeg)
        self._look()
        self._gaps.extend(gap for gap in facts.gaps if gap.end_s <= facts.newest_s)
        self.frames_seen = facts.frames_seen
        self.dropped_before = facts.frames_dropped
        self.started_s = facts.started_s
        self.newest_s = facts.newest_s or None
        self.saved_s = facts.saved_s
        if self.newest_s is not None or facts.frames_seen or facts.gaps:
            since_s = facts.started_s if self.newest_s is None else self.newest_s
            self._open_gap = Gap(since_s, since_s, GapReason.RESTORED)

    def status(self, frames_dropped: int) -> MemoryStatus:
        """The memory in numbers. Reads nothing from the device."""
        memory = self.memory
        recent = sum(self._recent_tokens)
        total = sum(memory.lengths) - memory.num_layers * memory.prefix_length
        return MemoryStatus(
            frames_seen=self.frames_seen,
            frames_dropped=self.dropped_before + frames_dropped,
            tokens_read=self.tokens_read,
            tokens_skipped=self.tokens_skipped,
            ingest_s=self.ingest_s,
            upkeep_s=self.upkeep_s,
            compactions=memory.compactions,
            prefix_tokens=memory.prefix_length * memory.num_layers,
            summary_tier_tokens=total - recent,
            recent_window_tokens=recent,
            nbytes=memory.slabs.shape.footprint.slot_nbytes(memory.slabs.capacity),
            thumbnails=len(self.thumbnails),
            thumbnail_nbytes=self.thumbnails.nbytes,
            next_position=memory.next_position,
            oldest_s=self._oldest_s,
            newest_s=self.newest_s,
            checkpointed_s=self.saved_s,
            gaps=self.gaps,
        )
