"""A plan's arithmetic: by hand, by its properties, and against what the product and its benchmarks measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import real_shape
from cache_store import checkpoint_codec
from cache_store.row_format import RowFormat
from cache_store.tiers import MemoryConfig
from console.planning import constants
from console.planning.demand import Demand, Video, parse_size
from console.planning.figures import Basis, PlanError
from console.planning.gpus import GPUS
from console.planning.limits import cameras_that_fit, limits_of
from console.planning.model_shapes import MODELS, ModelShape
from console.planning.plan import Plan, plan_for
from console.planning.remedies import feasible_demands
from console.planning.workload import Workload
from models import registry
from models.vision_language_model import VideoLanguageModel
from models.weight_format import WeightFormat
from pipeline.device.device_config import DeviceConfig
from pipeline.device.engine import Engine
from tests.pipeline.device import engine_driver

ROOT = Path(__file__).parents[3]
HEADER_SHARE = 0.02  # of a checkpoint of the tiny model


def demand(model: str = "qwen3-vl-8b", gpu: str = "a100-80g", **changes: object) -> Demand:
    """The demand of the page, with these changes."""
    shape = MODELS[model]
    usual = Demand(
        cameras=500,
        model=model,
        gpu=gpu,
        fps=0.5,
        activity=0.1,
        tokens_per_layer=shape.tokens_per_layer,
        frame_size=shape.frame_size,
        checkpoint_every=15.0,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


DEMANDS = st.builds(
    demand,
    model=st.sampled_from(["tiny", "tiny-qwen3-vl", "llava-onevision-0.5b", "qwen2.5-vl-7b", "qwen3-vl-8b"]),
    gpu=st.sampled_from(["a100-80g", "h200-141g", "l40s-48g"]),
    cameras=st.integers(1, 20_000),
    fps=st.floats(0.05, 8),
    activity=st.floats(0, 1),
    questions_per_minute=st.floats(0, 10_000),
)


def test_int8_weights_take_less_room_and_more_time() -> None:
    """The matrices of the decoder's layers: one byte a number, widened to two for each pass."""
    exact, quantised = load_of(demand()), load_of(demand(weights=WeightFormat.INT8))

    assert exact.weights_nbytes - quantised.weights_nbytes == MODELS["qwen3-vl-8b"].decoder.block_params
    assert quantised.answer_s > exact.answer_s
    assert plan_for(demand(gpu="l4-24g", cameras=5, weights=WeightFormat.INT8)).settings["shards.weights"] == "int8"
    with pytest.raises(PlanError, match="--weights is 'float32'"):
        demand(weights=WeightFormat.FLOAT32)


def test_slots_of_int8_rows_let_more_cameras_fit_and_copies_stay_exact() -> None:
    exact, rounded = (plan_for(demand(slot_rows=rows)).load for rows in RowFormat)

    assert rounded.slot_nbytes < 0.55 * exact.slot_nbytes
    assert rounded.answers_nbytes == exact.answers_nbytes
    assert rounded.checkpoint_nbytes == load_of(demand(checkpoint_rows=RowFormat.INT8)).checkpoint_nbytes
    assert cameras_that_fit(rounded) > 1.3 * cameras_that_fit(exact)
    assert plan_for(demand(slot_rows=RowFormat.INT8)).settings["shards.device.slot_rows"] == "int8"


def test_a_plan_for_a_real_model_says_that_its_answers_were_not_measured() -> None:
    assert any("answers of qwen3-vl-8b" in warning for warning in plan_for(demand()).warnings)
    for shipped in ("tiny", "tiny-qwen3-vl"):
        assert not any("answers of" in warning for warning in plan_for(demand(shipped)).warnings)


def load_of(asked: Demand) -> Workload:
    return Workload(asked, MODELS[asked.model], GPUS[asked.gpu])


def shares(plan: Plan) -> dict[str, float]:
    return {limit.name: plan.used_share(limit) for limit in plan.limits}


