"""Everything a system is started with. The only place that reads YAML and the environment."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import pydantic
import yaml

from actors.config import camera_entries, error_messages
from actors.config.camera_entries import InvalidEntry
from actors.config.error_messages import Key
from actors.errors import ConfigError
from cache_store import store_urls
from cache_store.checkpoint import Rows
from cache_store.tiers import MemoryConfig
from pipeline.cameras import CameraError, CameraSpec
from pipeline.device.device_config import DeviceConfig
from pipeline.network import urls
from pipeline.network.urls import FileUrl
from pipeline.sources.ingest_config import IngestConfig

_EMBEDDED = re.compile(r"embedded(:.+)?")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig:
    """How long a shard owns its cameras without a word to the store, and how much earlier it stops to be sure."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    length_s: float = 6.0
    margin_s: float = 1.0

    def __post_init__(self) -> None:
        _require_at_least("shards.lease.margin_s", self.margin_s, 0.05)
        _require_at_least("shards.lease.length_s", self.length_s, 3 * self.margin_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsConfig:
    """How many shards there are and what each may take. A shard is one process with one device."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    count: int = 1
    spares: int = 0  # of these, so many stay empty while the others have room
    ray: str = "local"  # or the address of a cluster that is there already: HOST:PORT, auto
    num_cpus: float = 1.0  # as Ray counts them; torch uses as many threads
    num_gpus: float = 0.0
    checkpoint_every_s: float = 15.0
    checkpoint_rows: Rows = Rows.EXACT  # moves are exact in any case
    checkpoint_max_mb_per_s: float | None = None  # of all cameras of a shard together; None: as fast as it goes
    lease: LeaseConfig = field(default_factory=LeaseConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)

    def __post_init__(self) -> None:
        _require_at_least("shards.count", self.count, 1)
        _require_at_least("shards.spares", self.spares, 0)
        if self.spares >= self.count:
            raise ValueError(f"shards.spares is {self.spares} (less than shards.count, which is {self.count})")
        _require_at_least("shards.num_cpus", self.num_cpus, 0)
        _require_at_least("shards.num_gpus", self.num_gpus, 0)
        _require_at_least("shards.checkpoint_every_s", self.checkpoint_every_s, 0.1)
        if self.checkpoint_max_mb_per_s is not None:
            _require_at_least("shards.checkpoint_max_mb_per_s", self.checkpoint_max_mb_per_s, 0.01)

    @property
    def is_local(self) -> bool:
        """Whether the shards run in a Ray of this machine alone."""
        return self.ray == "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterConfig:
    """Where clients connect, and how much of them the router bears."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    host: str = "127.0.0.1"
    port: int = 50051  # 0: any free one
    max_concurrent_calls: int = 256
    write_timeout_s: float = 10.0  # a client that takes longer to read is cut off

    def __post_init__(self) -> None:
        _require_at_least("router.port", self.port, 0)
        _require_at_least("router.max_concurrent_calls", self.max_concurrent_calls, 1)
        _require_at_least("router.write_timeout_s", self.write_timeout_s, 0.1)
        if self.port > 65_535:
            raise ValueError(f"router.port is {self.port} (at most 65535)")

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthConfig:
    """Who may call: with a token file, only those who send the token that it holds."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    token_file: Path | None = None

    def token(self) -> str | None:
        """The token that callers must send, None for an open door. Raises ConfigError."""
        if self.token_file is None:
            return None
        try:
            token = self.token_file.expanduser().read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"auth.token_file {str(self.token_file)!r}: {_reason(error)}") from error
        if not token:
            raise ConfigError(f"auth.token_file {str(self.token_file)!r}: the file is empty")
        return token


@dataclass(frozen=True, slots=True, kw_only=True)
class HermesConfig:
    """One system. Every part has defaults that suit a laptop."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    model: str = "tiny"
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    ingest: IngestConfig = field(default_factory=IngestConfig)
    shards: ShardsConfig = field(default_factory=ShardsConfig)
    store: str = "embedded"  # "embedded", "embedded:FOLDER" or a URL of store_urls.SCHEMES
    router: RouterConfig = field(default_factory=RouterConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    cameras: tuple[CameraSpec, ...] = ()

    def __post_init__(self) -> None:
        if not _EMBEDDED.fullmatch(self.store):
            store_urls.require_known(self.store)
        names = [camera.name for camera in self.cameras]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"cameras: the name {name!r} is used {names.count(name)} times")
        if not self.shards.is_local and self.embedded_store_folder is not None:
            raise ValueError(
                f"shards.ray is {self.shards.ray!r}: shards of a cluster need a store that all of them reach, not "
                f"{self.store!r}"
            )
        if not self.router.is_loopback and self.auth.token_file is None:
            raise ValueError(
                f"router.host is {self.router.host!r}, which others can reach: set auth.token_file, or use 127.0.0.1"
            )

    @property
    def sources(self) -> IngestConfig:
        """`ingest`, with the folders of the files that are cameras of this configuration among its video_folders."""
        parsed = (urls.parse(camera.url) for camera in self.cameras)
        named = {url.path.parent for url in parsed if isinstance(url, FileUrl)}
        return replace(self.ingest, video_folders=(*self.ingest.video_folders, *sorted(named)))

    @property
    def embedded_store_folder(self) -> Path | None:
        """Where the embedded store keeps its data, None for a store that runs elsewhere."""
        kind, _, folder = self.store.partition(":")
        if kind != "embedded":
            return None
        return Path(folder).expanduser() if folder else default_data_folder() / "store"


def default_data_folder() -> Path:
    """Where data that must outlive a run is kept unless the configuration names another place."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "hermes"


def load_config(path: Path) -> HermesConfig:
    """The configuration in a YAML file. Raises ConfigError."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {str(path)!r}: {_reason(error)}") from error
    return parse_config(text, origin=str(path), environment=os.environ)


