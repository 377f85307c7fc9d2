"""What one GPU reaches, in six minutes at most: python -m benchmarks.gpu --help.

It needs torch, transformers, numpy, safetensors and Pillow, and no other package: no Ray, no DALI, no av. The
weights of the large shapes are random, so that nothing is downloaded: speed and bytes are real, answers are not. Each
figure is saved as soon as it is there. A part that fails says why, and the next one begins.
"""

from __future__ import annotations

import argparse
import functools
import gc
import importlib.util
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import torch

from benchmarks import result_file
from benchmarks.on_device import equality, gpu_parts, plain_models
from benchmarks.on_device.gpu_parts import LARGE, SMALL, Figure, Sizes
from models.vision_language_model import VideoLanguageModel

_SHAPES = {
    "large": (LARGE, ("llava-onevision-7b", "qwen3-vl-8b")),
    "tiny": (SMALL, (plain_models.TINY, plain_models.TINY_QWEN)),
}
_TESTS = ("tests/models/test_gpu.py", "tests/pipeline/device/test_gpu_transfers.py")
_LIMIT_S, _TESTS_LIMIT_S = 330.0, 120.0

_Part = tuple[str, Callable[[], Iterator[Figure]]]


def main() -> None:
    """Measures, saves each figure, prints a table."""
    options = _options()
    sizes, names = _SHAPES[options.shapes]
    device = torch.device(options.device)
    torch.backends.cuda.enable_cudnn_sdp(False)  # it plans anew for each length of a cache, and the bare model's grows
    peak = functools.cache(partial(gpu_parts.peak_tflops, device))

    def save(figures: Sequence[Figure]) -> None:
        published, reached = peak()
        described = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        suffix = f", {described}, torch {torch.__version__}; bf16 {published:.0f} TFLOP/s, {reached:.0f} reached"
        result_file.write(options.json, _metrics(figures), rows=figures, machine_suffix=suffix)

    print(table(run(_parts(device, sizes, names, peak), save, limit_s=options.limit_s)))


def run(
    parts: Iterable[_Part],
    save: Callable[[Sequence[Figure]], object],
    *,
    limit_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> list[Figure]:
    """The figures of every part. A part that fails or goes on after `limit_s` ends with a figure that says so.

    save: called with the figures so far behind each one.
    """
    began_s, figures = clock(), list[Figure]()
    for name, work in parts:
        gc.collect()
        torch.cuda.empty_cache()
        try:
            for figure in _until(began_s + limit_s, clock, name, work):
                figures.append(figure)
                save(figures)
        except Exception as error:  # noqa: BLE001 - a part is a unit of work, and the next one may fit
            traceback.print_exc()
            figures.append(Figure(name, "", f"FAILED: {type(error).__name__}: {str(error)[:200]}", 0.0, ""))
            save(figures)
        print(f"{clock() - began_s:6.1f} s  {name}", file=sys.stderr, flush=True)
    return figures


def _until(
    deadline_s: float, clock: Callable[[], float], name: str, work: Callable[[], Iterator[Figure]]
) -> Iterator[Figure]:
    """The figures of a part that are there before the deadline, and one that says so if any may be missing."""
    found = work()
    while clock() < deadline_s:
        if (figure := next(found, None)) is None:
            return
        yield figure
    yield Figure(name, "", "not measured further: no time is left", 0.0, "")


def table(figures: Sequence[Figure]) -> str:
    """The figures as Markdown."""
    lines = ["| model | figure | hermes | bare forward |", "|---|---|---:|---:|"]
    for figure in figures:
        values = [f"{value:,.4g} {figure.unit}".strip() for value in (figure.value, figure.bare) if value is not None]
        lines.append(f"| {figure.model} | {figure.name} | {values[0]} | {values[1] if len(values) > 1 else '-'} |")
    return "\n".join(lines)


class _Model:
    """A model that is loaded by the first of its parts."""

    def __init__(self, name: str, device: torch.device) -> None:
        self._name, self._device = name, device
        self._model: VideoLanguageModel | None = None

    def load(self) -> Iterator[Figure]:
        """How long that takes."""
        began_s = time.monotonic()
        self._model = plain_models.load(self._name, self._device)
        yield Figure("load", self._name, "loaded", time.monotonic() - began_s, "s")

    def measure(self, part: str, sizes: Sizes, peak: Callable[[], tuple[float, float]]) -> Iterator[Figure]:
        """The figures of a part. Raises RuntimeError where it is not loaded."""
        if self._model is None:
            raise RuntimeError(f"{self._name} is not loaded")
        yield from gpu_parts.PARTS[part](self._model, sizes, peak()[0])


def _parts(
    device: torch.device, sizes: Sizes, names: Sequence[str], peak: Callable[[], tuple[float, float]]
) -> Iterator[_Part]:
    """The tests come first: their process may need a GPU that this one does not use yet."""
    yield "tests", _run_tests
    yield "equal answers", partial(_equal_answers, device)
    for name in names:
        model = _Model(name, device)
        yield f"{name}: load", model.load
        for part in gpu_parts.PARTS:
            yield f"{name}: {part}", partial(model.measure, part, sizes, peak)


def _run_tests() -> Iterator[Figure]:
    """The tests marked gpu that need no more than this script does, and those of them that failed."""
    if importlib.util.find_spec("pytest") is None:
        yield Figure("tests", "", "not run: pytest is not installed", 0.0, "")
        return
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--rootdir", ".", "--noconftest", *_TESTS]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=_TESTS_LIMIT_S)
    lines = outcome.stdout.strip().splitlines() or ["no output"]
    yield Figure("tests", "", f"tests marked gpu: {lines[-1].strip('= ')}", float(outcome.returncode), "(exit code)")
    for line in lines:
        if line.startswith(("FAILED ", "ERROR ")):
            yield Figure("tests", "", line[:300], 1.0, "")
    if outcome.returncode:
        print(outcome.stdout, outcome.stderr, file=sys.stderr, flush=True)


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
    parser.add_argument("--limit-s", type=float, default=_LIMIT_S, help="nothing is measured later")
    result_file.add_option(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
