"""The errors of this package.

StreamingError
├── AnnotationInvalid   an annotation file is not in the official format
├── VideoMissing        a video that an annotation names is not in the folder
├── VideoUnreadable     a video gives no frames
└── AnswersInvalid      the file of answers is broken, or another run writes it
"""

from __future__ import annotations


class StreamingError(Exception):
    """Root of every error of this package."""


class AnnotationInvalid(StreamingError):
    """An annotation file is not in the official format."""


class VideoMissing(StreamingError):
    """A video that an annotation names is not in the folder."""


class VideoUnreadable(StreamingError):
    """A video gives no frames."""


class AnswersInvalid(StreamingError):
    """The file of answers is broken, or another run writes it."""
