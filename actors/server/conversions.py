"""Converts values of this system to messages of hermes.v1 and back."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from actors.fleet.views import CameraView, ShardView
from cache_store.gap import Gap
from pipeline.answers import AnswerEvent, AnswerWarning, Done, Evidence, FinishReason, Started, Token, WarningCode
from pipeline.cameras import CameraSpec, CameraState, InvalidCamera, MemoryStatus, PlaybackSpeed, SourceReason
from pipeline.network.redaction import REDACTOR
from pipeline.sources.probe import ProbeResult
from protos import hermes_v1_pb2 as pb

_STATES = {
    CameraState.CONNECTING: pb.CAMERA_STATE_CONNECTING,
    CameraState.LIVE: pb.CAMERA_STATE_LIVE,
    CameraState.BACKING_OFF: pb.CAMERA_STATE_BACKING_OFF,
    CameraState.STALLED: pb.CAMERA_STATE_STALLED,
    CameraState.ENDED: pb.CAMERA_STATE_ENDED,
    CameraState.FAILED: pb.CAMERA_STATE_FAILED,
    CameraState.RECOVERING: pb.CAMERA_STATE_RECOVERING,
}
_PACES = {
    pb.PACE_UNSPECIFIED: PlaybackSpeed.LIVE,
    pb.PACE_LIVE: PlaybackSpeed.LIVE,
    pb.PACE_FAST: PlaybackSpeed.FAST,
}
_PACE_MESSAGES = {PlaybackSpeed.LIVE: pb.PACE_LIVE, PlaybackSpeed.FAST: pb.PACE_FAST}
_SOURCE_REASONS: dict[SourceReason | None, pb.SourceReason] = {
    reason: getattr(pb, f"SOURCE_REASON_{reason.name if reason else 'UNSPECIFIED'}") for reason in (None, *SourceReason)
}
_FINISH_REASONS = {
    FinishReason.END: pb.FINISH_REASON_END,
    FinishReason.MAX_TOKENS: pb.FINISH_REASON_MAX_TOKENS,
}
_WARNING_CODES: dict[WarningCode, pb.WarningCode] = {
    code: getattr(pb, f"WARNING_CODE_{code.name}") for code in WarningCode
}


def spec_from(request: pb.AddCameraRequest) -> CameraSpec:
    """The camera that a client wants to add. Raises InvalidCamera, InvalidMask."""
    if request.pace not in _PACES:
        raise InvalidCamera(f"camera {request.name[:80]!r}: pace {request.pace} is unknown (known: 1 live, 2 fast)")
    masks = tuple(tuple((corner.x, corner.y) for corner in mask.corners) for mask in request.masks)
    gate = request.gate if request.HasField("gate") else True
    return CameraSpec(name=request.name, url=request.url, pace=_PACES[request.pace], masks=masks, gate=gate)


def camera_message(camera: CameraView) -> pb.Camera:
    """A camera and its state."""
    spec, status = camera.spec, camera.status
    return pb.Camera(
        id=status.id,
        name=status.name,
        url=status.url,
        state=_STATES[status.state],
        detail=REDACTOR.redact(status.detail),
        shard=camera.shard_index,
        memory=_memory_message(status.memory),
        epoch=status.epoch,
        masks=[pb.Mask(corners=[pb.Point(x=x, y=y) for x, y in mask]) for mask in status.masks],
        reason=_SOURCE_REASONS[status.reason],
        gate=spec.gate,
        pace=_PACE_MESSAGES[spec.pace],
        state_since=_optional_timestamp(status.state_since_s),
    )


def probe_message(result: ProbeResult) -> pb.TestCameraResponse:
    """What a URL gives."""
    video = result.video
    return pb.TestCameraResponse(
        url=result.url,
        reason=_SOURCE_REASONS[result.reason],
        detail=REDACTOR.redact(result.detail),
        video=None
        if video is None
        else pb.Video(
            codec=video.codec,
            width=video.width,
            height=video.height,
            declared_fps=video.declared_fps,
            measured_fps=video.measured_fps,
            key_frame_interval_s=video.key_frame_interval_s,
            has_key_frames_enough=video.has_key_frames_enough,
            first_frame_ms=video.first_frame_ms,
        ),
    )


def shard_message(shard: ShardView) -> pb.Shard:
    """A shard and its state."""
    working = pb.SHARD_STATE_DRAINING if shard.is_draining else pb.SHARD_STATE_UP
    state = working if shard.is_up else pb.SHARD_STATE_AWAY
    return pb.Shard(
        index=shard.index,
        state=state,
        pid=shard.pid or 0,
        cameras=shard.cameras,
        node=shard.node,
        slots=shard.slots,
        busy_share=shard.busy_share,
    )


def event_message(event: AnswerEvent) -> pb.AskResponse:
    """One event of an answer."""
    match event:
        case Started():
            return pb.AskResponse(started=_started_message(event))
        case Token():
            return pb.AskResponse(token=pb.Token(text=event.text, index=event.index))
        case Evidence():
            return pb.AskResponse(
                evidence=pb.Evidence(
                    time=_timestamp(event.time_s), weight=event.weight, thumbnail_jpeg=event.thumbnail_jpeg
                )
            )
        case Done():
            return pb.AskResponse(done=_done_message(event))


def _started_message(event: Started) -> pb.Started:
    return pb.Started(
        answer_id=event.answer_id,
        camera=event.camera,
        memory_as_of=_timestamp(event.memory_as_of_s),
        gaps=[_gap_message(gap) for gap in event.gaps],
        warnings=_warning_messages(event.warnings),
        epoch=event.epoch,
        camera_id=event.camera_id,
        camera_state=_optional_state(event.camera_state),
        camera_state_since=_optional_timestamp(event.state_since_s),
    )


def _done_message(event: Done) -> pb.Done:
    return pb.Done(
        finish_reason=_FINISH_REASONS[event.finish_reason],
        answer=event.answer,
        question_tokens=event.question_tokens,
        answer_tokens=event.answer_tokens,
        time_to_first_token_ms=event.time_to_first_token_ms,
        warnings=_warning_messages(event.warnings),
        camera_id=event.camera_id,
        camera_state=_optional_state(event.camera_state),
        camera_state_since=_optional_timestamp(event.state_since_s),
    )


def _warning_messages(warnings: Sequence[AnswerWarning]) -> list[pb.Warning]:
    return [
        pb.Warning(code=_WARNING_CODES[warning.code], message=warning.message, words=warning.words)
        for warning in warnings
    ]


def _memory_message(memory: MemoryStatus) -> pb.MemoryStatus:
    return pb.MemoryStatus(
        frames_seen=memory.frames_seen,
        frames_dropped=memory.frames_dropped,
        compressions=memory.compactions,
        prefix_tokens=memory.prefix_tokens,
        summary_tier_tokens=memory.summary_tier_tokens,
        recent_window_tokens=memory.recent_window_tokens,
        bytes=memory.nbytes,
        thumbnails=memory.thumbnails,
        thumbnail_bytes=memory.thumbnail_nbytes,
        next_position=memory.next_position,
        oldest=_optional_timestamp(memory.oldest_s),
        newest=_optional_timestamp(memory.newest_s),
        checkpointed=_optional_timestamp(memory.checkpointed_s),
        gaps=[_gap_message(gap) for gap in memory.gaps],
    )


def _gap_message(gap: Gap) -> pb.Gap:
    return pb.Gap(start=_timestamp(gap.start_s), end=_timestamp(gap.end_s), reason=gap.reason)


def _optional_state(state: CameraState | None) -> pb.CameraState:
    return pb.CAMERA_STATE_UNSPECIFIED if state is None else _STATES[state]


def _optional_timestamp(at_s: float | None) -> Timestamp | None:
    return None if at_s is None else _timestamp(at_s)


def _timestamp(at_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(round(at_s * 1e6) * 1000)
    return stamp
