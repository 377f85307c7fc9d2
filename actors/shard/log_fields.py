"""What each log line of a shard says of a camera: its name, its id and the epoch in which the shard last owned it."""

from __future__ import annotations

from actors.ownership.lease_holder import LeaseHolder
from actors.shard.camera_streams import CameraStreams


class CameraFields:
    """Any thread may call it: device and feeds log too, and know a camera by its id or by its name alone."""

    def __init__(self, streams: CameraStreams, lease_holder: LeaseHolder) -> None:
        self._streams = streams
        self._lease_holder = lease_holder

    def __call__(self, camera: str) -> dict[str, object]:
        """The fields of the camera with this id or name; empty if the shard has none."""
        streams = {**self._streams.standby, **self._streams.owned}
        for camera_id, stream in streams.items():
            if camera in (camera_id, stream.spec.name):
                epoch = self._lease_holder.epoch(camera_id)
                fields: dict[str, object] = {"camera": stream.spec.name, "camera_id": camera_id}
                return fields | ({"epoch": epoch} if epoch else {})
        return {}
