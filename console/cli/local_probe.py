"""Opens a camera's URL on this machine, as a server would. Imports `actors`, so the command line imports it late."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from actors import logs
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.errors import ConfigError
from actors.server import conversions, requests
from console.cli import terminal
from console.cli.terminal import MISTAKE
from pipeline.cameras import CameraError
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.network.urls import FileUrl
from pipeline.workers import isolated_probe
from protos import hermes_v1_pb2 as pb

# Failures that a setting of `ingest` can prevent.
_BY_CONFIG = frozenset({pb.SOURCE_REASON_ADDRESS_REFUSED, pb.SOURCE_REASON_TLS})


def config_hint(result: pb.TestCameraResponse, config: Path | None) -> str | None:
    """A hint that a configuration file may allow what was refused; None if one was read or could not help."""
    if config is not None or result.reason not in _BY_CONFIG:
        return None
    return "no configuration was read, so the defaults of `ingest` applied: --config FILE tests as `hermes serve` would"


def probe(url: str, config: Path | None, tls: Mapping[str, str | None]) -> pb.TestCameraResponse:
    """What the URL gives, within the limits of a configuration; its caller may read any file that this user may."""
    logs.log_to_stderr(logging.ERROR)
    try:
        ingest = loading.load_ingest(config) if config else HermesConfig().for_shards().ingest
        parsed = urls.parse(url)
        if isinstance(parsed, FileUrl):
            ingest = replace(ingest, video_folders=(*ingest.video_folders, parsed.path.parent))
        with REDACTOR.remembering(url):
            rules = requests.tested_tls(pb.TestCameraRequest(url=url, **tls))
            return conversions.probe_message(isolated_probe.probe_url(url, ingest, rules))
    except (ConfigError, CameraError) as error:
        terminal.fail(str(error), MISTAKE)
