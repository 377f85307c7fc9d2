"""Everything a system is started with, and the range of every value. Knows neither YAML nor the environment."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import ClassVar

from actors.config.observability import LogsConfig, MetricsConfig, TracesConfig
from actors.config.router_config import AuthConfig, RouterConfig
from actors.config.shards import ShardsConfig
from cache_store import store_urls
from cache_store.tiers import MemoryConfig
from pipeline.cameras import CameraSpec
from pipeline.network import urls
from pipeline.network.urls import FileUrl
from pipeline.sources.ingest_config import IngestConfig

_EMBEDDED = re.compile(r"embedded(:.+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSettings:
    """What a shard's process is started with. Ray keeps it, so it holds no secret: no camera, no token, no store.

    ingest: with the files of the configured cameras among its video_folders, and with test_private_networks decided.
    """

    model: str
    memory: MemoryConfig
    ingest: IngestConfig
    shards: ShardsConfig
    traces: TracesConfig | None = None
    logs: LogsConfig = field(default_factory=LogsConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesConfig:
    """One system. Every part has defaults that suit a laptop.

    model: name of a known model, a Hugging Face id, or the path of a local folder.
    memory: bounds of each camera's memory.
    ingest: sampling and limits of video sources.
    shards: number and resources of the shards.
    store: where checkpoints, leases and the list of cameras live: "embedded" (a Valkey that hermes runs, with its data
        in a folder of this configuration file below $XDG_STATE_HOME/hermes/stores), "embedded:FOLDER", or a URL:
        redis://, rediss://, unix:// or redis+sentinel://.
    router: where clients connect.
    auth: which clients may call.
    logs: how log events are written.
    metrics: where Prometheus reads figures of this system; null: nowhere.
    traces: where spans of each question are sent; null: nowhere.
    cameras: cameras that the system watches from its start; more can be added while it runs.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    model: str = "tiny"
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    shards: ShardsConfig = field(default_factory=ShardsConfig)
    store: str = "embedded"
    router: RouterConfig = field(default_factory=RouterConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    logs: LogsConfig = field(default_factory=LogsConfig)
    metrics: MetricsConfig | None = None
    traces: TracesConfig | None = None
    cameras: tuple[CameraSpec, ...] = ()

    def __post_init__(self) -> None:
        if not self.has_embedded_store:
            store_urls.validate(self.store)
        for name, count in Counter(camera.name for camera in self.cameras).items():
            if count > 1:
                raise ValueError(f"cameras: the name {name!r} is used {count} times")
        if not self.shards.is_local and self.has_embedded_store:
            raise ValueError(
                f"shards.ray is {self.shards.ray!r}: the shards of a cluster need a store that all of them reach, not "
                f"{self.store!r}; set store to the URL of one"
            )
        self._require_own_ports()
        missing = [
            name
            for name, value in (("router.tls", self.router.tls), ("auth.token_file", self.auth.token_file))
            if value is None
        ]
        if missing and not self.router.is_loopback and not self.router.insecure:
            raise ValueError(
                f"router.host is {self.router.host!r}, which other machines can reach: set {' and '.join(missing)}, or "
                "use 127.0.0.1, or accept what others can read and do with router.insecure: true"
            )

    def _require_own_ports(self) -> None:
        port = 0 if self.metrics is None else self.metrics.port
        for name, other in (("router.port", self.router.port), ("router.health_port", self.router.health_port)):
            if port == other != 0:
                raise ValueError(f"metrics.port is {port} (another one than {name})")

    def for_shards(self) -> ShardSettings:
        """What a shard's process is started with."""
        parsed = (urls.parse(camera.url) for camera in self.cameras)
        files = {url.path for url in parsed if isinstance(url, FileUrl)}
        reaches_private = self.ingest.test_private_networks
        ingest = replace(
            self.ingest,
            video_folders=(*self.ingest.video_folders, *sorted(files)),
            test_private_networks=self.router.is_loopback if reaches_private is None else reaches_private,
        )
        return ShardSettings(
            model=self.model,
            memory=self.memory,
            ingest=ingest,
            shards=self.shards,
            traces=self.traces,
            logs=self.logs,
        )

    @property
    def has_embedded_store(self) -> bool:
        """Whether hermes runs the store itself."""
        return _EMBEDDED.fullmatch(self.store) is not None
