"""Converts values of this system to messages of hermes.v1."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from actors.fleet.shard_numbers import ShardNumbers
from actors.fleet.views import CameraView, DrainResult, ShardView
from actors.server import status_codes
from cache_store.gap import Gap
from pipeline.answers import (
    AnswerEvent,
    AnswerWarning,
    Done,
    Evidence,
    FinishReason,
    PictureWarning,
    Started,
    Token,
    WarningCode,
)
from pipeline.cameras import CameraState, PlaybackSpeed, Polygon, SourceReason
from pipeline.memory_status import MemoryStatus
from pipeline.network.redaction import REDACTOR
from pipeline.picture_note import PictureNote
from pipeline.sources.probe import ProbeResult
from protos import hermes_v1_pb2 as pb

STATES = {
    CameraState.CONNECTING: pb.CAMERA_STATE_CONNECTING,
    CameraState.LIVE: pb.CAMERA_STATE_LIVE,
    CameraState.BACKING_OFF: pb.CAMERA_STATE_BACKING_OFF,
    CameraState.STALLED: pb.CAMERA_STATE_STALLED,
    CameraState.ENDED: pb.CAMERA_STATE_ENDED,
    CameraState.FAILED: pb.CAMERA_STATE_FAILED,
    CameraState.RECOVERING: pb.CAMERA_STATE_RECOVERING,
    CameraState.WAITING: pb.CAMERA_STATE_WAITING,
}
_PACES = {PlaybackSpeed.LIVE: pb.PACE_LIVE, PlaybackSpeed.FAST: pb.PACE_FAST}
_SOURCE_REASONS: dict[SourceReason | None, pb.SourceReason] = {
    reason: getattr(pb, f"SOURCE_REASON_{reason.name if reason else 'UNSPECIFIED'}") for reason in (None, *SourceReason)
}
_PICTURE_NOTES: dict[PictureNote | None, pb.PictureNote] = {
    note: getattr(pb, f"PICTURE_NOTE_{note.name if note else 'UNSPECIFIED'}") for note in (None, *PictureNote)
}
_FINISH_REASONS = {
    FinishReason.END: pb.FINISH_REASON_END,
    FinishReason.MAX_TOKENS: pb.FINISH_REASON_MAX_TOKENS,
}
_WARNING_CODES: dict[WarningCode, pb.WarningCode] = {
    code: getattr(pb, f"WARNING_CODE_{code.name}") for code in WarningCode
}
_PICTURE_CODES = {note: getattr(pb, f"WARNING_CODE_{note.name}") for note in PictureNote}


def camera_message(camera: CameraView, *, is_basic: bool = False) -> pb.Camera:
    """A camera and its state; masks, gaps and authorities, which may be long, only if it is not `is_basic`."""
    spec, status = camera.spec, camera.status
    return pb.Camera(
        id=status.id,
        name=status.name,
        url=status.url,
        state=STATES[status.state],
        detail=_text(status.detail),
        shard=camera.shard_index,
        memory=_memory_message(status.memory, has_gaps=not is_basic),
        epoch=status.epoch,
        masks=[] if is_basic else [_mask_message(mask) for mask in status.masks],
        reason=_SOURCE_REASONS[status.reason],
        picture_note=_PICTURE_NOTES[status.note],
        gate=spec.gate,
        loop=spec.loop,
        frames_per_second=spec.frames_per_second,
        tls_certificate_sha256=spec.tls_certificate_sha256,
        tls_ca="" if is_basic else spec.tls_ca,
        tls_name=spec.tls_name,
        labels=spec.labels,
        pace=_PACES[spec.pace],
        state_since=optional_timestamp(status.state_since_s),
        lowered_frames_per_second=status.lowered_fps,
    )


def probe_message(result: ProbeResult) -> pb.TestCameraResponse:
    """What a URL gives."""
    video = result.video
    return pb.TestCameraResponse(
        url=result.url,
        reason=_SOURCE_REASONS[result.reason],
        detail=_text(result.detail),
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
    return pb.Shard(
        index=shard.index,
        state=_shard_state(shard),
        detail=_text(shard.detail),
        pid=shard.pid or 0,
        cameras=shard.cameras,
        node=shard.node,
        slots=shard.slots,
        busy_share=shard.busy_share,
        ingest_share=shard.ingest_share,
        max_ingest_share=shard.max_ingest_share,
        is_spare=shard.is_spare,
        resident_bytes=shard.resident_nbytes,
        device_bytes=shard.device_nbytes,
    )


def numbers_message(numbers: ShardNumbers) -> pb.ShardNumbers:
    """How many shards there shall be."""
    return pb.ShardNumbers(
        min=numbers.min,
        max=numbers.max,
        spares=numbers.spares,
        target=numbers.target,
        reason=_text(numbers.reason),
        settings_version=numbers.version,
    )


def drain_message(result: DrainResult) -> pb.DrainShardResponse:
    """A drained shard, and why cameras stayed on it."""
    stayed = [pb.CameraNotMoved(name=name, reason=_text(reason)) for name, reason in result.not_moved]
    return pb.DrainShardResponse(shard=shard_message(result.shard), not_moved=stayed)


def _shard_state(shard: ShardView) -> pb.ShardState:
    if shard.is_failed:
        return pb.SHARD_STATE_FAILED
    if not shard.is_up:
        return pb.SHARD_STATE_STARTING if shard.is_starting else pb.SHARD_STATE_AWAY
    return pb.SHARD_STATE_DRAINING if shard.is_draining else pb.SHARD_STATE_UP


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
        warnings=_warning_messages(event.warnings, event.picture),
        epoch=event.epoch,
        camera_id=event.camera_id,
        camera_state=_optional_state(event.camera_state),
        camera_state_since=optional_timestamp(event.state_since_s),
    )


def _done_message(event: Done) -> pb.Done:
    return pb.Done(
        finish_reason=_FINISH_REASONS[event.finish_reason],
        answer=event.answer,
        question_tokens=event.question_tokens,
        answer_tokens=event.answer_tokens,
        time_to_first_token_ms=event.time_to_first_token_ms,
        warnings=_warning_messages(event.warnings, event.picture),
        camera_id=event.camera_id,
        camera_state=_optional_state(event.camera_state),
        camera_state_since=optional_timestamp(event.state_since_s),
    )


def _warning_messages(warnings: Sequence[AnswerWarning], picture: PictureWarning | None) -> list[pb.Warning]:
    messages = [pb.Warning(code=_WARNING_CODES[one.code], message=one.message, words=one.words) for one in warnings]
    return messages + ([pb.Warning(code=_PICTURE_CODES[picture.note], message=picture.message)] if picture else [])


def _mask_message(mask: Polygon) -> pb.Mask:
    return pb.Mask(corners=[pb.Point(x=x, y=y) for x, y in mask])


def _memory_message(memory: MemoryStatus, *, has_gaps: bool) -> pb.MemoryStatus:
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
        oldest=optional_timestamp(memory.oldest_s),
        newest=optional_timestamp(memory.newest_s),
        checkpointed=optional_timestamp(memory.checkpointed_s),
        gaps=[_gap_message(gap) for gap in memory.gaps] if has_gaps else [],
    )


def _gap_message(gap: Gap) -> pb.Gap:
    return pb.Gap(start=_timestamp(gap.start_s), end=_timestamp(gap.end_s), reason=gap.reason)


def _text(text: str) -> str:
    """A text for people without secrets, of bounded length: it may hold what a camera or a library said."""
    return status_codes.shortened(REDACTOR.redact(text))


def _optional_state(state: CameraState | None) -> pb.CameraState:
    return pb.CAMERA_STATE_UNSPECIFIED if state is None else STATES[state]


def optional_timestamp(at_s: float | None) -> Timestamp | None:
    return None if at_s is None else _timestamp(at_s)


def _timestamp(at_s: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(round(at_s * 1e6) * 1000)
    return stamp
