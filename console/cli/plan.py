"""`hermes plan`: how many GPUs, how much store and network a number of cameras needs. Loads neither torch nor Ray.

Its options show what can be planned with, from the sizes of caches and devices, so the command line imports it late.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, NoReturn

import typer

from cache_store.row_format import RowFormat
from console.cli import plan_table, terminal
from console.cli.terminal import MISTAKE, Json
from console.planning import demand as demands
from console.planning.demand import Demand, Video
from console.planning.figures import PlanError
from console.planning.gpus import GPUS
from console.planning.model_shapes import MODELS, shape_of
from console.planning.plan import Plan, plan_for
from console.planning.remedies import feasible_demands
from models.weight_format import WeightFormat

_FORMATS = ", ".join(one for one in WeightFormat if one is not WeightFormat.FLOAT32)  # which a plan refuses

_Cameras = Annotated[int | None, typer.Option("--cameras", help="How many cameras. Required.")]
_Model = Annotated[str, typer.Option("--model", help=f"One of {', '.join(MODELS)}.")]
_Weights = Annotated[WeightFormat, typer.Option("--weights", metavar="FORMAT", help=f"shards.weights: {_FORMATS}.")]
_SlotRows = Annotated[RowFormat, typer.Option("--slot-rows", metavar="exact|int8", help="shards.device.slot_rows.")]
_Gpu = Annotated[str, typer.Option("--gpu", help=f"One of {', '.join(GPUS)}.")]
_Fps = Annotated[float, typer.Option("--fps", help="Frames sampled of each camera a second.")]
_Activity = Annotated[float, typer.Option("--activity", help="Share of the frames in which something changes.")]
_Tokens = Annotated[int | None, typer.Option("--tokens-per-layer", help="Budget of a memory; default: the model's.")]
_FrameSize = Annotated[str | None, typer.Option("--frame-size", help="What the model reads, e.g. 448x448.")]
_Questions = Annotated[float, typer.Option("--questions-per-minute", help="Of all people together.")]
_Resolution = Annotated[str, typer.Option("--resolution", help="What a camera sends.")]
_Codec = Annotated[str, typer.Option("--codec", help=f"One of {', '.join(demands.CODECS)}.")]
_VideoFps = Annotated[float, typer.Option("--video-fps", help="Frames that a camera sends a second.")]
_KeyFrames = Annotated[float, typer.Option("--key-frame-every", help="Seconds between two key frames.")]
_Bitrate = Annotated[float, typer.Option("--bitrate", help="Mb/s of one camera.")]
_Checkpoints = Annotated[float, typer.Option("--checkpoint-every", help="Seconds: shards.checkpoint_every_s.")]
_Rows = Annotated[RowFormat, typer.Option("--checkpoint-rows", metavar="exact|int8", help="shards.checkpoint_rows.")]
_StoreGb = Annotated[float, typer.Option("--store-gb", help="Memory of the store, in GB.")]
_PerNode = Annotated[int, typer.Option("--gpus-per-node", help="GPUs of one machine.")]
_Spares = Annotated[int, typer.Option("--spares", help="GPUs that wait for the loss of another.")]


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def run(arguments: list[str]) -> NoReturn:
    """Reads the arguments of the command, carries it out and ends the program."""
    app(arguments, prog_name="hermes plan")
    raise AssertionError("a command line ends the program")


@app.command()
def plan(
    cameras: _Cameras = None,
    model: _Model = "qwen3-vl-8b",
    weights: _Weights = WeightFormat.AUTO,
    slot_rows: _SlotRows = RowFormat.EXACT,
    gpu: _Gpu = "a100-80g",
    fps: _Fps = 0.5,
    activity: _Activity = 0.1,
    tokens_per_layer: _Tokens = None,
    frame_size: _FrameSize = None,
    questions_per_minute: _Questions = 60.0,
    resolution: _Resolution = "1920x1080",
    codec: _Codec = "h264",
    video_fps: _VideoFps = 25.0,
    key_frame_every: _KeyFrames = 1.0,
    bitrate: _Bitrate = 4.0,
    checkpoint_every: _Checkpoints = 15.0,
    checkpoint_rows: _Rows = RowFormat.EXACT,
    store_gb: _StoreGb = 64.0,
    gpus_per_node: _PerNode = 8,
    spares: _Spares = 1,
    as_json: Json = False,
) -> None:
    """How many GPUs, how much store and network do so many cameras need? Asks no server."""
    if cameras is None:
        terminal.fail("--cameras: say how many, e.g. hermes plan --cameras 200", MISTAKE)
    try:
        shape = shape_of(model)
        video = Video(
            size=demands.parse_size("--resolution", resolution),
            codec=codec,
            video_fps=video_fps,
            key_frame_every=key_frame_every,
            bitrate=bitrate,
        )
        made = plan_for(
            Demand(
                cameras=cameras,
                model=model,
                weights=weights,
                slot_rows=slot_rows,
                gpu=gpu,
                fps=fps,
                activity=activity,
                tokens_per_layer=shape.tokens_per_layer if tokens_per_layer is None else tokens_per_layer,
                frame_size=demands.parse_size("--frame-size", frame_size) if frame_size else shape.frame_size,
                questions_per_minute=questions_per_minute,
                video=video,
                checkpoint_every=checkpoint_every,
                checkpoint_rows=checkpoint_rows,
                store_gb=store_gb,
                gpus_per_node=gpus_per_node,
                spares=spares,
            )
        )
    except PlanError as error:
        terminal.fail(str(error), MISTAKE)
    if as_json:
        terminal.print_json(plan_json(made))
    else:
        _print(made)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan for programs."""
    limits = [
        {
            "name": limit.name,
            "needed": limit.needed,
            "available": limit.available,
            "unit": limit.unit,
            "brought_by": limit.scale.value,
            "used_share": plan.used_share(limit),
            "full_at_cameras": plan.cameras_at(limit),
            "remedy": limit.remedy,
        }
        for limit in plan.by_cameras_at
    ]
    return {
        "gpus": plan.gpus,
        "shards": plan.shards,
        "nodes": plan.nodes,
        "cameras_per_shard": plan.cameras_per_shard,
        "feasible": plan.is_feasible,
        "breaks_first": plan.by_cameras_at[0].name,
        "limits": limits,
        "sections": {section.title: [asdict(figure) for figure in section.figures] for section in plan.sections},
        "settings": plan.settings,
        "holds_with": [
            {
                "checkpoint_every": one.checkpoint_every,
                "checkpoint_rows": one.checkpoint_rows.value,
                "store_gb": one.store_gb,
            }
            for one in feasible_demands(plan)
        ],
        "warnings": list(plan.warnings),
    }


