"""One supervised thread for each camera: opens its source, makes clips, reconnects for ever, reports its state."""

from __future__ import annotations

import math
import random
import threading
import time
import traceback
from collections.abc import Callable

import structlog
import tenacity

from pipeline.cameras import CameraSpec, CameraState, SourceError, SourceInvalid, SourceReason, SourceUnreachable
from pipeline.network import urls
from pipeline.network.urls import NetworkUrl
from pipeline.sources.clip_builder import ClipBuilder
from pipeline.sources.clip_queue import ClipQueue
from pipeline.sources.clips import Clip
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.opening import open_source
from pipeline.sources.source import Source, SourceContext

log = structlog.get_logger(__name__)

RETRY_JITTER_S = 1.0
# Many cameras lock out who knocks too often; and what is wrong here is put right by people.
_SLOW = frozenset({SourceReason.UNAUTHORIZED, SourceReason.FORBIDDEN, SourceReason.REDIRECTED})
STOP_TIMEOUT_S = 2.0

OnState = Callable[[CameraState, str, SourceReason | None], None]


class CameraFeed:
    """Feeds one camera's clips to the device. Nothing that its source does is ever raised anywhere else."""

    def __init__(
        self,
        spec: CameraSpec,
        config: IngestConfig,
        frame_size: int,
        clips: ClipQueue,
        *,
        on_state: OnState,
        resume_from_s: float | None = None,
        started_s: float | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Raises InvalidCamera if the URL is none.

        `on_state` is called in the feed's thread at each change and must not block. `started_s`: when a recording
        began (default: now); `resume_from_s`: frames up to here were fed before. Both are Unix time.
        """
        self._spec, self._config, self._frame_size, self._clips = spec, config, frame_size, clips
        self._url = urls.parse(spec.url)
        self._on_state = on_state
        self._clock = clock
        self._started_s = clock() if started_s is None else started_s
        self._newest_s = -math.inf if resume_from_s is None else resume_from_s
        self._has_pictures = self._was_live = False
        self._notes = ""  # on the source that is played
        self._told: tuple[CameraState, str, str] | None = None
        self._stopped = threading.Event()
        self._gate = threading.Lock()  # nothing passes once stop() has returned
        self._thread = threading.Thread(target=self._run, name=f"feed-{spec.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread; once."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the feed: no clip and no state follow. Returns within about 2 s.

        A thread that is blocked in a connection is left behind until its timeout (stall_after_s) ends it.
        """
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(STOP_TIMEOUT_S)

    def request_stop(self) -> None:
        """Ends the feed like `stop`, without waiting for its thread."""
        with self._gate:
            self._stopped.set()

    def _run(self) -> None:
        self._report(CameraState.CONNECTING)
        try:
            self._play_for_ever()
        except SourceError as error:
            self._report(CameraState.FAILED, str(error), error.reason)
        except Exception as error:  # noqa: BLE001 - the one loop guard: a camera's fault stays with it
            # Not log.exception: renderers show local variables, and with them the URL.
            trace = urls.scrub("".join(traceback.format_exception(error)), self._spec.url)
            log.error("feed_failed", camera=self._spec.name, trace=trace)
            self._report(CameraState.FAILED, f"internal error: {type(error).__name__}")

    def _play_for_ever(self) -> None:
        is_over = False
        while not is_over and not self._stopped.is_set():
            # Each time pictures have come, patience starts anew.
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
        """Plays until the source ends or breaks off; whether it is over for good. Raises if not one picture came."""
        self._has_pictures, self._notes = False, ""
        try:
            return self._played()
        except SourceInvalid as error:
            if not isinstance(self._url, NetworkUrl):
                raise
            # A file stays what it is. A camera restarts or is set up anew, and people put right what is wrong with it.
            raise SourceUnreachable(str(error), error.reason) from error

    def _played(self) -> bool:
        source = open_source(self._url, self._config, self._context())
        try:
            self._feed_from(source)
        except SourceError as error:
            if not self._has_pictures:
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
        self._stopped.wait(self._config.first_retry_s + random.uniform(0, RETRY_JITTER_S))
        return False

    def _feed_from(self, source: Source) -> None:
        builder = ClipBuilder(self._spec, self._config, self._frame_size, is_live=source.is_live)
        try:
            for sample in source.samples():
                self._newest_s = sample.time_s
                self._has_pictures = True
                self._was_live = self._was_live or not source.is_finite
                self._report(CameraState.LIVE, self._notes)
                self._hand_over(builder.add(sample, self._clock()), can_wait=not source.is_live)
        finally:
            self._hand_over(builder.flush(self._clock()), can_wait=not source.is_live)

    def _hand_over(self, clip: Clip | None, *, can_wait: bool) -> None:
        if clip is None:
            return
        while can_wait and not self._clips.wait_for_space(clip.camera, timeout_s=0.2):
            if self._stopped.is_set():
                return
        with self._gate:
            if not self._stopped.is_set():
                self._clips.put(clip)

    def _count_dropped(self, frames: int) -> None:
        with self._gate:
            if frames and not self._stopped.is_set():
                self._clips.count_dropped(self._spec.name, frames)

    def _note(self, note: str) -> None:
        """Shown beside the state as long as this source is played; the log hears of it once, with the state."""
        if note not in self._notes:
            self._notes = f"{self._notes}; {note}" if self._notes else note

    def _context(self) -> SourceContext:
        return SourceContext(
            camera=self._spec.name,
            pace=self._spec.pace,
            started_s=self._started_s,
            after_s=self._newest_s,
            clock=self._clock,
            wait=lambda seconds: self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set(),
            on_dropped=self._count_dropped,
            on_note=self._note,
        )

    def _report_failure(self, retry: tenacity.RetryCallState) -> None:
        error = retry.outcome.exception() if retry.outcome else None
        wait_s = retry.next_action.sleep if retry.next_action else 0.0
        next_step = f"try {retry.attempt_number + 1} in {wait_s:.1f} s"
        state = CameraState.FAILED if self._was_never_right(error) else CameraState.BACKING_OFF
        self._report(state, str(error), _reason(error), next_step=next_step)

    def _pause_s(self, retry: tenacity.RetryCallState) -> float:
        usual_s = tenacity.wait_exponential_jitter(
            max=self._config.last_retry_s, multiplier=self._config.first_retry_s, jitter=RETRY_JITTER_S
        )(retry)
        error = retry.outcome.exception() if retry.outcome else None
        is_slow = _reason(error) in _SLOW or self._was_never_right(error)
        return max(self._config.refused_retry_s if is_slow else 0.0, usual_s)

    def _was_never_right(self, error: BaseException | None) -> bool:
        """Whether it is no camera, as far as anybody has seen."""
        return error is not None and isinstance(error.__cause__, SourceInvalid) and not self._was_live

    def _report(
        self, state: CameraState, said: str = "", reason: SourceReason | None = None, *, next_step: str = ""
    ) -> None:
        """Tells each change; the log hears of states and reasons only, or a camera that is away for days would fill it.

        `next_step` follows what is said in the detail.
        """
        with self._gate:
            told = (state, said, next_step)
            if self._stopped.is_set() or self._told == told:
                return
            if self._told is None or self._told[:2] != told[:2]:
                log.info("camera_state", camera=self._spec.name, state=str(state), reason=reason or "", detail=said)
            self._told = told
            self._on_state(state, "; ".join(filter(None, (said, next_step))), reason)


def _reason(error: BaseException | None) -> SourceReason | None:
    return error.reason if isinstance(error, SourceError) else None
