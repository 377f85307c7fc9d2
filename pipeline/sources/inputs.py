"""Chooses the input for a URL. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.network import urls
from pipeline.network.urls import FileUrl, NetworkUrl
from pipeline.sources.http_input import HttpInput
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.libav_inputs import FileInput, LibavInput
from pipeline.sources.rtsp_input import RtspInput


def input_for(
    url: FileUrl | NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool], *, min_width: int = 0
) -> LibavInput:
    """The input for a URL, not yet opened. min_width: as wide as images are needed. Raises SourceInvalid."""
    if isinstance(url, FileUrl):
        return FileInput(url.path)
    if url.scheme in urls.LIVE_SCHEMES:
        return RtspInput(url, config, is_stopped)
    return HttpInput(url, config, is_stopped, min_width=min_width)
