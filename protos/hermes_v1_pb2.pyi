import datetime

from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WarningCode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WARNING_CODE_UNSPECIFIED: _ClassVar[WarningCode]
    WARNING_CODE_UNKNOWN_WORDS: _ClassVar[WarningCode]
    WARNING_CODE_NOT_LIVE: _ClassVar[WarningCode]
    WARNING_CODE_MODEL_LIMITED: _ClassVar[WarningCode]
    WARNING_CODE_PICTURE_BLACK: _ClassVar[WarningCode]
    WARNING_CODE_PICTURE_FROZEN: _ClassVar[WarningCode]
    WARNING_CODE_SCENE_CHANGED: _ClassVar[WarningCode]

class FinishReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FINISH_REASON_UNSPECIFIED: _ClassVar[FinishReason]
    FINISH_REASON_END: _ClassVar[FinishReason]
    FINISH_REASON_MAX_TOKENS: _ClassVar[FinishReason]

class SourceReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SOURCE_REASON_UNSPECIFIED: _ClassVar[SourceReason]
    SOURCE_REASON_UNKNOWN: _ClassVar[SourceReason]
    SOURCE_REASON_NO_ADDRESS: _ClassVar[SourceReason]
    SOURCE_REASON_ADDRESS_REFUSED: _ClassVar[SourceReason]
    SOURCE_REASON_FILE_REFUSED: _ClassVar[SourceReason]
    SOURCE_REASON_NO_FILE: _ClassVar[SourceReason]
    SOURCE_REASON_CONNECTION_REFUSED: _ClassVar[SourceReason]
    SOURCE_REASON_NO_ANSWER: _ClassVar[SourceReason]
    SOURCE_REASON_TLS: _ClassVar[SourceReason]
    SOURCE_REASON_UNAUTHORIZED: _ClassVar[SourceReason]
    SOURCE_REASON_FORBIDDEN: _ClassVar[SourceReason]
    SOURCE_REASON_NOT_FOUND: _ClassVar[SourceReason]
    SOURCE_REASON_REDIRECTED: _ClassVar[SourceReason]
    SOURCE_REASON_SERVER_ERROR: _ClassVar[SourceReason]
    SOURCE_REASON_NOT_VIDEO: _ClassVar[SourceReason]
    SOURCE_REASON_AUDIO_ONLY: _ClassVar[SourceReason]
    SOURCE_REASON_NO_PICTURES: _ClassVar[SourceReason]
    SOURCE_REASON_NO_DECODER: _ClassVar[SourceReason]
    SOURCE_REASON_NO_KEY_FRAME: _ClassVar[SourceReason]
    SOURCE_REASON_TOO_LARGE: _ClassVar[SourceReason]
    SOURCE_REASON_BROKE_OFF: _ClassVar[SourceReason]
    SOURCE_REASON_DECODER_CRASHED: _ClassVar[SourceReason]

