"""What a shard says of each of its cameras: the state of its source, its memory, and who owns it."""

from __future__ import annotations

import dataclasses

from actors.ownership.lease_holder import LeaseHolder
from actors.shard.camera_memories import CameraMemories
from actors.shard.camera_streams import CameraStream, CameraStreams
from pipeline.cameras import CameraState, CameraStatus
from pipeline.network import urls

UNOWNED = "the store lost its record of the owner; the memory is kept and answers again once its shard owns it"


class CameraStatuses:
    """Puts a camera's status together. model_limitation: why the model is not for real cameras, None if it is."""

    def __init__(
        self,
        memories: CameraMemories,
        lease_holder: LeaseHolder,
        streams: CameraStreams,
        model_limitation: str | None,
    ) -> None:
        self._memories = memories
        self._lease_holder = lease_holder
        self._model_limitation = model_limitation
        self._streams = streams

    def limitation(self, stream: CameraStream) -> str | None:
        """Why the model is not for what the camera shows, None if it is."""
        return None if stream.is_simulated else self._model_limitation

    def _detail(self, stream: CameraStream) -> str:
        """The feed's own detail; of a camera that gives frames also what they are to the model."""
        if stream.state not in (CameraState.LIVE, CameraState.ENDED):
            return stream.detail
        return "; ".join(filter(None, (stream.detail, stream.scene, self.limitation(stream))))

    def status(self, stream: CameraStream) -> CameraStatus:
        camera_id = stream.assignment.id
        owner = self._lease_holder.owner(camera_id)
        status = CameraStatus(
            id=camera_id,
            name=stream.spec.name,
            url=urls.redact(stream.spec.url),
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
