"""One supervised thread for each camera: opens the source, builds clips, reconnects forever, reports the state."""

from __future__ import annotations

import dataclasses
import math
import random
import threading
import traceback
from collections.abc import Callable

import structlog
import tenacity

from cache_store.gap import GapReason
from pipeline.cameras import CameraSpec, CameraState, SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.decoding.decoders import DecoderFactory, libav_alone
from pipeline.decoding.reduction import Fit
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.network.urls import NetworkUrl
from pipeline.picture_note import PictureNote
from pipeline.sources import retries
from pipeline.sources.clip_builder import ClipBuilder
from pipeline.sources.clip_queue import DROPPED, ClipSink
from pipeline.sources.clips import Clip
from pipeline.sources.frame_clock import FrameClock, FrameTimes, SteadyClock
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.opening import open_source
from pipeline.sources.picture_watch import PictureWatch
from pipeline.sources.sampling import EvenRate
from pipeline.sources.source import Source, SourceContext

log = structlog.get_logger(__name__)

RETRY_JITTER_S, STOP_TIMEOUT_S = 1.0, 2.0
RECONNECTED = GapReason.RECONNECTED  # the reason of the gap before its first frame
_CLOCK = SteadyClock()  # of every feed of this process
_TROUBLES = frozenset({CameraState.STALLED, CameraState.BACKING_OFF, CameraState.FAILED})
OnState = Callable[[CameraState, str, SourceReason | None, PictureNote | None], None]


