"""`hermes serve`: reads the configuration and checks it; only then imports what runs a system, which takes seconds."""

from __future__ import annotations

import logging
from pathlib import Path

from rich.console import Console

from actors import logs, preflight
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.errors import ConfigError, ServiceError
from cache_store.errors import StoreError
from console.cli import interruption, terminal
from console.cli.terminal import DONE, FAILURE, MISTAKE
from models.errors import ModelError


def serve(config: Path, err: Console, *, is_verbose: bool) -> int:
    """Runs the system until SIGINT or SIGTERM; returns the exit code."""
    log_level = logging.DEBUG if is_verbose else logging.INFO
    logs.log_to_stderr(log_level)
    try:
        settings = loading.load_config(config)
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    with logs.json_lines(settings.logs.format):
        logs.log_to_stderr(log_level, settings.logs.format)
        return _run(settings, log_level, err, is_verbose=is_verbose)


def _run(settings: HermesConfig, log_level: int, err: Console, *, is_verbose: bool) -> int:
    try:
        _name_shared_store(settings, err)
        preflight.require_startable(settings)
        terminal.print_step(err, "loading PyTorch and Ray")
        with interruption.ending_at_once():
            from console.cli import serving
        terminal.end_on_sigterm()
        serving.run(settings, log_level, err, is_verbose=is_verbose)
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    except (ServiceError, StoreError, ModelError) as error:
        return terminal.report(str(error), FAILURE)
    except KeyboardInterrupt:
        err.print("stopped before the system was ready")
        return FAILURE
    return DONE


def _name_shared_store(settings: HermesConfig, err: Console) -> None:
    shared = loading.unused_shared_store(settings)
    if shared is not None:
        err.print(
            f"note: earlier versions kept the cameras of every configuration in {shared}; this configuration starts "
            f"with an empty store of its own. To go on with the old one, set store: embedded:{shared}",
            style="yellow",
            markup=False,
        )
