"""Each part runs by itself, and only a machine on which every part holds is fit."""

from __future__ import annotations

import json

import pytest
import torch

from actors.errors import RayNotStarted
from actors.gpu_doctor import examination
from actors.gpu_doctor.examination import Check
from actors.gpu_doctor.parts import CannotRun, Part, PartState, Proof, Unfit
from tests.console.running import run


def holds() -> Proof:
    return Proof("as it should be", {"frames_per_s": 100.0})


def fails(error: Exception) -> Check:
    def check() -> Proof:
        raise error

    return check


def test_a_part_that_fails_stops_no_other() -> None:
    parts = list(
        examination.examine(
            {
                "a": fails(Unfit("off by 9 levels (limit 3)", {"mean_levels": 9.0})),
                "b": fails(CannotRun("DALI cannot be imported")),
                "c": fails(RuntimeError("CUDA error: an illegal memory access\nlong advice")),
                "d": fails(RayNotStarted("Ray did not start")),
                "e": holds,
            }
        )
    )

    assert [part.state for part in parts] == [
        PartState.FAILED,
        PartState.NOT_RUN,
        PartState.FAILED,
        PartState.FAILED,
        PartState.OK,
    ]
    assert parts[0].figures == {"mean_levels": 9.0}
    assert parts[2].detail == "CUDA error: an illegal memory access"
    assert examination.verdict(parts) == (False, "unfit: of 5 parts 3 failed, 1 could not run")


def test_a_part_that_could_not_run_is_not_counted_as_fit() -> None:
    ok, not_run = Part("a", PartState.OK, ""), Part("b", PartState.NOT_RUN, "")

    assert examination.verdict([ok, ok]) == (True, "fit: all 2 parts hold")
    assert examination.verdict([ok, not_run])[0] is False


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
async def test_without_a_gpu_it_says_so_in_one_line() -> None:
    ended = await run("doctor", "--gpu")

    assert (ended.code, ended.out) == (1, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: no NVIDIA GPU: torch")


@pytest.mark.ray
@pytest.mark.slow
async def test_the_parts_run_on_a_cpu_and_end_with_unfit_because_dali_decodes_no_h264_there() -> None:
    ended = await run("doctor", "--gpu", "--device", "cpu", "--json")
    described = json.loads(ended.out)
    states = {part["name"]: part["state"] for part in described["parts"]}

    assert (ended.code, described["fit"]) == (1, False)
    assert (states["decode h264"], states["decode hevc"]) == ("failed", "failed")
    assert {states[name] for name in ("gpu", "memory, float32", "memory, bfloat16", "ray")} == {"ok"}


@pytest.mark.gpu
@pytest.mark.ray
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
async def test_this_machine_is_fit() -> None:
    ended = await run("doctor", "--gpu")

    assert ended.code == 0, ended.out
    assert ended.out.splitlines()[-1].startswith("fit: all")
