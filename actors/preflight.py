"""Checks of a configuration that need neither torch nor Ray: mistakes are told before these are imported.

What the checks find later, a system that starts finds again: between the two a port may be taken.
"""

from __future__ import annotations

from pathlib import Path

from actors import embedded_store, listen_addresses
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.server import tls
from models import catalogue


def require_startable(settings: HermesConfig) -> None:
    """Checks files, model name, ports and the folder of the store. Raises ServiceError, ModelError; changes nothing."""
    require_files(settings)
    if settings.shards.is_local:  # the nodes of a cluster may have folders that this machine lacks
        catalogue.require_known(settings.model)
    listen_addresses.require_free(listen_addresses.of(settings.router, settings.metrics))
    folder = loading.embedded_store_folder(settings)
    if folder is not None:
        embedded_store.require_unused(folder)


def require_files(settings: HermesConfig) -> None:
    """Checks that the token and the TLS files of the server can be used. Raises ConfigError."""
    if not _is_pipe(settings.auth.token_file):
        settings.auth.token()
    if settings.router.tls is not None:
        tls.server_credentials(settings.router.tls)


def _is_pipe(path: Path | None) -> bool:
    """Whether it gives its content once: to the system that starts, not to a check before that."""
    try:
        return path is not None and path.expanduser().is_fifo()
    except (OSError, RuntimeError):
        return False
