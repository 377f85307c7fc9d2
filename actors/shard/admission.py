"""Whether a device has a slot and the time for one more camera. Knows rates and what a frame takes, not the device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

from actors.shard.interface import Assignment
from actors.shard.shard_counts import FrameCounts
from pipeline.cameras import CameraSpec, DeviceFull, PlaybackSpeed, TooManyCameras
from pipeline.device.device_config import DeviceConfig, WhenFull

# So many frames outweigh what was known of a frame before them. At start about as many were timed, perhaps on a machine
# that was busy with starting: what ingest takes soon counts for more, or cameras would be refused for minutes.
_TIMED_FRAMES, _KNOWN_AFTER_FRAMES = 16, 256


@dataclass(frozen=True, slots=True)
class IngestLoad:
    """The share of the device's time that the frames of all cameras take at their rates, and the most that it may be.

    0 while what a frame takes is not known. keeps: the share of the frames that is read, where rates are lowered.
    """

    share: float
    limit: float
    keeps: float = 1.0


class PresentCameras(Protocol):
    """The cameras that the shard has now."""

    def specs(self) -> Mapping[str, CameraSpec]:
        """Of all of them, each of which has a slot, by id."""

    def playing(self) -> Mapping[str, CameraSpec]:
        """Of those that may give frames, by id."""


class Admission:
    """Decides by the cost of a frame: measured once on the idle device, then what ingest really took.

    sample_fps: of a camera that has no rate of its own. measured: seconds of device time that a whole frame takes;
    without it, every camera is admitted that finds a slot.
    """

    def __init__(
        self,
        config: DeviceConfig,
        sample_fps: float,
        cameras: PresentCameras,
        measured: Future[float],
    ) -> None:
        self._config = config
        self._sample_fps = sample_fps
        self._cameras = cameras
        self._measured = measured
        self._s_per_frame: float | None = None
        self._known_frames = _TIMED_FRAMES  # what is known of a frame is known from so many
        self._before = FrameCounts()

    def _load(self, specs: Iterable[CameraSpec]) -> IngestLoad:
        limit, share = self._config.max_ingest_share, sum(map(self._share, specs))
        lowers = self._config.when_full is WhenFull.LOWER_RATES and share > limit
        return IngestLoad(share, limit, limit / share if lowers else 1.0)

    def note(self, counts: FrameCounts) -> IngestLoad:
        """Takes into account what the frames since the last call took. -> what all cameras take together

        A frame is cheaper where patches of it are skipped, and where it is read together with those of other cameras.
        """
        frames, seconds = counts.read - self._before.read, counts.ingest_s - self._before.ingest_s
        if frames <= 0:  # what a compaction takes is known after its frames, and counts with those of the next call
            return self._load(self._cameras.playing().values())
        self._before = counts
        if (cost := self._cost()) is not None:
            weight = frames / (frames + self._known_frames)
            self._s_per_frame = cost + weight * (seconds / frames - cost)
            self._known_frames = min(_KNOWN_AFTER_FRAMES, self._known_frames + frames)
        return self._load(self._cameras.playing().values())

    def require_slot(self, assignment: Assignment) -> None:
        """Raises TooManyCameras if other cameras take all slots."""
        if len(self._cameras.specs().keys() - {assignment.id}) >= self._config.max_cameras:
            raise TooManyCameras(f"camera {assignment.spec.name!r}: all {self._config.max_cameras} slots are taken")

    def require_time(self, assignment: Assignment) -> None:
        """Raises DeviceFull if a new camera is too much for the device beside the others.

        One camera is admitted whatever it takes. Where rates are lowered, every camera is. A recording that has ended
        takes none of it; it counts again from the moment at which it is opened anew.
        """
        spec, others = assignment.spec, dict(self._cameras.playing())
        others.pop(assignment.id, None)
        load, more = self._load(others.values()), self._share(spec)
        if self._config.when_full is WhenFull.LOWER_RATES or not load.share:
            return
        if load.share + more > load.limit:
            raise DeviceFull(
                f"camera {spec.name!r}: {self._rate(spec):g} frames/s take {more:.1%} of the device's time, and the "
                f"other cameras take {load.share:.1%} (limit {load.limit:.0%}, shards.device.max_ingest_share)"
            )

    def _share(self, spec: CameraSpec) -> float:
        # A recording that plays as fast as the device takes it waits for the others.
        return 0.0 if spec.pace is PlaybackSpeed.FAST else self._rate(spec) * (self._cost() or 0.0)

    def _rate(self, spec: CameraSpec) -> float:
        return spec.frames_per_second or self._sample_fps

    def _cost(self) -> float | None:
        """Seconds of device time a frame, None until they are known."""
        if self._s_per_frame is None and self._measured.done() and self._measured.exception() is None:
            self._s_per_frame = self._measured.result()
        return self._s_per_frame
