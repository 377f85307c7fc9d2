"""One supervised thread for each camera: opens the source, builds clips, reconnects forever, reports the state."""

from __future__ import annotations

import random
import threading
import traceback

import structlog
import tenacity

from pipeline.cameras import CameraSpec, CameraState, SourceError, SourceInvalid, SourceUnreachable
from pipeline.decoding.decoders import DecoderFactory, libav_alone
from pipeline.decoding.reduction import Fit
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.network.url_redaction import scrub
from pipeline.network.urls import NetworkUrl
from pipeline.sources import local_faults, retries
from pipeline.sources.clip_queue import ClipSink
from pipeline.sources.feed_output import FeedOutput, OnState
from pipeline.sources.frame_clock import FrameClock, SteadyClock
from pipeline.sources.frame_times import FrameTimes
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.playback import FeedSettings, Playback
from pipeline.sources.resume_point import ResumePoint
from pipeline.sources.sampling import EvenRate

log = structlog.get_logger(__name__)

RETRY_JITTER_S, STOP_TIMEOUT_S = 1.0, 2.0
_CLOCK = SteadyClock()  # of every feed of this process


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
        self._settings = FeedSettings(
            spec=spec,
            url=urls.parse_source(spec),
            config=config.for_camera(spec),
            fit=fit,
            choose_decoder=choose_decoder,
            clock=clock,
        )
        started_s = clock() + clock.correction_s() if started_s is None else started_s
        self._times = FrameTimes(clock, resume_from_s)
        self._resume = ResumePoint.of(spec, self._times, clock, started_s)
        self._output = FeedOutput(spec.name, camera_id or spec.name, clips, self._times, on_state)
        self._rate = EvenRate()
        self._retry_jitter_s, self._was_live = retry_jitter_s, False
        self._thread = threading.Thread(target=self._run, name=f"feed-{spec.name}", daemon=True)

    def start(self) -> None:
        """Starts the thread. Call it once."""
        self._thread.start()

    @property
    def thread_ident(self) -> int:
        """After `start`: of the thread that reads and decodes (`threading.get_ident`)."""
        assert self._thread.ident is not None
        return self._thread.ident

    def limit_rate(self, share: float) -> None:
        """From now on the device has time for this share of a live source's frames; see EvenRate.limit."""
        self._rate.limit(share)

    def note_loss(self, now_s: float) -> None:
        """Frames were lost behind the feed, because the machine is too slow. now_s: by the feed's clock."""
        self._rate.lost(now_s)

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends the feed: no clip and no state follows. Blocks for at most about `timeout_s`.

        A thread that is blocked in a connection goes on until its timeout (stall_after_s) ends it.
        """
        self.request_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def request_stop(self) -> None:
        """Ends the feed like `stop`, but does not wait for its thread."""
        self._output.stop()

    def _run(self) -> None:
        with REDACTOR.remembering(self._settings.spec.url):
            self._run_guarded()

    def _run_guarded(self) -> None:
        spec = self._settings.spec
        self._output.report(CameraState.CONNECTING)
        try:
            self._run_forever()
        except SourceError as error:
            self._output.report(CameraState.FAILED, str(error), error.reason)
        except Exception as error:  # noqa: BLE001 - the guard of this thread: a fault affects one camera only
            # Not log.exception: renderers show local variables, and so the URL.
            trace = scrub("".join(traceback.format_exception(error)), spec.url)
            log.error("feed_failed", camera=spec.name, trace=trace)
            self._output.report(CameraState.FAILED, f"internal error: {type(error).__name__}")

    def _run_forever(self) -> None:
        is_over, stopped = False, self._output.stopped
        while not is_over and not stopped.is_set():
            # Each time frames have arrived, the retry intervals start anew.
            retrying = tenacity.Retrying(
                retry=tenacity.retry_if_exception_type(SourceUnreachable),
                wait=self._pause_s,
                stop=tenacity.stop_when_event_set(stopped),
                sleep=tenacity.sleep_using_event(stopped),
                before_sleep=self._report_failure,
                reraise=True,
            )
            is_over = retrying(self._play_once)

    def _play_once(self) -> bool:
        """Plays the source once; returns whether it is over for good. Raises SourceError if no frame arrived."""
        try:
            with local_faults.as_unreachable():
                return self._open_and_play()
        except SourceInvalid as error:
            if not isinstance(self._settings.url, NetworkUrl):
                raise
            # A file does not change. A camera may restart or be configured anew, so it is retried.
            raise SourceUnreachable(str(error), error.reason) from error

    def _open_and_play(self) -> bool:
        report = self._output.report
        if not self._resume.await_begin(self._output.wait, lambda note: report(CameraState.CONNECTING, note)):
            return True
        playback = Playback(self._settings, self._resume, self._times, self._rate, self._output)
        source = playback.open()
        try:
            playback.play(source)
        except SourceError as error:
            if not playback.has_frames:
                raise
            if isinstance(error, SourceInvalid) and source.is_finite:
                report(CameraState.ENDED, f"broke off: {error}", error.reason)
                return True
            report(CameraState.STALLED, str(error), error.reason)
        else:
            if source.is_finite or self._output.stopped.is_set():
                report(CameraState.ENDED)
                return True
            report(CameraState.STALLED, "the stream ended")
        finally:
            self._was_live = self._was_live or (playback.has_frames and not source.is_finite)
            source.close()
        self._output.wait(self._settings.config.first_retry_s + random.uniform(0, self._retry_jitter_s))
        return False

    def _report_failure(self, retry: tenacity.RetryCallState) -> None:
        error = retries.error_of(retry)
        clock = self._settings.clock
        next_step = retries.next_step(retry, clock() + clock.correction_s())
        has_failed = retries.is_not_a_camera(error, was_live=self._was_live)
        state = CameraState.FAILED if has_failed else CameraState.BACKING_OFF
        self._output.report(state, str(error), getattr(error, "reason", None), next_step=next_step)

    def _pause_s(self, retry: tenacity.RetryCallState) -> float:
        config = self._settings.config
        return retries.pause_s(retry, config, jitter_s=self._retry_jitter_s, was_live=self._was_live)