def test_the_plan_of_the_page_by_hand() -> None:
    """500 cameras, Qwen3-VL-8B, A100 80 GB, 0.5 frames a second of which a tenth change."""
    plan = plan_for(demand())
    load = plan.load
    slot = 36 * (3 + 4_000 + 4 * 268) * (2 * 8 * 128 * 2 + 36)  # layers x tokens x (key and value + facts)
    copies = 36 * (4 * 5_075 + (4 + 32) * (256 + 64 + 2)) * 4_132
    weights = 2 * MODELS["qwen3-vl-8b"].num_params
    left = 0.95 * 80e9 - weights - copies - load.activations_nbytes - 2e9

    assert load.slot_nbytes == slot == 754_916_400
    assert load.answers_nbytes == copies
    assert load.session_nbytes == 20 * 1920 * 1080 * 1.5
    assert plan.gpus == -(-500 // int(left // (slot + load.session_nbytes))) == 8
    assert (plan.shards, plan.nodes, plan.cameras_per_shard) == (9, 2, 63)
    assert load.frames_read_per_s == pytest.approx(0.05)
    assert load.tokens_per_s == pytest.approx(0.05 * 104)
    assert load.checkpoint_nbytes == 36 * 4_000 * 4_132
    assert load.saved_share == pytest.approx(0.75)  # 15 s x 0.05 frames
    assert load.store_nbytes_per_s == pytest.approx(0.75 * 595_008_000 / 15 + 0.05 * 25_000)
    assert plan.by_cameras_at[0].name == "store bandwidth"
    assert not plan.is_feasible


def test_what_helps_the_store_does_help() -> None:
    """The remedy's interval is one at which the store suffices, and a second less is not."""
    plan = plan_for(demand())
    remedy = plan.by_cameras_at[0].remedy
    interval_s = int(remedy.partition("shards.checkpoint_every_s: ")[2].split()[0])

    assert shares(plan_for(demand(checkpoint_every=float(interval_s))))["store bandwidth"] <= 1
    assert shares(plan_for(demand(checkpoint_every=float(interval_s - 1))))["store bandwidth"] > 1


@given(asked=DEMANDS)
def test_what_is_said_to_hold_does_and_keeps_gpus_and_cameras(asked: Demand) -> None:
    plan = plan_for(asked)
    for changed in feasible_demands(plan):
        held = plan_for(changed)
        assert held.is_feasible
        assert (held.gpus, held.load.demand.cameras) == (plan.gpus, asked.cameras)
        assert changed.checkpoint_every >= asked.checkpoint_every


@pytest.mark.parametrize(
    ("changes", "rows"),
    [
        ({}, ["exact", "int8"]),
        ({"checkpoint_rows": RowFormat.INT8}, ["int8"]),
        ({"cameras": 4}, []),  # nothing breaks
        ({"video": Video(bitrate=100.0)}, []),  # cameras alone fill the network
        ({"cameras": 90_000}, []),  # beyond a day between checkpoints
    ],
)
def test_what_can_be_said_to_hold(changes: dict[str, object], rows: list[str]) -> None:
    assert [one.checkpoint_rows.value for one in feasible_demands(plan_for(demand(**changes)))] == rows


def test_a_quiet_camera_still_has_a_whole_frame_every_thirty_seconds() -> None:
    load = load_of(demand(fps=2.0, activity=0.0))

    assert load.frames_read_per_s == pytest.approx(1 / DeviceConfig().key_frame_every_s)


@pytest.mark.parametrize(("fps", "steps"), [(0.5, 0.5), (2.0, 1.0), (8.0, 2.0)])
def test_a_step_is_a_clip_of_up_to_a_second_or_four_frames(fps: float, steps: float) -> None:
    assert load_of(demand(fps=fps, activity=1.0)).steps_per_s == pytest.approx(steps)


def test_key_frames_alone_are_decoded_where_they_come_often_enough() -> None:
    assert Video(key_frame_every=2.0).decoded_fps(0.5) == 0.5
    assert Video(key_frame_every=2.1).decoded_fps(0.5) == 25.0


def test_engines_scale_with_clock_and_pixels() -> None:
    """1,316 frames of HEVC a second at 1,860 MHz; an A100 has 1,290 MHz. Four times the pixels, a quarter of them."""
    assert GPUS["a100-80g"].engine_fps("hevc", (1920, 1080)) == pytest.approx(1_316 * 1_290 / 1_860)
    assert GPUS["a100-80g"].engine_fps("hevc", (3840, 2160)) == pytest.approx(1_316 * 1_290 / 1_860 / 4)


def test_a_codec_that_the_chip_does_not_know_is_warned_of() -> None:
    plan = plan_for(demand(video=Video(codec="av1")))

    assert "a100-80g has no decoder for av1: the CPU decodes it" in plan.warnings
    assert "decoder engines" not in shares(plan)


# Each change makes the system larger.
MORE = {
    "cameras": lambda asked: replace(asked, cameras=asked.cameras + 1),
    "fps": lambda asked: replace(asked, fps=asked.fps * 1.1),
    "activity": lambda asked: replace(asked, activity=min(1.0, asked.activity + 0.1)),
    "tokens": lambda asked: replace(asked, tokens_per_layer=asked.tokens_per_layer + 50),
    "questions": lambda asked: replace(asked, questions_per_minute=asked.questions_per_minute + 100),
}


@given(asked=DEMANDS)
def test_what_is_full_holds_so_many_cameras_and_not_one_more(asked: Demand) -> None:
    """With as many questions, whatever the number of cameras."""
    plan = plan_for(asked)
    for index, limit in enumerate(plan.limits):
        full = plan.cameras_at(limit)
        room = limit.needed / plan.used_share(limit)
        if 1 <= full < 1_000_000:
            assert limits_of(load_of(replace(asked, cameras=full)))[index].needed <= room * (1 + 1e-9), limit.name
            assert limits_of(load_of(replace(asked, cameras=full + 1)))[index].needed > room * (1 - 1e-9), limit.name


@pytest.mark.parametrize("change", MORE)
@given(asked=DEMANDS)
def test_more_of_anything_never_needs_less(change: str, asked: Demand) -> None:
    before, after = plan_for(asked), plan_for(MORE[change](asked))

    assert after.gpus >= before.gpus
    for old, new in zip(limits_of(before.load), limits_of(after.load), strict=True):
        assert new.needed / new.available >= old.needed / old.available * (1 - 1e-9), new.name


@given(asked=DEMANDS)
def test_the_gpus_of_a_plan_suffice_and_one_less_would_not(asked: Demand) -> None:
    plan = plan_for(asked)
    of_gpus = [limit for limit in plan.limits if limit.scale == "gpu"]

    assert all(limit.used_share(plan.gpus) <= 1 for limit in of_gpus)
    assert plan.gpus == 1 or any(limit.used_share(plan.gpus - 1) > 1 for limit in of_gpus)
    assert plan.cameras_per_shard * plan.gpus >= asked.cameras


@given(asked=DEMANDS)
def test_every_figure_has_a_source(asked: Demand) -> None:
    for figure in (figure for section in plan_for(asked).sections for figure in section.figures):
        assert figure.source, figure
        if figure.basis is Basis.PUBLISHED:
            assert "https://" in figure.source or "nvidia-smi" in figure.source or "models/tiny" in figure.source
        if figure.basis is Basis.MEASURED:
            files = [word.rstrip(":,") for word in figure.source.split() if "/" in word]
            assert files
            assert all((ROOT / name).exists() for name in files), figure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": 0}, "--cameras is 0: it must be 1 to 1,000,000"),
        ({"cameras": 1_234_567}, "--cameras is 1,234,567: it must be 1 to 1,000,000"),
        ({"fps": float("nan")}, "--fps is nan: it must be 0.01 to 60"),
        ({"activity": 1.5}, "--activity is 1.5: it must be 0 to 1"),
        ({"gpu": "gtx"}, "--gpu is 'gtx': a plan knows a100-40g"),
        ({"gpu": "a100-80"}, "; did you mean 'a100-80g'[?]$"),
        ({"gpu": "l4-24g", "tokens_per_layer": 100_000}, "takes .* GB with one camera .limit 22.8 GB."),
    ],
)
def test_what_cannot_be_planned_is_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(PlanError, match=message.replace("+", r"\+")):
        plan_for(demand(**changes))