class CameraFeed:
    """Feeds one camera's clips to the device. No error of its source leaves its thread."""

    def __init__(
        self,
        spec: CameraSpec,
        config: IngestConfig,
        fit: Fit,
        clips: ClipSink,
        *,
        on_state: OnState,
        camera_id: str | None = None,
        resume_from_s: float | None = None,
        started_s: float | None = None,
        choose_decoder: DecoderFactory = libav_alone,
        clock: FrameClock = _CLOCK,
        retry_jitter_s: float = RETRY_JITTER_S,
    ) -> None:
        """Raises InvalidCamera for an invalid URL.

        fit: from the size of an image to the size in which the model reads it, width and height.
        on_state: called in the feed's thread at each change; must not block.
        camera_id: whose clips they are in the queue (default: the camera's name).
        resume_from_s: frames up to this Unix time were fed before. started_s: when the camera was added (default: now).
        choose_decoder: what decodes a stream where libav need not.
        retry_jitter_s: up to so many seconds are added to each wait before a retry.
        """
        self._spec, self._config, self._fit, self._clips = spec, config.for_camera(spec), fit, clips
        self._camera_id, self._url, self._on_state = camera_id or spec.name, urls.parse_source(spec), on_state
        self._choose_decoder, self._clock, self._retry_jitter_s = choose_decoder, clock, retry_jitter_s
        self._started_s = clock() + clock.correction_s() if started_s is None else started_s
        self._times = FrameTimes.of(spec, clock, resume_from_s, started_s=self._started_s)
        self._newest_s, self._has_frames, self._was_live = -math.inf, False, False  # the time: by the feed's clock
        self.rate, self._watch = EvenRate(), PictureWatch()  # the rate: of a live source
        self.limit_rate = self.rate.limit
        self._lost_before = self._notes = ""  # why frames before the next one were lost; what the open source notes
        self._last_report: tuple[CameraState, str, PictureNote | None, str] | None = None
        # The lock: no clip and no state passes once stop() has returned.
        self._stopped, self._output_lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"feed-{spec.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread. Call it once."""
        self._thread.start()

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends the feed: no clip and no state follows. Blocks for at most about `timeout_s`.

        A thread that is blocked in a connection goes on until its timeout (stall_after_s) ends it.
        """
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def request_stop(self) -> None:
        """Ends the feed like `stop`, but does not wait for its thread."""
        with self._output_lock:
            self._stopped.set()

    def _run(self) -> None:
        with REDACTOR.remembering(self._spec.url):
            self._run_guarded()

    def _run_guarded(self) -> None:
        self._report(CameraState.CONNECTING)
        self._newest_s = self._times.steady_s(self._times.newest_s, self._clock.correction_s())
        try:
            self._run_forever()
        except SourceError as error:
            self._report(CameraState.FAILED, str(error), error.reason)
        except Exception as error:  # noqa: BLE001 - the guard of this thread: a fault affects one camera only
            # Not log.exception: renderers show local variables, and so the URL.
            trace = urls.scrub("".join(traceback.format_exception(error)), self._spec.url)
            log.error("feed_failed", camera=self._spec.name, trace=trace)
            self._report(CameraState.FAILED, f"internal error: {type(error).__name__}")

    def _run_forever(self) -> None:
        is_over = False
        while not is_over and not self._stopped.is_set():
            # Each time frames have arrived, the retry intervals start anew.
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(SourceUnreachable),
                wait=self._pause_s,
                stop=tenacity.stop_when_event_set(self._stopped),
                sleep=tenacity.sleep_using_event(self._stopped),
                before_sleep=self._report_failure,
                reraise=True,
            )
            is_over = retrying(self._play_once)

    def _play_once(self) -> bool:
        """Plays the source once; returns whether it is over for good. Raises SourceError if no frame arrived."""
        self._has_frames, self._notes = False, ""
        try:
            return self._open_and_feed()
        except MemoryError:  # it passes
            raise SourceUnreachable("no memory for its video") from None
        except SourceInvalid as error:
            if not isinstance(self._url, NetworkUrl):
                raise
            # A file does not change. A camera may restart or be configured anew, so it is retried.
            raise SourceUnreachable(str(error), error.reason) from error

    def _open_and_feed(self) -> bool:
        self._times.await_next(self._stopped.wait, lambda note: self._report(CameraState.CONNECTING, note))
        context = self._context()
        source = open_source(self._url, self._config, context)
        self._times.keep_correction(context.correction_s if source.is_finite and not self._spec.loop else None)
        try:
            self._feed_from(source)
        except SourceError as error:
            if not self._has_frames:
                raise
            if isinstance(error, SourceInvalid) and source.is_finite:
                self._report(CameraState.ENDED, f"broke off: {error}", error.reason)
                return True
            self._report(CameraState.STALLED, str(error), error.reason)
        else:
            if source.is_finite or self._stopped.is_set():
                self._report(CameraState.ENDED)
                return True
            self._report(CameraState.STALLED, "the stream ended")
        finally:
            source.close()
        self._stopped.wait(self._config.first_retry_s + random.uniform(0, self._retry_jitter_s))
        return False

    def _feed_from(self, source: Source) -> None:
        rate = self.rate if source.is_live else EvenRate()
        builder = ClipBuilder(self._spec, self._config, self._fit, is_live=source.is_live)
        self._lost_before = RECONNECTED if self._newest_s > -math.inf else self._lost_before
        try:
            for sample in source.samples():
                self._newest_s, self._has_frames = sample.time_s, True
                self._was_live = self._was_live or not source.is_finite
                notes = "; ".join(filter(None, (self._notes, self._times.note)))
                self._report(CameraState.LIVE, rate.described(notes, self._config.sample_fps))
                lost_before, self._lost_before = self._lost_before, ""
                self._put(builder.add(sample, self._clock(), lost_before=lost_before), source)
        finally:
            self._put(builder.flush(self._clock()), source)

    def _put(self, clip: Clip | None, source: Source) -> None:
        if clip is None:
            return
        self._watch.look_at(clip)
        while source.can_wait and not self._clips.wait_for_space(self._camera_id, timeout_s=0.2):
            if self._stopped.is_set():
                return
        period_s = clip.period_s * (self.rate.stride if source.is_live else 1)  # a frame that was not due is no gap
        with self._output_lock:
            clip = self._times.date(dataclasses.replace(clip, camera=self._camera_id, period_s=period_s))
            if not self._stopped.is_set() and self._clips.put(clip):
                self.rate.lost(self._clock())

    def _count_dropped(self, frames: int) -> None:
        with self._output_lock:
            if frames and not self._stopped.is_set():
                self._lost_before = DROPPED
                self._clips.count_dropped(self._camera_id, frames)

    def _note(self, note: str) -> None:
        """Adds a note to the detail of the state while this source is open; it is logged once, with the state."""
        if note not in self._notes:
            self._notes = f"{self._notes}; {note}" if self._notes else note

    def _context(self) -> SourceContext:
        correction_s = self._clock.correction_s()
        return SourceContext(
            camera=self._spec.name,
            pace=self._spec.pace,
            started_s=self._times.steady_s(self._started_s, correction_s),
            after_s=self._times.after_s(self._newest_s, correction_s),
            correction_s=correction_s,
            clock=self._clock,
            wait=lambda seconds: self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set(),
            on_dropped=self._count_dropped,
            on_note=self._note,
            is_looped=self._spec.loop,
            choose_decoder=self._choose_decoder,
            rate=self.rate,
            min_width=self._fit(1920, 1080)[0],  # nothing is known of the camera's images yet
        )

    def _report_failure(self, retry: tenacity.RetryCallState) -> None:
        error = retries.error_of(retry)
        next_step = f"try {retry.attempt_number + 1} in {retry.upcoming_sleep:.1f} s"
        has_failed = retries.is_not_a_camera(error, was_live=self._was_live)
        state = CameraState.FAILED if has_failed else CameraState.BACKING_OFF
        self._report(state, str(error), getattr(error, "reason", None), next_step=next_step)

    def _pause_s(self, retry: tenacity.RetryCallState) -> float:
        return retries.pause_s(retry, self._config, jitter_s=self._retry_jitter_s, was_live=self._was_live)

    def _report(
        self, state: CameraState, detail: str = "", reason: SourceReason | None = None, *, next_step: str = ""
    ) -> None:
        """Reports each change to `on_state`; `next_step` follows the detail. Of it alone no change is logged."""
        with self._output_lock:
            note = self._watch.note if state is CameraState.LIVE else None
            report = (state, detail, note, next_step)
            if self._stopped.is_set() or self._last_report == report:
                return
            if self._last_report is None or self._last_report[:3] != report[:3]:
                tell = log.warning if state in _TROUBLES or note else log.info
                tell("camera_state", camera=self._spec.name, state=state, reason=reason or note or "", detail=detail)
            self._last_report = report
            self._on_state(state, "; ".join(filter(None, (detail, next_step))), reason, note)
