"""Trains the tiny model from random weights on new scenes: python -m models.tiny.training.train --out DIR."""

import argparse
import json
import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import fields
from multiprocessing.queues import Queue
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Any

import torch
from torch import multiprocessing, nn
from transformers import LlavaOnevisionForConditionalGeneration, PreTrainedTokenizerFast

from models.tiny.network import FRAME_SIDE, PIXEL_MEAN, PIXEL_STD, RELIABLE_POSITIONS, build_model
from models.tiny.scenes.ground_truth import NUMBERS
from models.tiny.training.auxiliary_heads import AuxiliaryHeads
from models.tiny.training.batches import Batch, Packer
from models.tiny.training.curriculum import PEAK_RATE, STAGES, Schedule, make_batch
from models.tiny.training.lessons import Outcome, run_batch
from models.tiny.training.muon import Muon
from models.tiny.vocabulary import (
    GUIDANCE_GLOBAL,
    GUIDANCE_LOCAL,
    GUIDANCE_QUESTIONS,
    PREFIX_TEXT,
    QUESTION_TEXT,
    build_tokenizer,
)

_LOG_EVERY_S = 20.0
_SAVE_EVERY_S = 360.0


def _produce(seed: int, stage_index: "Synchronized[int]", batches: "Queue[dict[str, Any]]") -> None:
    torch.set_num_threads(1)
    rng, packer = random.Random(seed), Packer(build_tokenizer())
    while True:
        batch = make_batch(rng, STAGES[stage_index.value], packer)
        batches.put({"stage": stage_index.value, **{item.name: getattr(batch, item.name) for item in fields(batch)}})


def batches_from_worker(seed: int, schedule: Schedule) -> Iterator[tuple[int, Batch]]:
    """Batches of the current stage, each with its stage. Another process makes them, at most four ahead."""
    context = multiprocessing.get_context("spawn")
    stage_index, queue = context.Value("i", schedule.stage()), context.Queue(maxsize=4)
    worker = context.Process(target=_produce, args=(seed, stage_index, queue), daemon=True)
    worker.start()
    try:
        while schedule.elapsed_share < 1:
            stage_index.value = schedule.stage()
            item = queue.get(timeout=120)
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


def save(model: LlavaOnevisionForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Writes the checkpoint with its tokenizer and hermes.json, then replaces `folder` with it."""
    fresh = folder.with_name(folder.name + ".new")
    model.save_pretrained(fresh)
    tokenizer.save_pretrained(fresh)
    size = {"height": FRAME_SIDE, "width": FRAME_SIDE}
    pixels = {"image_mean": [PIXEL_MEAN] * 3, "image_std": [PIXEL_STD] * 3, "size": size}
    texts = {
        "prefix": PREFIX_TEXT,
        "question": QUESTION_TEXT,
        "guidance_local": GUIDANCE_LOCAL,
        "guidance_global": GUIDANCE_GLOBAL,
        "guidance_questions": GUIDANCE_QUESTIONS,
        "no_evidence_for": ["no", "none", "nothing", *NUMBERS],
    }
    (fresh / "preprocessor_config.json").write_text(json.dumps(pixels, indent=2) + "\n")
    described = {"texts": texts, "reliable_positions": RELIABLE_POSITIONS}
    (fresh / "hermes.json").write_text(json.dumps(described, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)


class _Tally:
    """Means since the last line of the log."""

    def __init__(self) -> None:
        self._right: dict[str, list[bool]] = defaultdict(list)
        self._losses: list[float] = []
        self._cell_losses: list[float] = []
        self._event_losses: list[float] = []
        self._since = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        self._losses.append(outcome.loss.item())
        self._cell_losses.append(outcome.cell_loss)
        self._event_losses.append(outcome.event_loss)
        for type_, right in outcome.right.items():
            self._right[type_] += right

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._since > _LOG_EVERY_S

    def line(self) -> str:
        means = {type_: sum(right) / len(right) for type_, right in sorted(self._right.items())}
        overall = sum(means.values()) / len(means) if means else 0.0
        steps = len(self._losses)
        rate = steps / (time.monotonic() - self._since)
        parts = [f"{rate:.2f} steps/s", f"loss {sum(self._losses) / steps:.3f}"]
        parts += [f"cells {sum(self._cell_losses) / steps:.3f}", f"events {sum(self._event_losses) / steps:.3f}"]
        parts += [f"mean {overall:.3f}"]
        return " ".join(parts + [f"{type_} {mean:.2f}" for type_, mean in means.items()])


def train(seed: int, minutes: float, out: Path, *, resume: Path | None = None, elapsed_share: float = 0.0) -> None:
    """Trains for that many minutes, prints a log, and writes the checkpoint to `out` every few minutes and at the end.

    resume: the checkpoint of an earlier run, continued where `elapsed_share` of the time has passed.
    """
    tokenizer = build_tokenizer()
    model = LlavaOnevisionForConditionalGeneration.from_pretrained(resume) if resume else build_model(tokenizer, seed)
    schedule = Schedule(minutes, elapsed_share=elapsed_share)
    heads = AuxiliaryHeads(model.config.text_config.hidden_size)
    optimizers, parameters = make_optimizers(model, heads), [*model.parameters(), *heads.parameters()]
    tally, saved_s, clips, questions = _Tally(), schedule.elapsed_s, 0, 0
    for step, (stage, batch) in enumerate(batches_from_worker(seed, schedule)):
        outcome = run_batch(model, heads, batch)
        torch.autograd.backward(outcome.loss)
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        clips, questions = clips + len(batch.types), questions + sum(len(types) for types in batch.types)
        tally.add(outcome)
        if tally.is_due:
            so_far = f"{clips} clips {questions} questions"
            print(
                f"{schedule.elapsed_s:.0f} s step {step} {STAGES[stage].name} {so_far} {tally.line()}",
                flush=True,
            )
            tally = _Tally()
        if schedule.elapsed_s - saved_s > _SAVE_EVERY_S:
            saved_s = schedule.elapsed_s
            save(model, tokenizer, out)
    save(model, tokenizer, out)
    print(f"done: {clips} clips, {questions} questions in {schedule.elapsed_s / 60:.1f} minutes", flush=True)


def main() -> None:
    """Reads the command line and trains."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=108.0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", type=Path, help="continue from the checkpoint of an interrupted run")
    parser.add_argument(
        "--elapsed-share",
        "--gone",  # the name in earlier logs
        type=float,
        default=0.0,
        help="the share of the minutes that the interrupted run had done",
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    train(options.seed, options.minutes, options.out, resume=options.resume, elapsed_share=options.elapsed_share)


if __name__ == "__main__":
    main()
