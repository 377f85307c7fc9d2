"""Runs every part of the examination of a GPU, each by itself: one that fails or cannot run stops no other."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

import torch

from actors.errors import ServiceError
from actors.gpu_doctor import answering, decoding
from actors.gpu_doctor.parts import CannotRun, Part, PartState, Proof, Unfit
from models.errors import ModelError
from pipeline.cameras import CameraError

_MIN_BF16_CAPABILITY = (8, 0)
_NO_RAY = "Ray cannot be imported ({}): pip install 'ray[default]'"
Check = Callable[[], Proof]


def missing_gpu() -> str | None:
    """Why there is no GPU to examine, in one line; None if there is one."""
    if torch.cuda.is_available():
        return None
    build = "a build without CUDA; install one that has it" if torch.version.cuda is None else "no driver or no device"
    return f"no NVIDIA GPU: torch {torch.__version__} finds none ({build})"


def checks(device: str) -> dict[str, Check]:
    """The parts for a device: "cuda", or "cpu" to try the examination itself where there is no GPU."""
    decoder = "mixed" if device == "cuda" else "cpu"
    return {
        "gpu": partial(_gpu, device),
        **{f"decode {name}": partial(decoding.check, path, decoder) for name, path in decoding.SAMPLES.items()},
        "memory, float32": partial(answering.check_float32, device),
        "memory, bfloat16": partial(answering.check_bfloat16, device),
        "first token": partial(answering.check_ttft, device),
        "ray": partial(_ray, device),
    }


def examine(parts: Mapping[str, Check]) -> Iterator[Part]:
    """Runs the parts in order. Some take seconds."""
    for name, check in parts.items():
        try:
            proof = check()
            yield Part(name, PartState.OK, proof.detail, proof.figures)
        except CannotRun as error:
            yield Part(name, PartState.NOT_RUN, str(error))
        except Unfit as error:
            yield Part(name, PartState.FAILED, str(error), error.figures)
        except (ServiceError, ModelError, CameraError, ImportError, OSError, RuntimeError, ValueError) as error:
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield Part(name, PartState.FAILED, first)


def verdict(parts: Iterable[Part]) -> tuple[bool, str]:
    """Whether the machine is fit, and that in a line: a part that could not run proves nothing."""
    states = [part.state for part in parts]
    failed, not_run = states.count(PartState.FAILED), states.count(PartState.NOT_RUN)
    if not failed and not not_run:
        return True, f"fit: all {len(states)} parts hold"
    return False, f"unfit: of {len(states)} parts {failed} failed, {not_run} could not run"


def _gpu(device: str) -> Proof:
    if device != "cuda":
        return Proof(f"none: the parts run on the {device}")
    properties = torch.cuda.get_device_properties(0)
    capability = (properties.major, properties.minor)
    described = (
        f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, compute capability {capability[0]}.{capability[1]}"
    )
    figures = {"memory_gb": round(properties.total_memory / 1e9, 1)}
    if capability < _MIN_BF16_CAPABILITY:
        raise Unfit(f"{described}: bfloat16 needs 8.0", figures)
    return Proof(f"{described}, CUDA {torch.version.cuda}, torch {torch.__version__}", figures)


def _ray(device: str) -> Proof:
    """A process of Ray that asks for a GPU computes on it."""
    try:
        ray_cluster = importlib.import_module("actors.ray_cluster")
    except ImportError as error:
        raise CannotRun(_NO_RAY.format(error)) from error
    num_gpus = 1 if device == "cuda" else 0
    with ray_cluster.running(num_cpus=1, num_gpus=num_gpus):
        seen = ray_cluster.device_of_a_process(num_gpus=num_gpus)
    return Proof(f"a process with {num_gpus} GPU computes on {seen}")