@pytest.mark.parametrize("text", ["1920", "x", "1920x", "1920x1080x3", "-1x5", "8x8", "99999x16"])
def test_a_size_is_two_numbers(text: str) -> None:
    with pytest.raises(PlanError, match="--resolution is "):
        parse_size("--resolution", text)


def planned(model: VideoLanguageModel, shape: ModelShape, config: DeviceConfig, tokens: int) -> int:
    """Slot bytes of a plan for this model as it is loaded here, which is not always in bfloat16."""
    load = replace(load_of(demand(shape.name, tokens_per_layer=tokens)), device=config)
    footprint = load.model.decoder.footprint(model.spec.kv.dtype.itemsize)
    return footprint.slot_nbytes(load.slot_capacity, config.slot_rows)


@pytest.mark.parametrize("rows", list(RowFormat))
@pytest.mark.parametrize("name", ["tiny", "tiny-qwen3-vl"])
def test_a_slot_of_a_tiny_model_has_the_bytes_that_the_engine_allocates(name: str, rows: RowFormat) -> None:
    model, config = registry.load_model(name, "cpu"), DeviceConfig(max_cameras=3, slot_rows=rows)
    engine = Engine(model, MemoryConfig(tokens_per_layer=256), config)

    assert engine.nbytes == 3 * planned(model, MODELS[name], config, 256)


