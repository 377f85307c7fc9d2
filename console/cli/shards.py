"""`hermes shards`: lists and drains shards."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from console.cli import output, terminal
from console.cli.connection import Server, takes_server
from console.cli.terminal import DONE, FAILURE, MISTAKE, Json
from protos import hermes_v1_pb2 as pb

shards = typer.Typer(help="List and drain shards.", no_args_is_help=True)


@shards.command("list")
@takes_server
def list_shards(
    server: Server,
    as_json: Json = False,
) -> None:
    """Show the state of all shards."""
    with server.connected() as hermes:
        response = hermes.list_shards()
    if as_json:
        terminal.print_json({"shards": [shard_json(shard) for shard in response.shards], "headroom": response.headroom})
        return
    terminal.out.print(shard_table(response.shards))
    terminal.err.print(headroom_note(response.headroom), markup=False)


@shards.command("drain")
@takes_server
def drain_shards(
    server: Server,
    index: Annotated[int | None, typer.Argument(metavar="[SHARD]", min=0)] = None,
    node: Annotated[str | None, typer.Option("--node", help="Every shard of this machine or pod instead.")] = None,
    as_json: Json = False,
) -> None:
    """Move every camera of a shard away; the shard gets no new ones. Fails if a camera fits nowhere else."""
    if (index is None) == (node is None):
        terminal.fail("name either a shard or, with --node, a machine or pod", MISTAKE)
    with server.connected() as hermes:
        on_node = [shard.index for shard in hermes.list_shards().shards if shard.node == node]
        if node is not None and not on_node:
            terminal.fail(f"node {node!r}: no shard runs there", FAILURE)
        drained = [hermes.drain_shard(shard) for shard in (on_node if index is None else [index])]
    if as_json:
        terminal.print_json([shard_json(shard) for shard in drained])
    else:
        terminal.out.print(shard_table(drained))
    terminal.leave(FAILURE if any(shard.cameras for shard in drained) else DONE)


def shard_json(shard: pb.Shard) -> dict[str, Any]:
    """One shard for programs."""
    return {
        "shard": shard.index,
        "state": shard_state(shard),
        "node": shard.node,
        "pid": shard.pid,
        "cameras": list(shard.cameras),
        "slots": shard.slots,
        "busy_share": round(shard.busy_share, 3),
    }


def shard_state(shard: pb.Shard) -> str:
    """up, away or draining"""
    return pb.ShardState.Name(shard.state).removeprefix("SHARD_STATE_").lower()


def shard_table(rows: Iterable[pb.Shard]) -> Table:
    """One row for each shard."""
    table = Table(box=None, pad_edge=False)
    for heading in ("shard", "state", "node", "process", "busy", "slots", "cameras"):
        table.add_column(heading, overflow="fold")
    for shard in rows:
        table.add_row(
            str(shard.index),
            shard_state(shard),
            Text(output.printable(shard.node)),
            str(shard.pid),
            f"{shard.busy_share:.0%}",
            f"{len(shard.cameras)} of {shard.slots}",
            Text(", ".join(shard.cameras) or "none"),
        )
    return table


def headroom_note(headroom: int) -> str:
    """How many cameras would still fit if the shard with the most cameras were lost."""
    if headroom < 0:
        return f"without the shard with the most cameras, {-headroom} cameras would not fit on the others"
    return f"without the shard with the most cameras, there would still be slots for {headroom} more cameras"