class PictureNote(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PICTURE_NOTE_UNSPECIFIED: _ClassVar[PictureNote]
    PICTURE_NOTE_PICTURE_BLACK: _ClassVar[PictureNote]
    PICTURE_NOTE_PICTURE_FROZEN: _ClassVar[PictureNote]
    PICTURE_NOTE_SCENE_CHANGED: _ClassVar[PictureNote]

class CameraState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMERA_STATE_UNSPECIFIED: _ClassVar[CameraState]
    CAMERA_STATE_CONNECTING: _ClassVar[CameraState]
    CAMERA_STATE_LIVE: _ClassVar[CameraState]
    CAMERA_STATE_STALLED: _ClassVar[CameraState]
    CAMERA_STATE_ENDED: _ClassVar[CameraState]
    CAMERA_STATE_FAILED: _ClassVar[CameraState]
    CAMERA_STATE_RECOVERING: _ClassVar[CameraState]
    CAMERA_STATE_BACKING_OFF: _ClassVar[CameraState]
    CAMERA_STATE_WAITING: _ClassVar[CameraState]

class Pace(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACE_UNSPECIFIED: _ClassVar[Pace]
    PACE_LIVE: _ClassVar[Pace]
    PACE_FAST: _ClassVar[Pace]

class CameraView(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CAMERA_VIEW_UNSPECIFIED: _ClassVar[CameraView]
    CAMERA_VIEW_BASIC: _ClassVar[CameraView]
    CAMERA_VIEW_FULL: _ClassVar[CameraView]

class ShardState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SHARD_STATE_UNSPECIFIED: _ClassVar[ShardState]
    SHARD_STATE_UP: _ClassVar[ShardState]
    SHARD_STATE_AWAY: _ClassVar[ShardState]
    SHARD_STATE_DRAINING: _ClassVar[ShardState]
    SHARD_STATE_FAILED: _ClassVar[ShardState]
    SHARD_STATE_STARTING: _ClassVar[ShardState]
WARNING_CODE_UNSPECIFIED: WarningCode
WARNING_CODE_UNKNOWN_WORDS: WarningCode
WARNING_CODE_NOT_LIVE: WarningCode
WARNING_CODE_MODEL_LIMITED: WarningCode
WARNING_CODE_PICTURE_BLACK: WarningCode
WARNING_CODE_PICTURE_FROZEN: WarningCode
WARNING_CODE_SCENE_CHANGED: WarningCode
FINISH_REASON_UNSPECIFIED: FinishReason
FINISH_REASON_END: FinishReason
FINISH_REASON_MAX_TOKENS: FinishReason
SOURCE_REASON_UNSPECIFIED: SourceReason
SOURCE_REASON_UNKNOWN: SourceReason
SOURCE_REASON_NO_ADDRESS: SourceReason
SOURCE_REASON_ADDRESS_REFUSED: SourceReason
SOURCE_REASON_FILE_REFUSED: SourceReason
SOURCE_REASON_NO_FILE: SourceReason
SOURCE_REASON_CONNECTION_REFUSED: SourceReason
SOURCE_REASON_NO_ANSWER: SourceReason
SOURCE_REASON_TLS: SourceReason
SOURCE_REASON_UNAUTHORIZED: SourceReason
SOURCE_REASON_FORBIDDEN: SourceReason
SOURCE_REASON_NOT_FOUND: SourceReason
SOURCE_REASON_REDIRECTED: SourceReason
SOURCE_REASON_SERVER_ERROR: SourceReason
SOURCE_REASON_NOT_VIDEO: SourceReason
SOURCE_REASON_AUDIO_ONLY: SourceReason
SOURCE_REASON_NO_PICTURES: SourceReason
SOURCE_REASON_NO_DECODER: SourceReason
SOURCE_REASON_NO_KEY_FRAME: SourceReason
SOURCE_REASON_TOO_LARGE: SourceReason
SOURCE_REASON_BROKE_OFF: SourceReason
SOURCE_REASON_DECODER_CRASHED: SourceReason
PICTURE_NOTE_UNSPECIFIED: PictureNote
PICTURE_NOTE_PICTURE_BLACK: PictureNote
PICTURE_NOTE_PICTURE_FROZEN: PictureNote
PICTURE_NOTE_SCENE_CHANGED: PictureNote
CAMERA_STATE_UNSPECIFIED: CameraState
CAMERA_STATE_CONNECTING: CameraState
CAMERA_STATE_LIVE: CameraState
CAMERA_STATE_STALLED: CameraState
CAMERA_STATE_ENDED: CameraState
CAMERA_STATE_FAILED: CameraState
CAMERA_STATE_RECOVERING: CameraState
CAMERA_STATE_BACKING_OFF: CameraState
CAMERA_STATE_WAITING: CameraState
PACE_UNSPECIFIED: Pace
PACE_LIVE: Pace
PACE_FAST: Pace
CAMERA_VIEW_UNSPECIFIED: CameraView
CAMERA_VIEW_BASIC: CameraView
CAMERA_VIEW_FULL: CameraView
SHARD_STATE_UNSPECIFIED: ShardState
SHARD_STATE_UP: ShardState
SHARD_STATE_AWAY: ShardState
SHARD_STATE_DRAINING: ShardState
SHARD_STATE_FAILED: ShardState
SHARD_STATE_STARTING: ShardState

class AskRequest(_message.Message):
    __slots__ = ("camera", "question", "max_answer_tokens")
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    MAX_ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    camera: str
    question: str
    max_answer_tokens: int
    def __init__(self, camera: _Optional[str] = ..., question: _Optional[str] = ..., max_answer_tokens: _Optional[int] = ...) -> None: ...

class AskResponse(_message.Message):
    __slots__ = ("started", "token", "evidence", "done")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    started: Started
    token: Token
    evidence: Evidence
    done: Done
    def __init__(self, started: _Optional[_Union[Started, _Mapping]] = ..., token: _Optional[_Union[Token, _Mapping]] = ..., evidence: _Optional[_Union[Evidence, _Mapping]] = ..., done: _Optional[_Union[Done, _Mapping]] = ...) -> None: ...

class Started(_message.Message):
    __slots__ = ("answer_id", "camera", "memory_as_of", "gaps", "warnings", "epoch", "camera_id", "camera_state", "camera_state_since")
    ANSWER_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    MEMORY_AS_OF_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_STATE_FIELD_NUMBER: _ClassVar[int]
    CAMERA_STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    answer_id: str
    camera: str
    memory_as_of: _timestamp_pb2.Timestamp
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    epoch: int
    camera_id: str
    camera_state: CameraState
    camera_state_since: _timestamp_pb2.Timestamp
    def __init__(self, answer_id: _Optional[str] = ..., camera: _Optional[str] = ..., memory_as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ..., epoch: _Optional[int] = ..., camera_id: _Optional[str] = ..., camera_state: _Optional[_Union[CameraState, str]] = ..., camera_state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("start", "end", "reason")
    START_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    start: _timestamp_pb2.Timestamp
    end: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Warning(_message.Message):
    __slots__ = ("code", "message", "words")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    code: WarningCode
    message: str
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, code: _Optional[_Union[WarningCode, str]] = ..., message: _Optional[str] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class Token(_message.Message):
    __slots__ = ("text", "index")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    text: str
    index: int
    def __init__(self, text: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("time", "weight", "thumbnail_jpeg")
    TIME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_JPEG_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    weight: float
    thumbnail_jpeg: bytes
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., weight: _Optional[float] = ..., thumbnail_jpeg: _Optional[bytes] = ...) -> None: ...

class Done(_message.Message):
    __slots__ = ("finish_reason", "answer", "question_tokens", "answer_tokens", "time_to_first_token_ms", "camera_id", "camera_state", "camera_state_since", "warnings")
    FINISH_REASON_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    QUESTION_TOKENS_FIELD_NUMBER: _ClassVar[int]
    ANSWER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_MS_FIELD_NUMBER: _ClassVar[int]
    CAMERA_ID_FIELD_NUMBER: _ClassVar[int]
    CAMERA_STATE_FIELD_NUMBER: _ClassVar[int]
    CAMERA_STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    finish_reason: FinishReason
    answer: str
    question_tokens: int
    answer_tokens: int
    time_to_first_token_ms: float
    camera_id: str
    camera_state: CameraState
    camera_state_since: _timestamp_pb2.Timestamp
    warnings: _containers.RepeatedCompositeFieldContainer[Warning]
    def __init__(self, finish_reason: _Optional[_Union[FinishReason, str]] = ..., answer: _Optional[str] = ..., question_tokens: _Optional[int] = ..., answer_tokens: _Optional[int] = ..., time_to_first_token_ms: _Optional[float] = ..., camera_id: _Optional[str] = ..., camera_state: _Optional[_Union[CameraState, str]] = ..., camera_state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., warnings: _Optional[_Iterable[_Union[Warning, _Mapping]]] = ...) -> None: ...

class Camera(_message.Message):
    __slots__ = ("name", "url", "state", "detail", "shard", "memory", "epoch", "reason", "masks", "id", "labels", "frames_per_second", "loop", "gate", "pace", "state_since", "tls_certificate_sha256", "tls_ca", "tls_name", "lowered_frames_per_second", "picture_note")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    STATE_SINCE_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    TLS_CA_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    LOWERED_FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    PICTURE_NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    url: str
    state: CameraState
    detail: str
    shard: int
    memory: MemoryStatus
    epoch: int
    reason: SourceReason
    masks: _containers.RepeatedCompositeFieldContainer[Mask]
    id: str
    labels: _containers.ScalarMap[str, str]
    frames_per_second: float
    loop: bool
    gate: bool
    pace: Pace
    state_since: _timestamp_pb2.Timestamp
    tls_certificate_sha256: str
    tls_ca: str
    tls_name: str
    lowered_frames_per_second: float
    picture_note: PictureNote
    def __init__(self, name: _Optional[str] = ..., url: _Optional[str] = ..., state: _Optional[_Union[CameraState, str]] = ..., detail: _Optional[str] = ..., shard: _Optional[int] = ..., memory: _Optional[_Union[MemoryStatus, _Mapping]] = ..., epoch: _Optional[int] = ..., reason: _Optional[_Union[SourceReason, str]] = ..., masks: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., id: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., frames_per_second: _Optional[float] = ..., loop: _Optional[bool] = ..., gate: _Optional[bool] = ..., pace: _Optional[_Union[Pace, str]] = ..., state_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., tls_certificate_sha256: _Optional[str] = ..., tls_ca: _Optional[str] = ..., tls_name: _Optional[str] = ..., lowered_frames_per_second: _Optional[float] = ..., picture_note: _Optional[_Union[PictureNote, str]] = ...) -> None: ...

class Mask(_message.Message):
    __slots__ = ("corners",)
    CORNERS_FIELD_NUMBER: _ClassVar[int]
    corners: _containers.RepeatedCompositeFieldContainer[Point]
    def __init__(self, corners: _Optional[_Iterable[_Union[Point, _Mapping]]] = ...) -> None: ...

class Point(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class MemoryStatus(_message.Message):
    __slots__ = ("frames_seen", "frames_dropped", "compressions", "prefix_tokens", "summary_tier_tokens", "recent_window_tokens", "bytes", "thumbnails", "thumbnail_bytes", "next_position", "oldest", "newest", "checkpointed", "gaps")
    FRAMES_SEEN_FIELD_NUMBER: _ClassVar[int]
    FRAMES_DROPPED_FIELD_NUMBER: _ClassVar[int]
    COMPRESSIONS_FIELD_NUMBER: _ClassVar[int]
    PREFIX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_TIER_TOKENS_FIELD_NUMBER: _ClassVar[int]
    RECENT_WINDOW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    THUMBNAILS_FIELD_NUMBER: _ClassVar[int]
    THUMBNAIL_BYTES_FIELD_NUMBER: _ClassVar[int]
    NEXT_POSITION_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINTED_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    frames_seen: int
    frames_dropped: int
    compressions: int
    prefix_tokens: int
    summary_tier_tokens: int
    recent_window_tokens: int
    bytes: int
    thumbnails: int
    thumbnail_bytes: int
    next_position: int
    oldest: _timestamp_pb2.Timestamp
    newest: _timestamp_pb2.Timestamp
    checkpointed: _timestamp_pb2.Timestamp
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    def __init__(self, frames_seen: _Optional[int] = ..., frames_dropped: _Optional[int] = ..., compressions: _Optional[int] = ..., prefix_tokens: _Optional[int] = ..., summary_tier_tokens: _Optional[int] = ..., recent_window_tokens: _Optional[int] = ..., bytes: _Optional[int] = ..., thumbnails: _Optional[int] = ..., thumbnail_bytes: _Optional[int] = ..., next_position: _Optional[int] = ..., oldest: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., newest: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., checkpointed: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ...) -> None: ...

class AddCameraRequest(_message.Message):
    __slots__ = ("name", "url", "pace", "gate", "masks", "loop", "frames_per_second", "labels", "tls_certificate_sha256", "tls_ca", "tls_name")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    PACE_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    LOOP_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    TLS_CA_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    url: str
    pace: Pace
    gate: bool
    masks: _containers.RepeatedCompositeFieldContainer[Mask]
    loop: bool
    frames_per_second: float
    labels: _containers.ScalarMap[str, str]
    tls_certificate_sha256: str
    tls_ca: str
    tls_name: str
    def __init__(self, name: _Optional[str] = ..., url: _Optional[str] = ..., pace: _Optional[_Union[Pace, str]] = ..., gate: _Optional[bool] = ..., masks: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., loop: _Optional[bool] = ..., frames_per_second: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., tls_certificate_sha256: _Optional[str] = ..., tls_ca: _Optional[str] = ..., tls_name: _Optional[str] = ...) -> None: ...

class AddCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: Camera
    def __init__(self, camera: _Optional[_Union[Camera, _Mapping]] = ...) -> None: ...

class UpdateCameraRequest(_message.Message):
    __slots__ = ("name", "update_mask", "url", "masks", "gate", "frames_per_second", "labels", "allow_memory_loss", "tls_certificate_sha256", "tls_ca", "tls_name")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    MASKS_FIELD_NUMBER: _ClassVar[int]
    GATE_FIELD_NUMBER: _ClassVar[int]
    FRAMES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_MEMORY_LOSS_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    TLS_CA_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    update_mask: _field_mask_pb2.FieldMask
    url: str
    masks: _containers.RepeatedCompositeFieldContainer[Mask]
    gate: bool
    frames_per_second: float
    labels: _containers.ScalarMap[str, str]
    allow_memory_loss: bool
    tls_certificate_sha256: str
    tls_ca: str
    tls_name: str
    def __init__(self, name: _Optional[str] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., url: _Optional[str] = ..., masks: _Optional[_Iterable[_Union[Mask, _Mapping]]] = ..., gate: _Optional[bool] = ..., frames_per_second: _Optional[float] = ..., labels: _Optional[_Mapping[str, str]] = ..., allow_memory_loss: _Optional[bool] = ..., tls_certificate_sha256: _Optional[str] = ..., tls_ca: _Optional[str] = ..., tls_name: _Optional[str] = ...) -> None: ...

class UpdateCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: Camera
    def __init__(self, camera: _Optional[_Union[Camera, _Mapping]] = ...) -> None: ...

class EraseMemoryRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class EraseMemoryResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: Camera
    def __init__(self, camera: _Optional[_Union[Camera, _Mapping]] = ...) -> None: ...

class TestCameraRequest(_message.Message):
    __slots__ = ("url", "tls_certificate_sha256", "tls_ca", "tls_name")
    URL_FIELD_NUMBER: _ClassVar[int]
    TLS_CERTIFICATE_SHA256_FIELD_NUMBER: _ClassVar[int]
    TLS_CA_FIELD_NUMBER: _ClassVar[int]
    TLS_NAME_FIELD_NUMBER: _ClassVar[int]
    url: str
    tls_certificate_sha256: str
    tls_ca: str
    tls_name: str
    def __init__(self, url: _Optional[str] = ..., tls_certificate_sha256: _Optional[str] = ..., tls_ca: _Optional[str] = ..., tls_name: _Optional[str] = ...) -> None: ...

class TestCameraResponse(_message.Message):
    __slots__ = ("url", "reason", "detail", "video")
    URL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    VIDEO_FIELD_NUMBER: _ClassVar[int]
    url: str
    reason: SourceReason
    detail: str
    video: Video
    def __init__(self, url: _Optional[str] = ..., reason: _Optional[_Union[SourceReason, str]] = ..., detail: _Optional[str] = ..., video: _Optional[_Union[Video, _Mapping]] = ...) -> None: ...

class Video(_message.Message):
    __slots__ = ("codec", "width", "height", "declared_fps", "measured_fps", "key_frame_interval_s", "has_key_frames_enough", "first_frame_ms")
    CODEC_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    DECLARED_FPS_FIELD_NUMBER: _ClassVar[int]
    MEASURED_FPS_FIELD_NUMBER: _ClassVar[int]
    KEY_FRAME_INTERVAL_S_FIELD_NUMBER: _ClassVar[int]
    HAS_KEY_FRAMES_ENOUGH_FIELD_NUMBER: _ClassVar[int]
    FIRST_FRAME_MS_FIELD_NUMBER: _ClassVar[int]
    codec: str
    width: int
    height: int
    declared_fps: float
    measured_fps: float
    key_frame_interval_s: float
    has_key_frames_enough: bool
    first_frame_ms: float
    def __init__(self, codec: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., declared_fps: _Optional[float] = ..., measured_fps: _Optional[float] = ..., key_frame_interval_s: _Optional[float] = ..., has_key_frames_enough: _Optional[bool] = ..., first_frame_ms: _Optional[float] = ...) -> None: ...

class GetCameraRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: Camera
    def __init__(self, camera: _Optional[_Union[Camera, _Mapping]] = ...) -> None: ...

class ListCamerasRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "name_prefix", "states", "shard", "labels", "view")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAME_PREFIX_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    SHARD_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    name_prefix: str
    states: _containers.RepeatedScalarFieldContainer[CameraState]
    shard: int
    labels: _containers.ScalarMap[str, str]
    view: CameraView
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., name_prefix: _Optional[str] = ..., states: _Optional[_Iterable[_Union[CameraState, str]]] = ..., shard: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., view: _Optional[_Union[CameraView, str]] = ...) -> None: ...

class ListCamerasResponse(_message.Message):
    __slots__ = ("cameras", "next_page_token", "total_size", "store_away_since")
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_SIZE_FIELD_NUMBER: _ClassVar[int]
    STORE_AWAY_SINCE_FIELD_NUMBER: _ClassVar[int]
    cameras: _containers.RepeatedCompositeFieldContainer[Camera]
    next_page_token: str
    total_size: int
    store_away_since: _timestamp_pb2.Timestamp
    def __init__(self, cameras: _Optional[_Iterable[_Union[Camera, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_size: _Optional[int] = ..., store_away_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RemoveCameraRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveCameraResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Shard(_message.Message):
    __slots__ = ("index", "state", "pid", "cameras", "node", "slots", "busy_share", "detail", "is_spare", "resident_bytes", "device_bytes", "ingest_share", "max_ingest_share")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    CAMERAS_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BUSY_SHARE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    IS_SPARE_FIELD_NUMBER: _ClassVar[int]
    RESIDENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    DEVICE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INGEST_SHARE_FIELD_NUMBER: _ClassVar[int]
    MAX_INGEST_SHARE_FIELD_NUMBER: _ClassVar[int]
    index: int
    state: ShardState
    pid: int
    cameras: _containers.RepeatedScalarFieldContainer[str]
    node: str
    slots: int
    busy_share: float
    detail: str
    is_spare: bool
    resident_bytes: int
    device_bytes: int
    ingest_share: float
    max_ingest_share: float
    def __init__(self, index: _Optional[int] = ..., state: _Optional[_Union[ShardState, str]] = ..., pid: _Optional[int] = ..., cameras: _Optional[_Iterable[str]] = ..., node: _Optional[str] = ..., slots: _Optional[int] = ..., busy_share: _Optional[float] = ..., detail: _Optional[str] = ..., is_spare: _Optional[bool] = ..., resident_bytes: _Optional[int] = ..., device_bytes: _Optional[int] = ..., ingest_share: _Optional[float] = ..., max_ingest_share: _Optional[float] = ...) -> None: ...

class ListShardsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListShardsResponse(_message.Message):
    __slots__ = ("shards", "headroom", "numbers", "store_away_since")
    SHARDS_FIELD_NUMBER: _ClassVar[int]
    HEADROOM_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    STORE_AWAY_SINCE_FIELD_NUMBER: _ClassVar[int]
    shards: _containers.RepeatedCompositeFieldContainer[Shard]
    headroom: int
    numbers: ShardNumbers
    store_away_since: _timestamp_pb2.Timestamp
    def __init__(self, shards: _Optional[_Iterable[_Union[Shard, _Mapping]]] = ..., headroom: _Optional[int] = ..., numbers: _Optional[_Union[ShardNumbers, _Mapping]] = ..., store_away_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ShardNumbers(_message.Message):
    __slots__ = ("min", "max", "spares", "target", "reason", "settings_version")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    SPARES_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_VERSION_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    spares: int
    target: int
    reason: str
    settings_version: int
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ..., spares: _Optional[int] = ..., target: _Optional[int] = ..., reason: _Optional[str] = ..., settings_version: _Optional[int] = ...) -> None: ...

class MigrateCameraRequest(_message.Message):
    __slots__ = ("name", "to_shard")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TO_SHARD_FIELD_NUMBER: _ClassVar[int]
    name: str
    to_shard: int
    def __init__(self, name: _Optional[str] = ..., to_shard: _Optional[int] = ...) -> None: ...

class MigrateCameraResponse(_message.Message):
    __slots__ = ("camera",)
    CAMERA_FIELD_NUMBER: _ClassVar[int]
    camera: Camera
    def __init__(self, camera: _Optional[_Union[Camera, _Mapping]] = ...) -> None: ...

class DrainShardRequest(_message.Message):
    __slots__ = ("shard", "force")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    shard: int
    force: bool
    def __init__(self, shard: _Optional[int] = ..., force: _Optional[bool] = ...) -> None: ...

class DrainShardResponse(_message.Message):
    __slots__ = ("shard", "not_moved")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    NOT_MOVED_FIELD_NUMBER: _ClassVar[int]
    shard: Shard
    not_moved: _containers.RepeatedCompositeFieldContainer[CameraNotMoved]
    def __init__(self, shard: _Optional[_Union[Shard, _Mapping]] = ..., not_moved: _Optional[_Iterable[_Union[CameraNotMoved, _Mapping]]] = ...) -> None: ...

class CameraNotMoved(_message.Message):
    __slots__ = ("name", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    reason: str
    def __init__(self, name: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class UndrainShardRequest(_message.Message):
    __slots__ = ("shard",)
    SHARD_FIELD_NUMBER: _ClassVar[int]
    shard: int
    def __init__(self, shard: _Optional[int] = ...) -> None: ...

class UndrainShardResponse(_message.Message):
    __slots__ = ("shard",)
    SHARD_FIELD_NUMBER: _ClassVar[int]
    shard: Shard
    def __init__(self, shard: _Optional[_Union[Shard, _Mapping]] = ...) -> None: ...

class ScaleShardsRequest(_message.Message):
    __slots__ = ("min", "max")
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    min: int
    max: int
    def __init__(self, min: _Optional[int] = ..., max: _Optional[int] = ...) -> None: ...

class ScaleShardsResponse(_message.Message):
    __slots__ = ("numbers",)
    NUMBERS_FIELD_NUMBER: _ClassVar[int]
    numbers: ShardNumbers
    def __init__(self, numbers: _Optional[_Union[ShardNumbers, _Mapping]] = ...) -> None: ...