def _print(plan: Plan) -> None:
    links = plan_table.numbered_links(plan)
    terminal.print_table(plan_table.figure_table(plan, links, terminal.out.width))
    for link, number in links.items():
        terminal.out.print(f"[{number}] {link}", markup=False)
    terminal.print_sentences(terminal.out, summary(plan))
    for warning in plan.warnings:
        terminal.print_sentences(terminal.err, f"note: {warning}", style="yellow")


def summary(plan: Plan) -> str:
    """The answer in some lines."""
    demand = plan.load.demand
    nodes = "1 node" if plan.nodes == 1 else f"{plan.nodes} nodes"
    lines = [
        f"\n{demand.cameras} cameras: {plan.gpus} x {demand.gpu} and {demand.spares} spare, "
        f"{plan.shards} shards on {nodes}, at most {plan.cameras_per_shard} cameras a shard"
    ]
    for limit in plan.by_cameras_at:
        share = plan.used_share(limit)
        state = f"{share:.0%} used, full at {plan.cameras_at(limit)} cameras"
        lines.append(f"  {'BREAKS' if share > 1 else 'holds ':<6} {limit.name}: {state}")
    first, *others = plan.by_cameras_at
    if plan.is_feasible:
        lines.append(
            f"everything holds; with more cameras {first.name} is full first, at {plan.cameras_at(first)}; what helps "
            f"then: {first.remedy}"
        )
    else:
        lines.append(f"breaks first: {first.name}; what helps: {first.remedy}")
        others = [limit for limit in others if plan.used_share(limit) > 1]
        lines += [f"{limit.name} does not suffice either; what helps: {limit.remedy}" for limit in others]
    lines += [f"nothing breaks with {_changes(demand, one)}" for one in feasible_demands(plan)]
    return "\n".join(lines)


def _changes(demand: Demand, feasible: Demand) -> str:
    """The options in which another demand differs, with the keys of the configuration that are set so."""
    changes = (
        (
            feasible.checkpoint_every != demand.checkpoint_every,
            f"--checkpoint-every {feasible.checkpoint_every:g} (shards.checkpoint_every_s; a crash may lose as much)",
        ),
        (
            feasible.checkpoint_rows is not demand.checkpoint_rows,
            f"--checkpoint-rows {feasible.checkpoint_rows.value} (shards.checkpoint_rows)",
        ),
        (feasible.store_gb != demand.store_gb, f"--store-gb {feasible.store_gb:g}"),
    )
    return " ".join(text for is_changed, text in changes if is_changed)
