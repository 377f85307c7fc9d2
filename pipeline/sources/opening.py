"""Opens the source that a camera's URL names."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path

from pipeline.cameras import SourceInvalid, SourceReason
from pipeline.network.urls import FileUrl, NetworkUrl, SimUrl, SourceUrl
from pipeline.sources.demuxer import Demuxer
from pipeline.sources.ingest_config import IngestConfig
from pipeline.sources.looped_recording import LoopedRecording
from pipeline.sources.media_source import MediaSource
from pipeline.sources.simulated import SimulatedSource
from pipeline.sources.source import Source, SourceContext

_MAX_NAMED = 5  # folders in a message


def open_source(url: SourceUrl, config: IngestConfig, context: SourceContext) -> Source:
    """The opened source. Blocks for at most about open_timeout_s. Raises SourceInvalid, SourceUnreachable."""
    if isinstance(url, SimUrl):
        return SimulatedSource(url, config, context)

    def open_again() -> Demuxer:
        return open_stream(url, config, is_stopped=lambda: context.wait(0), min_width=context.min_width)

    stream = open_again()
    if context.is_looped and stream.is_finite:
        return LoopedRecording(stream, open_again, url, config, context)
    if context.is_looped:
        context.on_note("loop has no effect: it is a live stream")
    return MediaSource(stream, url, config, context)


def open_stream(
    url: FileUrl | NetworkUrl, config: IngestConfig, is_stopped: Callable[[], bool], *, min_width: int = 0
) -> Demuxer:
    """A file or network stream that the configuration allows. Blocks and raises as open_source does."""
    if isinstance(url, FileUrl):
        url = FileUrl(_check(url.path, config.video_folders))
    return Demuxer(url, config, is_stopped, min_width=min_width)


def _check(path: Path, folders: tuple[Path, ...]) -> Path:
    """The path with links resolved. Raises SourceInvalid unless it is a regular file below one of the folders."""
    resolved = _resolved(path)
    if not any(resolved.is_relative_to(_resolved(folder)) for folder in folders):
        raise SourceInvalid(f"{path}: {_refusal(path, folders)}", SourceReason.FILE_REFUSED)
    try:
        info = resolved.stat()
    except OSError as error:
        raise SourceInvalid(f"{path}: {error.strerror}", SourceReason.NO_FILE) from error
    if not stat.S_ISREG(info.st_mode):
        raise SourceInvalid(f"{path}: a directory or device, not a video file", SourceReason.NOT_VIDEO)
    if info.st_size == 0:
        raise SourceInvalid(f"{path}: the file is empty", SourceReason.NOT_VIDEO)
    return resolved


def _refusal(path: Path, folders: tuple[Path, ...]) -> str:
    """Why a file is not read, and which setting would allow it."""
    # The files of the configuration's own cameras are among the folders, though nobody wrote them into the key.
    named = [str(folder) for folder in folders if not _resolved(folder).is_file()]
    if not named:
        lack = "names no folder" if folders else "is empty"
        # Nobody should allow the whole disk for one file.
        allowed = path if path.parent == Path(path.anchor) else path.parent
        setting = f"ingest: {{video_folders: [{json.dumps(str(allowed))}]}}"
        return f"ingest.video_folders {lack}; to allow this file: {setting}"
    more = f", and {len(named) - _MAX_NAMED} more" if len(named) > _MAX_NAMED else ""
    return f"files are read only below the folders in ingest.video_folders ({', '.join(named[:_MAX_NAMED])}{more})"


def _resolved(path: Path) -> Path:
    """The path without links. Of one that leads to itself the rest stays, and opening it fails."""
    return Path(os.path.realpath(path))
