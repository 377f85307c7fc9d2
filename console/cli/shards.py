"""`hermes shards`: lists, drains and undrains shards."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from console.cli import output, terminal
from console.cli.connection import Server, takes_server
from console.cli.progress import Progress
from console.cli.terminal import DONE, FAILURE, MISTAKE, Json
from console.client.client import HermesClient
from protos import hermes_v1_pb2 as pb

shards = typer.Typer(help="List, drain and undrain shards.", no_args_is_help=True)

_PROGRESS_EVERY_S = 0.5
_MAX_CELL = 20
ShardIndex = Annotated[int | None, typer.Argument(metavar="[SHARD]", min=0, help="Its index, as in the list.")]
Node = Annotated[str | None, typer.Option("--node", help="Every shard of this machine or pod instead.")]


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
    terminal.print_table(shard_table(response.shards))
    terminal.err.print(headroom_note(response.headroom, len(response.shards)), markup=False)


@shards.command("drain")
@takes_server
def drain_shards(
    server: Server,
    index: ShardIndex = None,
    node: Node = None,
    force: Annotated[bool, typer.Option("--force", help="Although no other shard takes cameras.")] = False,
    as_json: Json = False,
) -> None:
    """Move every camera of a shard away; it gets no new ones until undrain. Fails if a camera stays, and says why."""
    with server.connected() as hermes, Progress(terminal.err) as progress:
        responses = [_drain(hermes, one, progress, force=force) for one in _named_shards(hermes, index, node)]
    if as_json:
        terminal.print_json([_drain_json(response) for response in responses])
    else:
        terminal.print_table(shard_table(response.shard for response in responses))
        for stayed in (one for response in responses for one in response.not_moved):
            terminal.err.print(output.printable(f"camera {stayed.name!r} stayed: {stayed.reason}"), markup=False)
    terminal.leave(FAILURE if any(response.shard.cameras for response in responses) else DONE)


@shards.command("undrain")
@takes_server
def undrain_shards(server: Server, index: ShardIndex = None, node: Node = None, as_json: Json = False) -> None:
    """Let a drained shard take cameras again."""
    with server.connected() as hermes:
        undrained = [hermes.undrain_shard(one) for one in _named_shards(hermes, index, node)]
    if as_json:
        terminal.print_json([shard_json(shard) for shard in undrained])
    else:
        terminal.print_table(shard_table(undrained))


def _named_shards(hermes: HermesClient, index: int | None, node: str | None) -> list[int]:
    """The shard of this index, or every shard of a machine or pod. Ends the program if there is none."""
    if (index is None) == (node is None):
        terminal.fail("name either a shard or, with --node, a machine or pod", MISTAKE)
    if index is not None:
        return [index]
    on_node = [shard.index for shard in hermes.list_shards().shards if shard.node == node]
    return on_node or terminal.fail(f"node {node!r}: no shard runs there", FAILURE)


def _drain(hermes: HermesClient, index: int, progress: Progress, *, force: bool) -> pb.DrainShardResponse:
    """Drains a shard and shows meanwhile how many of its cameras have moved."""
    before = _count_cameras(hermes, index)
    with ThreadPoolExecutor(1) as thread:
        draining = thread.submit(hermes.drain_shard, index, force=force)
        while not wait([draining], _PROGRESS_EVERY_S).done:
            moved = before - _count_cameras(hermes, index)
            progress.show(f"shard {index}: {moved} of {before} cameras moved")
        response = draining.result()
    progress.show(f"shard {index}: {before - len(response.shard.cameras)} of {before} cameras moved")
    return response


def _count_cameras(hermes: HermesClient, index: int) -> int:
    return sum(len(shard.cameras) for shard in hermes.list_shards().shards if shard.index == index)


def _drain_json(response: pb.DrainShardResponse) -> dict[str, Any]:
    not_moved = [{"camera": one.name, "reason": one.reason} for one in response.not_moved]
    return shard_json(response.shard) | {"not_moved": not_moved}


def shard_json(shard: pb.Shard) -> dict[str, Any]:
    """One shard for programs."""
    return {
        "shard": shard.index,
        "state": shard_state(shard),
        "detail": shard.detail,
        "node": shard.node,
        "pid": shard.pid,
        "cameras": list(shard.cameras),
        "slots": shard.slots,
        "busy_share": round(shard.busy_share, 3),
    }


def shard_state(shard: pb.Shard) -> str:
    """up, away, draining or failed"""
    return pb.ShardState.Name(shard.state).removeprefix("SHARD_STATE_").lower()


def shard_table(rows: Iterable[pb.Shard]) -> Table:
    """One row for each shard."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("shard", "state", "node", "process", "busy", "slots", "cameras", "why"):
        is_short = heading not in ("node", "cameras", "why")
        table.add_column(heading, overflow="fold", no_wrap=is_short, max_width=None if is_short else _MAX_CELL)
    for shard in rows:
        is_away = shard.state == pb.SHARD_STATE_AWAY
        table.add_row(
            str(shard.index),
            shard_state(shard),
            Text(output.printable(shard.node)),
            "" if is_away else str(shard.pid),
            "" if is_away else f"{shard.busy_share:.0%}",
            f"{len(shard.cameras)} of {shard.slots}",
            Text(", ".join(shard.cameras) or "none"),
            Text(output.printable(shard.detail)),
        )
    return table


def headroom_note(headroom: int, num_shards: int) -> str:
    """How many cameras would still fit if the shard with the most cameras were lost."""
    if num_shards == 1:
        return "one shard: while its process is restarted, nothing watches its cameras; more: shards.count"
    if headroom < 0:
        return f"without the shard with the most cameras, {-headroom} cameras would not fit on the others"
    return f"without the shard with the most cameras, there would still be slots for {headroom} more cameras"
