"""Which reasons a source has until a person has corrected something."""

from __future__ import annotations

from pipeline.cameras import SourceReason

# A source is tried again and again for these too, but by itself gives nothing.
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
