"""Reads a configuration from YAML and the environment. No other file of the product reads either."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pydantic
import yaml

from actors.config import camera_entries, error_messages
from actors.config.camera_entries import InvalidEntry
from actors.config.error_messages import Key
from actors.config.schema import HermesConfig
from actors.errors import ConfigError
from pipeline.cameras import CameraError
from pipeline.network import urls
from pipeline.network.redaction import REDACTOR
from pipeline.network.urls import NetworkUrl
from pipeline.sources.ingest_config import IngestConfig

# What PyYAML's constructors raise for e.g. the date 2026-13-01 or an integer of 5,000 digits.
_BAD_SCALAR = (ValueError, KeyError, AttributeError)
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def embedded_store_folder(settings: HermesConfig) -> Path | None:
    """The folder of the embedded store's data, None if the store runs elsewhere. Raises ConfigError."""
    if not settings.has_embedded_store:
        return None
    folder = settings.store.partition(":")[2]
    try:
        return Path(folder).expanduser() if folder else _stores() / "default"
    except RuntimeError as error:
        raise ConfigError(f"store {settings.store!r}: {error}") from error


def unused_shared_store(settings: HermesConfig) -> Path | None:
    """The folder in which earlier versions kept the data of every configuration.

    None without such data, or if this configuration names its store or has started with its own one already.
    """
    own, shared = embedded_store_folder(settings), _data_folder() / "store"
    is_first_start = own is not None and own.parent == _stores() and not own.exists()
    return shared if is_first_start and shared.is_dir() else None


def _stores() -> Path:
    return _data_folder() / "stores"


