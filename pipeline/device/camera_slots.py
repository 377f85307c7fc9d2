"""The cameras of one device and the slots of their memories: a camera has a slot and a status, or it is not there."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable

from cache_store.checkpoint import Checkpoint
from cache_store.gap import Gap
from cache_store.memory import Memory
from cache_store.slabs import Slabs
from models.memory_writer import MemoryWriter
from pipeline.answers import UnknownCamera
from pipeline.cameras import CameraExists, TooManyCameras
from pipeline.device import frame_timing
from pipeline.device.camera_memory import CameraMemory
from pipeline.device.change_gate import ChangeGate, OpenGate, StaticGate
from pipeline.device.device_config import DeviceConfig
from pipeline.memory_status import MemoryStatus


class CameraSlots:
    """Allocates every slot at once, and lends one to each camera. Device thread only, `status` and `nbytes` aside.

    dropped_frames: how many sampled frames of a camera were lost.
    """

    def __init__(self, writer: MemoryWriter, config: DeviceConfig, dropped_frames: Callable[[str], int]) -> None:
        self.cameras: dict[str, CameraMemory] = {}
        self._writer = writer
        self._config = config
        self._dropped_frames = dropped_frames
        kv = writer.model.spec.kv
        self._slabs = Slabs(kv, slots=config.max_cameras, capacity=writer.capacity, rows=config.slot_rows)
        self._free = deque(range(config.max_cameras))
        self._statuses: dict[str, MemoryStatus] = {}

    @property
    def nbytes(self) -> int:
        """Size of all slots, used or free."""
        return self._slabs.nbytes

    def status(self, name: str) -> MemoryStatus:
        """The camera's memory in numbers, as last published. Any thread may call it. Raises UnknownCamera."""
        try:
            return self._statuses[name]
        except KeyError:
            raise UnknownCamera(f"camera {name!r}: not on this device") from None

    def get(self, name: str) -> CameraMemory:
        """Raises UnknownCamera."""
        camera = self.cameras.get(name)
        if camera is None:
            raise UnknownCamera(f"camera {name!r}: not on this device")
        return camera

    def add(
        self, name: str, checkpoint: Checkpoint | None, *, started_s: float, gap: Gap | None, is_gated: bool
    ) -> None:
        """See Engine.add_camera. Whatever it raises, the camera is not there and its slot is free."""
        if name in self.cameras:
            raise CameraExists(f"camera {name!r}: on this device already")
        memory = self._free_memory(f"camera {name!r}")
        self._writer.reset(memory)
        camera = self._camera(name, memory, self._gate(is_gated), started_s)
        if checkpoint is not None:
            camera.restore(checkpoint)
        if gap is not None:
            camera.begin_with(gap)
        status = camera.status(self._dropped_frames(name))
        # Nothing below can fail.
        self._free.popleft()
        self.cameras[name] = camera
        self._statuses[name] = status

    def time_frame(self) -> float:
        """Seconds that a whole frame takes, timed on a free slot. Raises TooManyCameras."""
        return frame_timing.seconds_per_frame(self._writer, self._free_memory("timing a frame"))

    def remove(self, name: str) -> None:
        """Frees the camera's slot. Raises UnknownCamera."""
        camera = self.get(name)
        del self.cameras[name], self._statuses[name]
        self._free.append(camera.memory.slot)

    def erase(self, name: str, gap: Gap, waiting_until_s: float | None = None, *, keeps_place: bool = True) -> None:
        """Empties the camera's memory and all that came from it. Nothing of it can fail. Raises UnknownCamera.

        waiting_until_s: time of the newest frame on its way, which is lost too. keeps_place: see Engine.erase_camera.
        """
        camera = self.get(name)
        times_s = (camera.newest_s, camera.erased_until_s, waiting_until_s)
        camera.memory.erase()
        camera.gate.invalidate()
        self.cameras[name] = self._camera(name, camera.memory, camera.gate, camera.started_s)
        self.cameras[name].begin_with(gap)
        if keeps_place:
            self.cameras[name].erased_until_s = max((one for one in times_s if one is not None), default=None)

    def set_gate(self, name: str, *, is_gated: bool) -> None:
        """Judges the patches of the camera's later frames by another gate. Raises UnknownCamera."""
        self.get(name).change_gate(self._gate(is_gated))

    def publish(self, camera: CameraMemory) -> None:
        """Makes the memory's numbers of now those that `status` returns."""
        self._statuses[camera.name] = camera.status(self._dropped_frames(camera.name))

    def publish_loss(self, camera: CameraMemory) -> None:
        """`publish` without a look at the device, which may have just failed: the gaps, and the frames dropped."""
        self._statuses[camera.name] = dataclasses.replace(
            self._statuses[camera.name],
            gaps=camera.gaps,
            frames_dropped=camera.dropped_before + self._dropped_frames(camera.name),
        )

    def _free_memory(self, what: str) -> Memory:
        """The memory of the slot that the next camera gets. what: names the caller in the error."""
        if not self._free:
            raise TooManyCameras(f"{what}: all {self._config.max_cameras} slots are taken")
        return Memory(self._slabs, self._free[0])

    def _camera(self, name: str, memory: Memory, gate: ChangeGate, started_s: float) -> CameraMemory:
        return CameraMemory(name, memory, self._writer, gate, gap_after_s=self._config.gap_after_s, started_s=started_s)

    def _gate(self, is_gated: bool) -> ChangeGate:
        layout = self._writer.model.spec.layout
        if not is_gated:
            return OpenGate(layout.grid)
        return StaticGate(layout.grid, key_frame_every_s=self._config.key_frame_every_s)
