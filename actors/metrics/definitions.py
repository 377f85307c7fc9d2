"""The metrics of the fleet: name, kind, labels and meaning of each, and where its values come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from actors.fleet.figures import SHARD_STATES, CameraFigures, FleetFigures, ShardFigures
from actors.shard.shard_counts import HistogramCounts
from pipeline.cameras import CameraState
from pipeline.picture_note import PictureNote

Sample = tuple[tuple[str, ...], float | HistogramCounts]
Samples = Iterable[Sample]


class Kind(StrEnum):
    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """name: without the suffix `_total` of a counter. samples: the values of its labels, with its value, at a time."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    samples: Callable[[FleetFigures, float], Samples]


def _of_shards(value: Callable[[ShardFigures], float | HistogramCounts]) -> Callable[[FleetFigures, float], Samples]:
    return lambda fleet, _: (((str(shard.index),), value(shard)) for shard in fleet.shards)


def _of_shards_up(value: Callable[[ShardFigures], float]) -> Callable[[FleetFigures, float], Samples]:
    """What is so now, which nobody knows of a shard that does not answer."""
    return lambda fleet, _: (((str(shard.index),), value(shard)) for shard in fleet.shards if shard.is_up)


def _of_results(
    values: Callable[[ShardFigures], Mapping[str, float] | Mapping[str, int]],
) -> Callable[[FleetFigures, float], Samples]:
    return lambda fleet, _: (
        ((str(shard.index), result), value) for shard in fleet.shards for result, value in values(shard).items()
    )


def _by_state(states: Iterable[str], found: Iterable[str]) -> Samples:
    """How many are in each state, 0 for a state that none is in."""
    counts = Counter(found)
    return (((str(state),), counts[state]) for state in states)


def _oldest(
    age_s: Callable[[CameraFigures, float], float | None],
) -> Callable[[FleetFigures, float], Samples]:
    """Of each shard the greatest age among its cameras, 0 without one."""

    def samples(fleet: FleetFigures, now_s: float) -> Samples:
        oldest = dict.fromkeys((shard.index for shard in fleet.shards), 0.0)
        for camera in fleet.cameras:
            oldest[camera.shard] = max(oldest.get(camera.shard, 0.0), age_s(camera, now_s) or 0.0)
        return (((str(index),), value) for index, value in oldest.items())

    return samples


def _of_cameras(
    value: Callable[[CameraFigures, float], float | None],
) -> Callable[[FleetFigures, float], Samples]:
    return lambda fleet, now_s: (
        ((camera.name,), found) for camera in fleet.cameras if (found := value(camera, now_s)) is not None
    )


def _lag_s(camera: CameraFigures, now_s: float) -> float | None:
    if camera.state is not CameraState.LIVE or camera.newest_s is None:
        return None
    return max(0.0, now_s - camera.newest_s)  # the clock may have been set back


def _checkpoint_age_s(camera: CameraFigures, now_s: float) -> float | None:
    """None where there is nothing to save: on no shard, or without a frame so far."""
    if not camera.is_on_shard or (camera.newest_s is None and camera.checkpointed_s is None):
        return None
    return max(0.0, now_s - (camera.checkpointed_s or camera.started_s))


# Of a router with router.tls: name and meaning.
CERTIFICATE_EXPIRY = (
    "hermes_certificate_expiry_timestamp_seconds",
    "With router.tls: when the server's certificate in use ends, or one that it is signed with, in Unix time.",
)

_SHARD = ("shard",)
_G, _C, _H = Kind.GAUGE, Kind.COUNTER, Kind.HISTOGRAM

