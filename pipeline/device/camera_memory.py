"""One camera on the device: its memory, its thumbnails and its gaps. Device thread only."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from cache_store import cached_frames, checkpoint_codec, token_ids
from cache_store.checkpoint import Checkpoint, CheckpointFacts
from cache_store.gap import Gap, GapReason
from cache_store.memory import Memory
from models import memory_restorer
from models.memory_writer import MemoryWriter
from pipeline.device import frame_steps
from pipeline.device.change_gate import ChangeGate
from pipeline.device.frame_steps import Appended, EncodedStep, PreparedStep
from pipeline.device.gap_log import GapLog
from pipeline.device.thumbnails import Thumbnails
from pipeline.memory_status import MemoryStatus
from pipeline.sources.clips import Clip


class CameraMemory:
    """The memory of a camera, with thumbnails of its cached frames. Starts from a memory that holds its prefix alone.

    gap_after_s: see `GapLog`. A frame of which the gate admits no patch counts as seen: the memory is as of its time.
    erased_until_s: time of the newest frame that was erased; the camera's source goes on behind it.
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
        self.erased_until_s: float | None = None
        self.saved_s: float | None = None
        self._writer = writer
        self.gate = gate
        self._layout = writer.model.spec.layout
        # Of each of the newest groups of frames: its number, or the one it would have got, and the time before it.
        self._newest: deque[tuple[int, float | None]] = deque(maxlen=writer.recent_groups)
        # Of each of the newest groups in the memory: its tokens, all layers together.
        self._recent_tokens: deque[int] = deque(maxlen=writer.recent_groups)
        self._oldest_s: float | None = None  # of a token
        self._compactions = 0  # of the memory, at the last `_refresh`
        self._gap_log = GapLog(gap_after_s)

    @property
    def is_new(self) -> bool:
        """Whether there was no frame yet, nor one that was erased."""
        return not self.frames_seen and self.erased_until_s is None

    @property
    def gaps(self) -> tuple[Gap, ...]:
        """See `GapLog.gaps`."""
        return self._gap_log.gaps

    def begin_with(self, gap: Gap) -> None:
        """Begins the memory, in which nothing was appended yet, with a gap that lasts until its first frame."""
        self._gap_log.begin_with(gap)

    def change_gate(self, gate: ChangeGate) -> None:
        """Judges the patches of later frames by another gate."""
        self.gate = gate

    def append(self, clip: Clip) -> None:
        """Appends a clip of at most `max_frames` frames by itself: all parts of a step, one after the other.

        If it raises, whatever it raises, the memory has none of its frames, or only the compaction behind them failed;
        `lose` then notes what is lost.
        """
        (encoded,) = frame_steps.encode(self._writer, [self.prepare(clip)])
        (appended,) = frame_steps.append(self._writer, [encoded])
        self.note(encoded, appended)
        if not appended.has_room:
            (seconds,) = frame_steps.compact(self._writer, [self.memory])
            self.note_compaction(seconds)

    def prepare(self, clip: Clip) -> PreparedStep:
        """Judges a clip of at most `max_frames` frames before it is appended, see `frame_steps.prepare`."""
        return frame_steps.prepare(self.memory, self.gate, self._layout, clip)

    def note(self, encoded: EncodedStep, appended: Appended) -> None:
        """Notes that a step was appended. What can fail comes last."""
        step = encoded.prepared
        self.tokens_read += step.num_read
        self.tokens_skipped += step.num_skipped
        self.ingest_s += step.seconds + encoded.seconds + appended.seconds
        self.upkeep_s += appended.upkeep_s
        self._gap_log.note(step.clip, self.newest_s)
        self._note_frames(step.groups_s, step.jpegs, self.memory.next_frame - len(appended.group_sizes))
        self._recent_tokens.extend(size * self.memory.num_layers for size in appended.group_sizes)
        if self.memory.compactions != self._compactions:
            self._refresh()

    def note_compaction(self, seconds: float) -> None:
        """Notes that the memory was compacted behind a step, apart from it."""
        self.ingest_s += seconds
        self.upkeep_s += seconds
        self._refresh()

    def lose(self, clip: Clip) -> int:
        """Notes that a clip was not appended; its frames become a gap. How many were lost. Allocates nothing.

        The gap lasts until a frame is appended again.
        """
        self.gate.invalidate()
        lost_s = [time_s for time_s in clip.times_s if self.newest_s is None or time_s > self.newest_s]
        self._gap_log.lose(lost_s, self.newest_s)
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

    def _refresh(self) -> None:
        """Reads from the device what a compaction or a restore changes: which frames are cached, the oldest time."""
        recent = range(max(0, self.memory.next_frame - self._writer.recent_groups), self.memory.next_frame)
        frames = [*self.thumbnails.by_frame(), *recent]
        counts = cached_frames.count(self.memory, frames)
        self.thumbnails.keep({frame for frame, tokens in zip(frames, counts.tokens, strict=True) if tokens})
        self._oldest_s = counts.oldest_s
        self._compactions = self.memory.compactions
        self._recent_tokens.clear()
        self._recent_tokens.extend(counts.tokens[len(frames) - len(recent) :])

    def snapshot(self, frames_dropped: int, now: float, *, is_whole: bool = False) -> Checkpoint:
        """A copy of the memory on its device, without the newest frames unless `is_whole`; `on_host` completes it.

        As many of the newest frames seen are left out as make a recent window: the stream refills it after a restore.
        Of a still scene the newest frames seen have no tokens, so nothing is left out.
        """
        first_left_out_id, newest_s = None, self.newest_s
        if self._newest and not is_whole:
            first_left_out, newest_s = self._newest[0]
            first_left_out_id = token_ids.first_of(first_left_out)
        layers = checkpoint_codec.capture(self.memory, first_left_out_id)
        facts = CheckpointFacts(
            fingerprint=self._writer.model.spec.fingerprint,
            saved_s=now,
            started_s=self.started_s,
            newest_s=newest_s or self.erased_until_s or 0.0,
            next_position=self.memory.next_position,
            next_frame=self.memory.next_frame,
            origin_s=self.memory.origin_s,
            frames_seen=self.frames_seen,
            frames_dropped=self.dropped_before + frames_dropped,
            compactions=self.memory.compactions,
            gaps=self.gaps,
            rows=self.memory.slabs.rows,
        )
        states = checkpoint_codec.capture_states(self.memory)
        return Checkpoint(facts, layers, self.thumbnails.by_frame(), states)

    def restore(self, saved: Checkpoint) -> None:
        """Restores a checkpoint into this new memory. What it lacks up to the next frame becomes a gap.

        What does not fit this memory's slot is evicted. Raises CheckpointCorrupt; see `memory_restorer`.
        """
        memory_restorer.restore(self._writer, self.memory, saved)
        facts = saved.facts
        for frame, jpeg in saved.thumbnails.items():
            self.thumbnails.add(frame, jpeg)
        self._refresh()
        self.frames_seen = facts.frames_seen
        self.dropped_before = facts.frames_dropped
        self.started_s = facts.started_s
        if self._oldest_s is None:  # no token
            self.erased_until_s = facts.newest_s or None
        else:
            self.newest_s = facts.newest_s or None
        self.saved_s = facts.saved_s
        since_s = facts.started_s if self.newest_s is None else self.newest_s
        is_empty = self.newest_s is None and not facts.frames_seen and not facts.gaps
        ended = [gap for gap in facts.gaps if gap.end_s <= facts.newest_s]
        erased = [gap for gap in facts.gaps if gap.end_s > facts.newest_s and gap.reason == GapReason.ERASED]
        self._gap_log.restore(ended, None if is_empty else since_s)
        for gap in erased:
            self.begin_with(gap)

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
            nbytes=memory.slabs.slot_nbytes,
            thumbnails=len(self.thumbnails),
            thumbnail_nbytes=self.thumbnails.nbytes,
            next_position=memory.next_position,
            oldest_s=self._oldest_s,
            newest_s=self.newest_s,
            checkpointed_s=self.saved_s,
            gaps=self.gaps,
        )