def parse_config(text: str, *, origin: str, environment: Mapping[str, str]) -> HermesConfig:
    """The configuration in YAML text, `${NAME}` replaced from the environment. Raises ConfigError."""
    document = _Document(text, origin)
    values = _with_variables(document.values, environment, document, ())
    try:
        values = camera_entries.resolved(values, as_written=document.values)
        settings = pydantic.TypeAdapter(HermesConfig).validate_python({} if values is None else values)
    except pydantic.ValidationError as error:
        complaint = error_messages.first_of(error, HermesConfig)
        raise document.error(complaint.key, complaint.text) from None
    except InvalidEntry as error:
        raise document.error(error.key, str(error)) from None
    except CameraError as error:
        raise document.error(("cameras",), str(error)) from error
    for index, camera in enumerate(settings.cameras):
        try:
            urls.parse(camera.url)
        except CameraError as error:
            raise document.error(("cameras", index, "url"), str(error)) from error
    return settings


class _Document:
    """YAML with the line of every key."""

    def __init__(self, text: str, origin: str) -> None:
        self._origin = origin
        self._lines: dict[Key, int] = {}
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            self.values: object = yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{origin}:{line}: not valid YAML: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{origin}: not valid YAML: {_reason(error)}") from None
        if root is not None:
            self._note_lines(root, ())

    def error(self, key: Key, complaint: str) -> ConfigError:
        """What is wrong with the value of a key, with file and line."""
        nearest = next((key[:n] for n in range(len(key), 0, -1) if key[:n] in self._lines), None)
        place = f"{self._origin}:{self._lines[nearest]}" if nearest else self._origin
        name = ".".join(str(part) for part in key)
        return ConfigError(f"{place}: {name}: {complaint}" if name else f"{place}: {complaint}")

    def _note_lines(self, node: yaml.Node, key: Key) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                child = (*key, name.value)
                if child in self._lines:
                    raise ConfigError(f"{self._origin}:{name.start_mark.line + 1}: {name.value}: given twice")
                self._lines[child] = name.start_mark.line + 1
                self._note_lines(value, child)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._lines[*key, index] = value.start_mark.line + 1
                self._note_lines(value, (*key, index))


def _with_variables(value: object, environment: Mapping[str, str], document: _Document, key: Key) -> object:
    """The same value with `${NAME}` replaced in every text."""
    if isinstance(value, dict):
        return {k: _with_variables(v, environment, document, (*key, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_variables(v, environment, document, (*key, i)) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    missing = [name for name in _VARIABLE.findall(value) if name not in environment]
    if missing:
        raise document.error(key, f"the environment has no variable {missing[0]!r}")
    return _VARIABLE.sub(lambda match: environment[match[1]], value)


def _require_at_least(name: str, value: float, least: float) -> None:
    if not value >= least:
        raise ValueError(f"{name} is {value} (at least {least})")


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