# One router alone reports these, the leader: all see the same shards, and sums must not count them once for each.
# While the store is away nobody can prove to lead; then the last leader goes on.
OF_THE_FLEET = (
    Metric("hermes_cameras", _G, ("state",), "Cameras by state.",
           lambda fleet, _: _by_state(CameraState, (camera.state for camera in fleet.cameras))),
    Metric("hermes_cameras_noted", _G, ("note",), "Live cameras whose picture has a note, by note.",
           lambda fleet, _: _by_state(PictureNote, (camera.note for camera in fleet.cameras if camera.note))),
    Metric("hermes_shards", _G, ("state",), "Shards by state: starting, up, draining or down.",
           lambda fleet, _: _by_state(SHARD_STATES, (shard.state for shard in fleet.shards))),
    Metric("hermes_slots", _G, _SHARD, "Cameras that fit on the shard; 0 while it takes none.",
           _of_shards(lambda one: one.slots)),
    Metric("hermes_slots_used", _G, _SHARD, "Cameras that are on the shard or wait for it.",
           _of_shards(lambda one: one.num_cameras)),
    Metric("hermes_headroom_cameras", _G, (), "Cameras that could still be added if the fullest shard were lost.",
           lambda fleet, _: (((), fleet.headroom),)),
    Metric("hermes_shard_busy_ratio", _G, _SHARD, "Share of the last seconds in which the device worked.",
           _of_shards_up(lambda one: one.busy_share)),
    Metric("hermes_questions_waiting", _G, _SHARD, "Questions that wait for the device.",
           _of_shards_up(lambda one: one.counts.questions.waiting)),
    Metric("hermes_questions_running", _G, _SHARD, "Questions that are being answered.",
           _of_shards_up(lambda one: one.counts.questions.running)),
    Metric("hermes_question_wait_seconds", _H, _SHARD, "From a question's arrival at its shard to its prefill.",
           _of_shards(lambda one: one.counts.questions.wait_s)),
    Metric("hermes_prefill_seconds", _H, _SHARD, "From the beginning of a question's prefill to its first token.",
           _of_shards(lambda one: one.counts.questions.prefill_s)),
    Metric("hermes_memory_lag_seconds", _G, _SHARD,
           "Age of the newest frame in the memory, of the live camera where it is oldest.", _oldest(_lag_s)),
    Metric("hermes_checkpoint_age_seconds", _G, _SHARD,
           "Age of the newest checkpoint, of the watched camera where it is oldest; without one, since it was added.",
           _oldest(_checkpoint_age_s)),
    Metric("hermes_frames_read", _C, _SHARD, "Frames that are in a memory or were skipped as unchanged.",
           _of_shards(lambda one: one.counts.frames.read)),
    Metric("hermes_frames_dropped", _C, ("shard", "state"), "Sampled frames that were lost, by the camera's state.",
           _of_results(lambda one: one.counts.frames.dropped)),
    Metric("hermes_gaps", _C, ("shard", "reason"), "Times without frames in a memory that have ended, by reason.",
           _of_results(lambda one: one.counts.frames.gaps)),
    Metric("hermes_gap_seconds", _C, ("shard", "reason"), "Length of all gaps that have ended, by reason.",
           _of_results(lambda one: one.counts.frames.gap_s)),
    Metric("hermes_tokens_read", _C, _SHARD, "Tokens of frames that were appended to a memory, in one layer.",
           _of_shards(lambda one: one.counts.frames.tokens_read)),
    Metric("hermes_tokens_skipped", _C, _SHARD, "Tokens of frames that the gate left out, in one layer.",
           _of_shards(lambda one: one.counts.frames.tokens_skipped)),
    Metric("hermes_compactions", _C, _SHARD, "Compactions of a memory.",
           _of_shards(lambda one: one.counts.frames.compactions)),
    Metric("hermes_ingest_seconds", _C, _SHARD, "Device time spent on frames, upkeep included.",
           _of_shards(lambda one: one.counts.frames.ingest_s)),
    Metric("hermes_upkeep_seconds", _C, _SHARD, "Device time spent on scoring and compaction.",
           _of_shards(lambda one: one.counts.frames.upkeep_s)),
    Metric("hermes_checkpoints", _C, ("shard", "result"), "Checkpoints by result: saved, failed or fenced.",
           _of_results(lambda one: one.counts.checkpoints)),
    Metric("hermes_restores", _C, ("shard", "result"),
           "Cameras that a shard took, by their memory: restored, new, empty (the store had none) or unreadable.",
           _of_results(lambda one: one.counts.restores)),
    Metric("hermes_epochs_lost", _C, _SHARD, "Cameras that another shard took over while this one owned them.",
           _of_shards(lambda one: one.counts.cameras_lost)),
)  # fmt: skip

# With metrics.per_camera, and of the leader alone.
OF_CAMERAS = (
    Metric("hermes_camera_live", _G, ("camera",), "1 while the camera is live, else 0.",
           _of_cameras(lambda one, _: float(one.state is CameraState.LIVE))),
    Metric("hermes_camera_picture_noted", _G, ("camera",), "1 while the picture of the live camera has a note, else 0.",
           _of_cameras(lambda one, _: float(one.note is not None))),
    Metric("hermes_camera_memory_lag_seconds", _G, ("camera",), "Age of the newest frame in a live camera's memory.",
           _of_cameras(_lag_s)),
    Metric("hermes_camera_checkpoint_age_seconds", _G, ("camera",),
           "Age of the camera's newest checkpoint; without one, since it was added.", _of_cameras(_checkpoint_age_s)),
)  # fmt: skip

# Of every router.
OF_A_ROUTER = (
    Metric("hermes_leader", _G, (), "1 for the router that leads, else 0.",
           lambda fleet, _: (((), float(fleet.is_leader)),)),
    Metric("hermes_ready", _G, (), "1 while this router can route questions, else 0.",
           lambda fleet, _: (((), float(fleet.is_ready)),)),
    Metric("hermes_moves", _C, ("result",), "Moves of cameras that this router began, by result: moved or failed.",
           lambda fleet, _: (((result,), value) for result, value in fleet.moves.items())),
    Metric("hermes_move_pause_seconds", _H, (), "How long questions waited for a camera that moved.",
           lambda fleet, _: (((), fleet.move_pauses_s),)),
)  # fmt: skip
