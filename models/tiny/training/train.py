"""Trains a tiny model from random weights on new scenes: python -m models.tiny.training.train --out DIR."""

import argparse
import random
import time
from collections.abc import Iterator
from dataclasses import fields
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from queue import Empty
from typing import Any

import torch
from torch import multiprocessing, nn

from models.tiny.training.architectures import ARCHITECTURES
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import Batch, Packer
from models.tiny.training.curriculum import PEAK_RATE, Schedule, make_batch
from models.tiny.training.losses import run_batch
from models.tiny.training.muon import Muon
from models.tiny.training.saving import Progress, load_progress, save
from models.tiny.training.tally import Tally

_SAVE_EVERY_S = 360.0
_LIVENESS_S = 10.0  # between two checks of the process that makes batches
_CLOCKS = {"wall": time.monotonic, "processor": time.process_time}


def _produce(name: str, seed: int, stage_index: "Synchronized[int]", batches: "Queue[dict[str, Any]]") -> None:
    torch.set_num_threads(1)
    rng, packer = random.Random(seed), Packer(ARCHITECTURES[name])
    while True:
        batch = make_batch(rng, packer.architecture.stages[stage_index.value], packer)
        batches.put({"stage": stage_index.value, **{item.name: getattr(batch, item.name) for item in fields(batch)}})


def _batches_from_worker(name: str, seed: int, schedule: Schedule) -> Iterator[tuple[int, Batch]]:
    """Batches of the current stage, each with its stage. Another process makes them, at most four ahead."""
    context = multiprocessing.get_context("spawn")
    stage_index, queue = context.Value("i", schedule.stage()), context.Queue(maxsize=4)
    worker = context.Process(target=_produce, args=(name, seed, stage_index, queue), daemon=True)
    worker.start()
    try:
        while schedule.elapsed_share < 1:
            stage_index.value = schedule.stage()
            try:
                item = queue.get(timeout=_LIVENESS_S)
            except Empty:
                if not worker.is_alive():
                    raise RuntimeError(f"the process that makes batches ended with {worker.exitcode}") from None
                continue
            yield item.pop("stage"), Batch(**item)
    finally:
        worker.terminate()


def make_optimizers(model: nn.Module, heads: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for all other parameters."""
    matrices: list[nn.Parameter] = []
    others = list(heads.parameters())
    for name, parameter in model.named_parameters():
        is_matrix = parameter.ndim == 2 and ".layers." in name
        (matrices if is_matrix else others).append(parameter)
    return [
        Muon(matrices, lr=PEAK_RATE, weight_decay=0.01),
        torch.optim.AdamW(others, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def train(options: argparse.Namespace) -> None:
    """Trains for so many minutes, prints a log, and writes the checkpoint every few minutes and at the end."""
    architecture = ARCHITECTURES[options.architecture]
    model = architecture.load(options.resume) if options.resume else architecture.build(options.seed)
    heads = AuxiliaryHeads(
        model.config.get_text_config().hidden_size, architecture.frames_per_group, architecture.grids
    )
    optimizers, parameters = make_optimizers(model, heads), [*model.parameters(), *heads.parameters()]
    trained: list[nn.Module | torch.optim.Optimizer] = [heads, *optimizers]
    progress = load_progress(options.state, trained) or Progress(elapsed_share=options.elapsed_share)
    schedule = Schedule(
        options.minutes,
        architecture.stages,
        elapsed_share=progress.elapsed_share,
        clock=_CLOCKS[options.clock],
    )
    tally, saved_s = Tally(), schedule.elapsed_s
    seed = options.seed + 1_000 * progress.resumed  # a run that continues draws other clips
    for stage, batch in _batches_from_worker(options.architecture, seed, schedule):
        outcome = run_batch(architecture, model, heads, batch)
        torch.autograd.backward(outcome.loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(progress.step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        progress.add(batch, schedule.elapsed_share)
        tally.add(outcome)
        if tally.is_due:
            name = architecture.stages[stage].name
            print(f"{schedule.elapsed_s:.0f} s {progress} {name} {tally.line()}", flush=True)
            tally = Tally()
        if schedule.elapsed_s - saved_s > _SAVE_EVERY_S:
            saved_s = schedule.elapsed_s
            save(architecture, model, options.out)
            progress.save(options.state, trained)
    save(architecture, model, options.out)
    print(f"done: {progress} in {schedule.elapsed_s / 60:.1f} minutes", flush=True)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--architecture", choices=list(ARCHITECTURES), default="llava_onevision")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=108.0)
    parser.add_argument(
        "--clock", choices=list(_CLOCKS), default="wall", help="what the minutes are of: the time, or this processor's"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--state", type=Path, help="the optimizers' state is saved here, and an interrupted run continues from it"
    )
    parser.add_argument("--resume", type=Path, help="start from the weights of this checkpoint")
    parser.add_argument(
        "--elapsed-share",
        "--gone",  # the name in earlier logs
        type=float,
        default=0.0,
        help="the share of the minutes that the interrupted run had done; a state knows it itself",
    )
    options = parser.parse_args()
    if options.state and options.state.exists():
        options.resume = options.out
    torch.set_num_threads(options.threads)
    train(options)


if __name__ == "__main__":
    main()
