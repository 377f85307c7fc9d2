"""`hermes fleet`: what is done to all shards of a Ray cluster at once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from console.cli import interruption, output, terminal
from console.cli.terminal import DONE, FAILURE, MISTAKE

fleet = typer.Typer(help="End all shards of a Ray cluster.", no_args_is_help=True)


@fleet.callback()
def _group() -> None:
    """Keeps `stop` a subcommand although it is the only one."""


@fleet.command("stop")
def stop_fleet(
    config: Annotated[Path, typer.Option("--config", "-c", help="The YAML file of the servers.")],
    force: Annotated[bool, typer.Option("--force", help="End the servers too that still serve.")] = False,
) -> None:
    """Save every memory and end every shard of a cluster. Refused while a server serves. Fails if something is left."""
    from actors.config import loading
    from actors.errors import ConfigError, ServersRunning, ServiceError
    from cache_store.errors import StoreError

    def show(line: str) -> None:
        terminal.err.print(output.printable(line), markup=False)

    try:
        settings = loading.load_config(config)
        if settings.shards.is_local:
            terminal.fail("shards.ray is 'local': these shards end with their server", MISTAKE)
        terminal.print_step(terminal.err, "loading Ray")
        with interruption.ending_at_once():
            from actors import fleet_stop, ray_cluster

        with ray_cluster.without_ray_messages(), ray_cluster.joined(settings.shards.ray):
            left = asyncio.run(fleet_stop.stop(settings.store, settings.shards.grace_s, show, force=force))
    except (ConfigError, ServersRunning) as error:
        terminal.fail(str(error), MISTAKE)
    except (ServiceError, StoreError) as error:
        terminal.fail(str(error), FAILURE)
    for line in left:
        terminal.report(line, FAILURE)
    terminal.leave(FAILURE if left else DONE)