def _data_folder() -> Path:
    """The folder of data that outlives a run, if the configuration names none: below $XDG_STATE_HOME."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "hermes"


def load_config(path: Path) -> HermesConfig:
    """Reads the configuration in a YAML file. Raises ConfigError."""
    document = _read(path)
    settings = _settings_of(document, document.values, os.environ)
    _hide_secrets(settings, document.values)
    return replace(settings, store=f"embedded:{_own_store(path)}") if settings.store == "embedded" else settings


def load_ingest(path: Path) -> IngestConfig:
    """What the configuration in a YAML file sets for the test of a URL: no other variable needs to be set.

    Raises ConfigError, also for unknown sections; what other sections hold is not looked at.
    """
    document = _read(path)
    values = document.values
    if isinstance(values, dict):
        unused = {field.name for field in fields(HermesConfig)} - {"ingest", "router"}
        values = {key: value for key, value in values.items() if key not in unused}
        router = values.pop("router", None)
        if isinstance(router, dict) and "host" in router:  # it decides about private networks
            values["router"] = {"host": router["host"], "insecure": True}
    return _settings_of(document, values, os.environ).for_shards().ingest


def _read(path: Path) -> _Document:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"configuration file {str(path)!r}: {_reason(error)}") from error
    return _Document(text, str(path))


def _hide_secrets(settings: HermesConfig, as_written: object) -> None:
    """Redacts the configuration's secrets from now on, and takes their variables out of the environment.

    Every process that is started later would inherit them, and Ray's write theirs to files.
    """
    for url in (settings.store, *(camera.url for camera in settings.cameras)):
        REDACTOR.remember(url)
    values = as_written if isinstance(as_written, Mapping) else {}
    for name in _VARIABLE.findall(" ".join(_secret_texts(settings, values))):
        os.environ.pop(name, None)


def _secret_texts(settings: HermesConfig, values: Mapping[str, Any]) -> Iterator[str]:
    """The values, as written, that may hold a secret."""
    if "@" in settings.store and not settings.has_embedded_store:
        yield str(values["store"])
    for camera, entry in zip(settings.cameras, values.get("cameras") or (), strict=True):
        if isinstance(urls.parse(camera.url), NetworkUrl):
            yield from (str(entry[key]) for key in ("user", "password", "url") if key in entry)


def _own_store(path: Path) -> Path:
    """The folder for the data of one configuration file: it holds cameras and passwords, not for another file."""
    real_path = path.resolve()
    return _stores() / f"{real_path.stem}-{hashlib.sha256(str(real_path).encode()).hexdigest()[:12]}"


def parse_config(text: str, *, origin: str, environment: Mapping[str, str]) -> HermesConfig:
    """Reads the configuration in YAML text; `${NAME}` is replaced from the environment. Raises ConfigError.

    origin: the name of the text in error messages, e.g. the path of its file.
    """
    document = _Document(text, origin)
    return _settings_of(document, document.values, environment)


def _settings_of(document: _Document, as_written: object, environment: Mapping[str, str]) -> HermesConfig:
    values = _with_variables(as_written, environment, document, ())
    try:
        values = camera_entries.resolve_credentials(values, as_written=as_written)
        settings = pydantic.TypeAdapter(HermesConfig).validate_python({} if values is None else values)
    except pydantic.ValidationError as error:
        problem = error_messages.first_of(error, HermesConfig)
        raise document.error(problem.key, problem.text) from None
    except InvalidEntry as error:
        raise document.error(error.key, str(error)) from None
    except CameraError as error:
        raise document.error(("cameras",), str(error)) from error
    for index, camera in enumerate(settings.cameras):
        try:
            urls.parse_source(camera)
        except CameraError as error:
            raise document.error(("cameras", index, "url"), str(error)) from error
    return settings


class _Document:
    """A YAML text and the line of every key in it."""

    def __init__(self, text: str, origin: str) -> None:
        self._origin = origin
        self._lines: dict[Key, int] = {}
        try:
            # Read once, by libyaml where PyYAML has it: ten thousand cameras are a megabyte of YAML.
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)
            root = loader.get_single_node()
            if root is not None:
                self._note_lines(root, ())  # before merge keys (<<) are replaced by what they stand for
            self.values: object = None if root is None else loader.construct_document(root)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise ConfigError(f"{origin}:{line}: not valid YAML: {error.problem}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{origin}: not valid YAML: {_reason(error)}") from None
        except RecursionError:
            raise ConfigError(f"{origin}: a value holds itself by its alias, or is nested too deep") from None
        except _BAD_SCALAR:
            assert root is not None  # something was constructed
            raise ConfigError(f"{origin}:{_place_of_bad_scalar(root)}") from None

    def error(self, key: Key, problem: str) -> ConfigError:
        """The error for the value of a key, with file and line."""
        nearest = next((key[:n] for n in range(len(key), 0, -1) if key[:n] in self._lines), None)
        place = f"{self._origin}:{self._lines[nearest]}" if nearest else self._origin
        name = error_messages.shown(key, self.values)
        return ConfigError(f"{place}: {name}: {problem}" if name else f"{place}: {problem}")

    def _note_lines(self, node: yaml.Node, key: Key) -> None:
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if not isinstance(name, yaml.ScalarNode):
                    continue  # the construction of the values refuses it
                child = (*key, name.value)
                if child in self._lines:
                    raise ConfigError(
                        f"{self._origin}:{name.start_mark.line + 1}: {name.value}: the key stands there twice"
                    )
                self._lines[child] = name.start_mark.line + 1
                self._note_lines(value, child)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                self._lines[*key, index] = value.start_mark.line + 1
                self._note_lines(value, (*key, index))


def _place_of_bad_scalar(node: yaml.Node) -> str:
    """The line of the first value that cannot be constructed, and as what; not the value, which may be a secret."""
    for scalar in _scalars(node):
        try:
            yaml.constructor.SafeConstructor().construct_object(scalar)
        except _BAD_SCALAR:
            kind = scalar.tag.rpartition(":")[2]
            return f"{scalar.start_mark.line + 1}: not valid YAML: no valid {kind}; put text in quotes"
    return f"{node.start_mark.line + 1}: not valid YAML"


def _scalars(node: yaml.Node) -> Iterator[yaml.ScalarNode]:
    if isinstance(node, yaml.ScalarNode):
        yield node
        return
    for child in node.value:
        for part in child if isinstance(child, tuple) else (child,):
            yield from _scalars(part)


def _with_variables(value: object, environment: Mapping[str, str], document: _Document, key: Key) -> object:
    """The same value with `${NAME}` replaced in every string."""
    if isinstance(value, dict):
        return {k: _with_variables(v, environment, document, (*key, k)) for k, v in value.items()}
    if isinstance(value, list):
        return [_with_variables(v, environment, document, (*key, i)) for i, v in enumerate(value)]
    if not isinstance(value, str):
        return value
    if "\0" in value:
        raise document.error(key, "it holds a NUL character, which no path, URL or name may")
    missing = [name for name in _VARIABLE.findall(value) if name not in environment]
    if missing:
        raise document.error(key, f"the environment has no variable {missing[0]!r}")
    return _VARIABLE.sub(lambda match: environment[match[1]], value)


def _reason(error: Exception) -> str:
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error)