@pytest.mark.slow
def test_a_slot_of_the_half_billion_has_the_bytes_that_the_engine_allocates() -> None:
    """With the prefix of the stand-in for its tokenizer, which has one token for each byte."""
    model, config = real_shape.load(), DeviceConfig(max_cameras=1, max_running_questions=1)
    shape = replace(MODELS["llava-onevision-0.5b"], prefix_tokens=len(model.prompts.prefix))
    load = replace(load_of(demand(shape.name)), model=shape, device=config)
    engine = Engine(model, MemoryConfig(tokens_per_layer=4_000), config)

    assert engine.nbytes == load.slot_nbytes


@pytest.mark.parametrize("rows", list(RowFormat))
def test_a_checkpoint_of_a_plan_has_the_bytes_of_a_real_one(rows: RowFormat) -> None:
    """The tiny model's, full and saved whole, in float32; the plan has all tokens of the budget."""
    model = registry.load_model("tiny", "cpu")
    engine = Engine(model, MemoryConfig(tokens_per_layer=256), DeviceConfig(max_cameras=1))
    engine.start()
    engine.add_camera("street")
    engine_driver.ingest(engine, "street", 10)
    saved = engine_driver.whole(engine, "street")
    engine.close()
    written = replace(saved, facts=replace(saved.facts, rows=rows))
    encoded = sum(map(len, checkpoint_codec.encode(written)))
    expected = MODELS["tiny"].decoder.footprint(4).checkpoint_nbytes(256, rows)

    assert all(len(layer) <= 256 for layer in saved.layers)
    assert encoded == pytest.approx(expected, rel=HEADER_SHARE)


def test_the_measured_figures_are_those_of_the_benchmarks() -> None:
    policies = json.loads((ROOT / "docs/upkeep.json").read_text())["rows"]
    (upkeep,) = [row for row in policies if row["policy"] == "hermes"]  # which published weights get
    saved = json.loads((ROOT / "docs/checkpoints.json").read_text())["costs"][0]

    assert (saved["camera"], saved["rows"]) == ("1080p", "exact")
    assert constants.STORE_NBYTES_PER_S.value == pytest.approx(saved["nbytes"] / saved["store_s"], rel=0.01)
    assert constants.UPKEEP_TOKENS.value == round(upkeep["tokens_per_clip"] * upkeep["upkeep_s"] / upkeep["prefill_s"])


def test_a_plan_loads_neither_torch_nor_ray() -> None:
    code = "import atexit, sys; from console.cli import commands; "
    code += "loaded = lambda: [name for name in ('torch', 'ray', 'transformers', 'numpy') if name in sys.modules]; "
    code += "atexit.register(lambda: print(loaded())); commands.app(['plan', '--cameras', '9'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.splitlines()[-1] == "[]"
