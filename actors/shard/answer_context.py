"""What an answer says of its camera and the engine does not know: its identity, and whether its source gives video."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

from actors.shard.camera_stream import CameraStream
from pipeline.answers import (
    AnswerEvent,
    AnswerWarning,
    Done,
    NoFrames,
    NoFramesYet,
    PictureWarning,
    Started,
    WarningCode,
)
from pipeline.cameras import CameraState
from pipeline.picture_note import PictureNote
from pipeline.source_correction import NEEDS_CORRECTION
from pipeline.utc_text import utc_text

# A source in these states gives no first frame by itself any more.
_OVER = frozenset({CameraState.FAILED, CameraState.ENDED})
# In these states the first clip may be on its way to the memory.
_COMING = frozenset({CameraState.CONNECTING, CameraState.LIVE, CameraState.STALLED, CameraState.ENDED})
_FIRST_FRAMES_TIMEOUT_S = 5.0
_POLL_EVERY_S = 0.05
_PICTURE_TEXTS = {
    PictureNote.PICTURE_BLACK: "its picture is black; the answer is about what it showed before",
    PictureNote.PICTURE_FROZEN: "its picture stands still; what it shows as now may be long past",
    PictureNote.SCENE_CHANGED: "it shows another scene than before: turned, covered, sprayed or out of focus",
}


class AnswerContext:
    """The camera of one answer. `await_frames` first, then each event through `identified`."""

    def __init__(
        self,
        stream: CameraStream,
        epoch: int,
        current: Callable[[], CameraStream | None] = lambda: None,
        limitation: Callable[[CameraStream], str | None] = lambda _: None,
    ) -> None:
        """current: the camera's stream at that moment, because an update replaces it; None once it has left the shard.

        limitation: why the model is not for what this camera shows.
        """
        self._newest_stream = stream
        self._current = current
        self._epoch = epoch
        self._limitation = limitation
        self._has_warned = False
        self._noted: PictureNote | None = None  # what is wrong with the picture
        self._memory_as_of_s = 0.0

    @property
    def _stream(self) -> CameraStream:
        """The camera's stream, or the last one that it had here."""
        self._newest_stream = self._current() or self._newest_stream
        return self._newest_stream

    async def await_frames(self, newest_s: Callable[[], float | None]) -> float:
        """Waits up to 5 s for the first frames of a camera that may give some: an empty memory tells nothing.

        newest_s: the time of the newest frame in the memory. Raises NoFrames if there is none after that. -> seconds
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while newest_s() is None:
            if self._stream.state not in _COMING or loop.time() - began_s >= _FIRST_FRAMES_TIMEOUT_S:
                raise self._no_frames()
            await asyncio.sleep(_POLL_EVERY_S)
        return loop.time() - began_s

    def identified(self, event: AnswerEvent) -> AnswerEvent:
        """The event with the camera's identity and the state of its source; warns once of what is wrong with it."""
        if isinstance(event, Started):
            self._memory_as_of_s = event.memory_as_of_s
            limitation = self._limitation(self._stream)
            limits = (AnswerWarning(WarningCode.MODEL_LIMITED, limitation),) if limitation else ()
            event = dataclasses.replace(
                event, camera=self._stream.spec.name, epoch=self._epoch, warnings=event.warnings + limits
            )
        if not isinstance(event, Started | Done):
            return event
        return dataclasses.replace(
            event,
            warnings=event.warnings + self._new_warnings(),
            camera_id=self._stream.assignment.id,
            camera_state=self._stream.state,
            state_since_s=self._stream.state_since_s,
            picture=self._new_picture_warning(),
        )

    def _new_picture_warning(self) -> PictureWarning | None:
        note = self._stream.note
        if note is None or note is self._noted:
            return None
        self._noted = note
        return PictureWarning(note, f"camera {self._stream.spec.name!r}: {_PICTURE_TEXTS[note]}")

    def _no_frames(self) -> NoFrames:
        message = f"camera {self._stream.spec.name!r} has given no frame: state {self._situation()}"
        if self._stream.state in _OVER:
            return NoFrames(message)
        if self._stream.reason in NEEDS_CORRECTION:
            return NoFrames(f"{message}; a retry helps once its login, its address or the settings are corrected")
        return NoFramesYet(f"{message}; try again")

    def _new_warnings(self) -> tuple[AnswerWarning, ...]:
        if self._stream.state is CameraState.LIVE or self._has_warned:
            return ()
        self._has_warned = True
        message = (
            f"camera {self._stream.spec.name!r} is not live: state {self._situation()}; "
            f"the answer is about the time up to {utc_text(self._memory_as_of_s)}"
        )
        return (AnswerWarning(WarningCode.NOT_LIVE, message),)

    def _situation(self) -> str:
        state = self._stream.state.replace("_", " ")
        since = f"{state} since {utc_text(self._stream.state_since_s)}"
        return f"{since} ({self._stream.detail})" if self._stream.detail else since
