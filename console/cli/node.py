"""`hermes node`: what is done on one node of a Ray cluster, e.g. by the preStop hook of a pod."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from console.cli import interruption, output, terminal
from console.cli.terminal import DONE, FAILURE, MISTAKE

node = typer.Typer(help="Empty a node of a Ray cluster before it ends.", no_args_is_help=True)


@node.callback()
def _group() -> None:
    """Keeps `drain` a subcommand although it is the only one."""


@node.command("drain")
def drain_node(
    deadline: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="When all of it must be over.")] = 30.0,
    address: Annotated[str, typer.Option(help="Of the Ray cluster; auto: that of this machine.")] = "auto",
    node_id: Annotated[str | None, typer.Option(metavar="ID", help="Ray's id of another node than this one.")] = None,
) -> None:
    """Move the cameras of every shard of this node to others; save those that find no room. Fails if one is left.

    Ray starts nothing more on the node; this cannot be taken back.
    """
    from actors.config import hosts
    from actors.errors import ServiceError

    if not hosts.is_cluster(address):
        terminal.fail(f"--address: {address!r} is neither auto nor HOST:PORT of a running cluster", MISTAKE)
    terminal.print_step(terminal.err, "loading Ray")
    with interruption.ending_at_once():
        from actors import node_drain, ray_cluster

    def show(line: str) -> None:
        terminal.err.print(output.printable(line), markup=False)

    try:
        with ray_cluster.without_ray_messages(), ray_cluster.joined(address):
            left = asyncio.run(node_drain.drain(node_id, deadline, show))
    except ServiceError as error:
        terminal.fail(str(error), FAILURE)
    for line in left:
        terminal.report(line, FAILURE)
    terminal.leave(FAILURE if left else DONE)
