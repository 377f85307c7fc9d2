"""What a shard says of each of its cameras: the state of its source, its memory, and who owns it."""

from __future__ import annotations

import dataclasses

from actors.ownership.lease_holder import LeaseHolder
from actors.shard.camera_memories import CameraMemories
from actors.shard.camera_stream import CameraStream
from actors.shard.camera_streams import CameraStreams
from actors.shard.shard_device import ShardDevice
from pipeline.cameras import SHOWS_LABEL, CameraState, CameraStatus
from pipeline.network.url_redaction import redact

UNOWNED = "the store lost its record of the owner; the memory is kept and answers again once its shard owns it"


class CameraStatuses:
    """Puts a camera's status together. device: whose model may not be for real cameras."""

    def __init__(
        self,
        memories: CameraMemories,
        lease_holder: LeaseHolder,
        streams: CameraStreams,
        device: ShardDevice,
    ) -> None:
        self._memories = memories
        self._lease_holder = lease_holder
        self._limitation, self._domain = device.limitation, device.domain
        self._streams = streams

    def limitation(self, stream: CameraStream) -> str | None:
        """Why the model is not for what the camera shows, None if it is: by its URL or by its label."""
        is_known = stream.is_simulated or (self._domain and stream.spec.labels.get(SHOWS_LABEL) == self._domain)
        return None if is_known else self._limitation

    def _detail(self, stream: CameraStream) -> str:
        """The feed's own detail; of a camera that gives frames also what they are to the model."""
        if stream.state not in (CameraState.LIVE, CameraState.ENDED):
            return stream.detail
        return "; ".join(filter(None, (self._streams.detail(stream), stream.scene, self.limitation(stream))))

    def status(self, stream: CameraStream) -> CameraStatus:
        camera_id = stream.assignment.id
        owner = self._lease_holder.owner(camera_id)
        status = CameraStatus(
            id=camera_id,
            name=stream.spec.name,
            url=redact(stream.spec.url),
            state=stream.state,
            detail=self._detail(stream),
            reason=stream.reason,
            note=stream.note,
            state_since_s=stream.state_since_s,
            memory=self._memories.status(camera_id),
            masks=stream.spec.masks,
            epoch=owner.epoch if owner else 0,
            revision=stream.assignment.revision,
            source=stream.source,
            started_s=stream.assignment.started_s,
            lowered_fps=self._streams.lowered_fps(stream) if stream.state is CameraState.LIVE else None,
        )
        if not self._lease_holder.is_unowned(camera_id):
            return status
        return dataclasses.replace(
            status, state=CameraState.RECOVERING, detail=UNOWNED, reason=None, note=None, state_since_s=None
        )
