"""`hermes shards`: lists, scales, drains and undrains shards."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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

shards = typer.Typer(help="List, scale, drain and undrain shards.", no_args_is_help=True)

_PROGRESS_EVERY_S = 0.5
_MAX_NODE = 20
ShardIndex = Annotated[int | None, typer.Argument(metavar="SHARD", min=0, help="Its index, as in the list.")]
Node = Annotated[str | None, typer.Option("--node", help="Every shard of this machine or pod instead.")]


@shards.command("list")
@takes_server
def list_shards(
    server: Server,
    as_json: Json = False,
) -> None:
    """Show the state of all shards, and below them why one is not up.

    shard: its index, as drain and migrate --to take it.
    state: up, spare, starting, away, draining, drained or failed.
    node: the machine or pod that it runs on, as drain --node takes it.
    process: the process id there.
    memory: of the process, + what it has reserved on a GPU.
    busy: share of the last seconds in which the device worked, on any job.
    frames: share of the device's time that its cameras take at their rates, of
    the most that new ones may bring it to (shards.device.max_ingest_share).
    slots: cameras that it has, of those that fit.
    cameras: their names.
    """
    with server.connected() as hermes:
        response = hermes.list_shards()
    if as_json:
        rows = [shard_json(shard) for shard in response.shards]
        away_since = output.utc(response.store_away_since) if response.HasField("store_away_since") else None
        facts = {"headroom": response.headroom, "numbers": numbers_json(response.numbers)}
        terminal.print_json({"shards": rows, **facts, "store_away_since": output.iso(away_since)})
    else:
        _print_shards(response.shards)
        terminal.err.print(output.printable(numbers_note(response.numbers)), markup=False)
        terminal.err.print(headroom_note(response.headroom, len(response.shards)), markup=False)
    terminal.warn(output.store_note(response))


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
        _print_shards([response.shard for response in responses])
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
        _print_shards(undrained)


@shards.command("scale")
@takes_server
def scale_shards(
    server: Server,
    count: Annotated[int | None, typer.Argument(metavar="N", min=1, help="So many shards, always.")] = None,
    fewest: Annotated[int | None, typer.Option("--min", min=1, help="The fewest shards.")] = None,
    most: Annotated[int | None, typer.Option("--max", min=1, help="The most shards.")] = None,
    as_json: Json = False,
) -> None:
    """Say how many shards there may be. Those that are too many are emptied by moves, then they end."""
    with server.connected() as hermes:
        if count is not None and fewest is None and most is None:
            fewest = most = count
        elif count is not None or (fewest is None and most is None):
            terminal.fail("say either a number of shards, or --min, --max or both", MISTAKE)
        now = hermes.list_shards().numbers
        fewest, most = fewest or min(now.min, most or now.min), most or max(now.max, fewest or now.max)
        numbers = hermes.scale_shards(fewest, most)
    if as_json:
        terminal.print_json(numbers_json(numbers))
    else:
        terminal.out.print(output.printable(numbers_note(numbers)), markup=False)


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
        "ingest_share": round(shard.ingest_share, 3),
        "max_ingest_share": round(shard.max_ingest_share, 3),
        "is_spare": shard.is_spare,
        "resident_bytes": shard.resident_bytes,
        "device_bytes": shard.device_bytes,
    }


def numbers_json(numbers: pb.ShardNumbers) -> dict[str, Any]:
    """The numbers of shards for programs."""
    return {
        "min": numbers.min,
        "max": numbers.max,
        "spares": numbers.spares,
        "target": numbers.target,
        "reason": numbers.reason,
        "settings_version": numbers.settings_version,
    }


def numbers_note(numbers: pb.ShardNumbers) -> str:
    """How many shards there shall be, and why."""
    limits = f"min {numbers.min}, max {numbers.max}, spares {numbers.spares}"
    why = f": {numbers.reason}" if numbers.reason else ""
    return f"target {numbers.target} ({limits}){why}"


def shard_state(shard: pb.Shard) -> str:
    """up, starting, away, draining, drained (it drains and has no camera any more) or failed"""
    if shard.state == pb.SHARD_STATE_DRAINING and not shard.cameras:
        return "drained"
    return pb.ShardState.Name(shard.state).removeprefix("SHARD_STATE_").lower()


def _print_shards(rows: Sequence[pb.Shard]) -> None:
    terminal.print_table(shard_table(rows))
    for line in shard_reasons(rows):
        terminal.out.print(line, markup=False)


def shard_reasons(rows: Iterable[pb.Shard]) -> list[str]:
    """One line for each shard with a detail: in a column of the table it would be folded to one word a line."""
    return [
        # The error of a shard that does not answer names the shard itself.
        output.printable(f"shard {shard.index}: {shard.detail.removeprefix(f'shard {shard.index}: ')}")
        for shard in rows
        if shard.detail
    ]


def shard_table(rows: Iterable[pb.Shard]) -> Table:
    """One row for each shard. What its columns mean is in the help of `list_shards`."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for heading in ("shard", "state", "node", "process", "memory", "busy", "frames", "slots", "cameras"):
        is_short = heading not in ("node", "cameras")
        table.add_column(heading, overflow="fold", no_wrap=is_short, max_width=_MAX_NODE if heading == "node" else None)
    for shard in rows:
        is_away = shard.state in (pb.SHARD_STATE_AWAY, pb.SHARD_STATE_STARTING)
        table.add_row(
            str(shard.index),
            "spare" if shard.is_spare else shard_state(shard),
            Text(output.printable(shard.node)),
            "" if is_away else str(shard.pid),
            _memory(shard),
            "" if is_away else f"{shard.busy_share:.0%}",
            "" if is_away else f"{shard.ingest_share:.0%} of {shard.max_ingest_share:.0%}",
            f"{len(shard.cameras)} of {shard.slots}",
            Text(", ".join(shard.cameras) or "none"),
        )
    return table


def _memory(shard: pb.Shard) -> str:
    sizes = [size for size in (shard.resident_bytes, shard.device_bytes) if size]
    return "+".join(f"{size / 1e9:.1f}" for size in sizes) + " GB" if sizes else ""


def headroom_note(headroom: int, num_shards: int) -> str:
    """How many cameras would still fit if the shard with the most cameras were lost."""
    if num_shards == 1:
        return "one shard: while its process is restarted, nothing watches its cameras; more: shards.count"
    if headroom < 0:
        return f"without the shard with the most cameras, {-headroom} cameras would not fit on the others"
    return f"without the shard with the most cameras, there would still be slots for {headroom} more cameras"
