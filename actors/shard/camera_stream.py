"""The video stream of one camera on a shard: what it is assigned to, and what its feed reported."""

from __future__ import annotations

from dataclasses import dataclass

from actors.shard.interface import Assignment
from actors.shard.shard_device import Feed
from pipeline.cameras import CameraSpec, CameraState, SourceReason
from pipeline.network import urls
from pipeline.network.urls import FileUrl, SimUrl
from pipeline.picture_note import PictureNote
from pipeline.sources import simulated


@dataclass(slots=True)
class CameraStream:
    """A camera's feed, the state that the feed last reported, and when it came into that state, in Unix seconds.

    resume_s: behind this time it was opened, None from its begin.
    """

    assignment: Assignment
    feed: Feed
    state_since_s: float
    resume_s: float | None = None
    state: CameraState = CameraState.CONNECTING
    detail: str = ""
    reason: SourceReason | None = None
    note: PictureNote | None = None
    source: str = ""

    def __post_init__(self) -> None:
        self.source = urls.source_digest(self.spec.url)  # it stays the same as long as the camera does

    @property
    def spec(self) -> CameraSpec:
        return self.assignment.spec

    @property
    def is_simulated(self) -> bool:
        return isinstance(urls.parse(self.spec.url), SimUrl)

    @property
    def scene(self) -> str:
        """What a simulated camera shows, empty for others: whatever its name, the seed draws a street."""
        url = urls.parse(self.spec.url)
        return simulated.describe(url) if isinstance(url, SimUrl) else ""

    @property
    def is_live(self) -> bool:
        """Whether its frames have the time at which they come; those of a recording have the recording's own."""
        return self.spec.loop or not isinstance(urls.parse(self.spec.url), FileUrl)

    @property
    def is_over(self) -> bool:
        """Whether its feed gives no frame any more: the recording has ended, or the file is none."""
        has_failed = self.state is CameraState.FAILED and isinstance(urls.parse(self.spec.url), FileUrl)
        return has_failed or self.state is CameraState.ENDED

    def update(self, assignment: Assignment) -> None:
        """Records another spec of the same camera."""
        self.assignment = assignment

    def report(
        self,
        state: CameraState,
        detail: str,
        reason: SourceReason | None,
        note: PictureNote | None,
        at_s: float,
    ) -> None:
        """Records what the feed reported at this time. Another detail is no other state."""
        if state is not self.state:
            self.state_since_s = at_s
        self.state, self.detail, self.reason, self.note = state, detail, reason, note
