"""What one GPU reaches, in six minutes at most: python -m benchmarks.gpu --help.

It needs torch, transformers, numpy, safetensors and Pillow, and no other package: no Ray, no DALI, no av. The
weights of the large shapes are random, so that nothing is downloaded: speed and bytes are real, answers are not. Each
part is saved when it ends. Where it runs out of time or memory, it says so and goes on with the next part.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks import result_file
from benchmarks.on_device import equality, gpu_parts, plain_models
from benchmarks.on_device.gpu_parts import LARGE, SMALL, Figure, Sizes

_SHAPES = {
    "large": (LARGE, ("llava-onevision-7b", "qwen3-vl-8b")),
    "tiny": (SMALL, (plain_models.TINY, plain_models.TINY_QWEN)),
}
_TESTS = ("tests/models/test_gpu.py", "tests/pipeline/device/test_gpu_transfers.py")
_LIMIT_S = 360.0

_Part = tuple[str, Callable[[], Iterator[Figure]]]


def main() -> None:
    """Measures, saves each part, prints a table."""
    options = _options()
    sizes, names = _SHAPES[options.shapes]
    rows = run(torch.device(options.device), sizes, names, options.json, limit_s=options.limit_s)
    print(table(rows))


def run(
    device: torch.device, sizes: Sizes, names: Sequence[str], file: Path | None, *, limit_s: float = _LIMIT_S
) -> list[Figure]:
    """The figures of every part. A part that fails or begins after `limit_s` is one figure that says so."""
    began_s, figures = time.monotonic(), list[Figure]()
    published, reached = gpu_parts.peak_tflops(device)
    described = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    suffix = f", {described}, torch {torch.__version__}; bf16 {published:.0f} TFLOP/s, {reached:.0f} reached"
    for name, work in _parts(device, sizes, names, published):
        if time.monotonic() - began_s > limit_s:
            figures.append(Figure(name, "", f"not begun after {limit_s:g} s", 0.0, ""))
            continue
        try:
            figures += work()
        except Exception as error:  # noqa: BLE001 - a part is a unit of work, and the next one may fit
            figures.append(Figure(name, "", f"FAILED: {type(error).__name__}: {str(error)[:200]}", 0.0, ""))
        del work  # with the model, before the next one is loaded
        gc.collect()
        torch.cuda.empty_cache()
        result_file.write(file, _metrics(figures), rows=figures, machine_suffix=suffix)
        print(f"{time.monotonic() - began_s:6.1f} s  {name}", file=sys.stderr, flush=True)
    return figures


def table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| model | figure | hermes | bare forward |", "|---|---|---:|---:|"]
    for figure in figures:
        values = [f"{value:,.4g} {figure.unit}".strip() for value in (figure.value, figure.bare) if value is not None]
        lines.append(f"| {figure.model} | {figure.name} | {values[0]} | {values[1] if len(values) > 1 else '-'} |")
    return "\n".join(lines)


def _parts(device: torch.device, sizes: Sizes, names: Sequence[str], peak_tflops: float) -> Iterator[_Part]:
    yield "tests", _run_tests
    yield "equal answers", partial(_equal_answers, device)
    for name in names:
        model = plain_models.load(name, device)
        for part, work in gpu_parts.PARTS.items():
            yield f"{name}: {part}", partial(work, model, sizes, peak_tflops)
        del model


def _run_tests() -> Iterator[Figure]:
    """The tests marked gpu that need no more than this script does."""
    if importlib.util.find_spec("pytest") is None:
        yield Figure("tests", "", "not run: pytest is not installed", 0.0, "")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "--noconftest", *_TESTS]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    last = (outcome.stdout.strip().splitlines() or ["no output"])[-1]
    yield Figure("tests", "", f"tests marked gpu: {last.strip('= ')}", float(outcome.returncode), "(exit code)")


def _equal_answers(device: torch.device) -> Iterator[Figure]:
    """Answers of the tiny models here, which must be those of the CPU, in float32, before and after compactions."""
    torch.backends.cudnn.allow_tf32 = False
    for name in (plain_models.TINY, plain_models.TINY_QWEN):
        for num_frames, tokens in ((24, 1_000), (96, 256)):
            here, there = (
                equality.answers(name, where, num_frames=num_frames, tokens_per_layer=tokens)
                for where in (device, torch.device("cpu"))
            )
            same = sum(mine == theirs for mine, theirs in zip(here.answers, there.answers, strict=True))
            about = f"answers as on the CPU, of {len(there.answers)}, {num_frames} frames in {tokens} tokens"
            yield Figure("equal", name, about, float(same), "")


def _metrics(figures: Sequence[Figure]) -> dict[str, float]:
    return {f"{figure.model}: {figure.name}".removeprefix(": "): round(figure.value, 4) for figure in figures}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="of torch")
    parser.add_argument("--shapes", default="large", choices=list(_SHAPES), help="tiny: to see that it runs")
    parser.add_argument("--limit-s", type=float, default=_LIMIT_S, help="no part begins later")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
