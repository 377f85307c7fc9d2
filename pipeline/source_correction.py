"""The reasons that only a person can correct: a login, an address or a setting is wrong."""

from __future__ import annotations

from pipeline.cameras import SourceReason

# A feed goes on trying, in case the correction is made at the camera.
NEEDS_CORRECTION = frozenset(
    {
        SourceReason.ADDRESS_REFUSED,
        SourceReason.FILE_REFUSED,
        SourceReason.TLS,
        SourceReason.UNAUTHORIZED,
        SourceReason.FORBIDDEN,
        SourceReason.REDIRECTED,
    }
)
