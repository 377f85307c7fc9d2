"""MJPEG and single pictures over HTTP, as the plain MJPEG stream that libav reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pipeline.cameras import SourceInvalid, SourceReason
from pipeline.network.deadline import Deadline
from pipeline.network.http_file import HttpFile
from pipeline.network.url_redaction import redact
from pipeline.sources.jpeg_pictures import JpegFinder, as_part

_READ_NBYTES = 1 << 16
_MAX_SKIPPED_NBYTES = 1 << 20  # before the first picture
_BEGINS = (b"--", b"\xff\xd8\xff")
_VALIDATORS = {"Last-Modified": "If-Modified-Since", "ETag": "If-None-Match"}


def has_pictures(file: HttpFile) -> bool:
    """Whether the body is pictures: by its type, or by how it begins."""
    if file.content_type.startswith(("multipart/", "image/jp", "image/pjpeg")):
        return True
    begin = file.begins_with.lstrip()
    return begin.startswith(_BEGINS) or b"content-type: image/jp" in begin.lower()


class PictureFile:
    """The pictures of a body. A body of one picture is a snapshot, which is requested again and again."""

    def __init__(
        self, file: HttpFile, open_again: Callable[[Mapping[str, str]], HttpFile], deadline: Deadline, period_s: float
    ) -> None:
        """open_again: requests the URL with more headers. period_s: from one snapshot to the next."""
        self.name = file.name
        self._file, self._open_again, self._deadline, self._period_s = file, open_again, deadline, period_s
        self._is_stream = file.content_type.startswith("multipart/")
        self._finder, self._num_pictures = JpegFinder(), 0  # of this body
        self._opened_s = time.monotonic()
        self._ready = b""

    def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" at the end. Blocks until the deadline. Raises SourceError."""
        while not self._ready:
            if data := self._file.read(_READ_NBYTES):
                pictures = self._finder.add(data)
                self._num_pictures += len(pictures)
                self._ready = b"".join(map(as_part, pictures))
                self._require_pictures()
            elif self._is_stream or self._num_pictures != 1 or not self._request_next():
                return b""
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def close(self) -> None:
        """Closes its connection."""
        self._file.close()

    def _require_pictures(self) -> None:
        if not self._num_pictures and self._finder.num_skipped_nbytes > _MAX_SKIPPED_NBYTES:
            text = f"{redact(self.name)}: no JPEG picture in its first {_MAX_SKIPPED_NBYTES >> 20} MiB"
            raise SourceInvalid(text, SourceReason.NOT_VIDEO)

    def _request_next(self) -> bool:
        """Requests the snapshot until there is a new one; False where a stop was requested."""
        limit_s = self._deadline.limit_s
        headers = {to: value for name, to in _VALIDATORS.items() if (value := self._file.header(name))}
        while True:
            self._file.close()
            due_s = self._opened_s + self._period_s
            while (wait_s := due_s - time.monotonic()) > 0:
                self._deadline.restart(wait_s + limit_s)
                if not (step_s := self._deadline.next_wait_s()):
                    return False
                time.sleep(min(step_s, wait_s))
            self._deadline.restart(limit_s)
            self._opened_s = time.monotonic()
            file = self._open_again(headers)
            if not file.is_unchanged:
                self._file, self._finder, self._num_pictures = file, JpegFinder(), 0
                return True
            self._file = file
