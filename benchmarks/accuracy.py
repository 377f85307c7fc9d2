"""Accuracy of answers from memories, policy against policy at the same budget: python -m benchmarks.accuracy --help.

Every policy gets the same streams of simulated scenes and the same questions of every type. The budget is what a layer
keeps after a compaction, without the prompt's prefix. Each finished part of a run (a policy, a budget, a length) is
saved in a folder: the same command continues an interrupted run, and never mixes in parts of other code or another
model.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks import contenders, parts, report, result_file, rows, streams
from benchmarks.contenders import ABLATIONS, CONTENDERS, POLICIES, UnknownPolicy
from benchmarks.parts import MIXED, Part, Settings
from benchmarks.scorers import UnsupportedModel
from benchmarks.streams import VISITS, Character, Stream
from models import registry
from models.errors import InvalidBudget
from models.tiny import vocabulary
from models.vision_language_model import VideoLanguageModel

BUDGETS = (48, 96, 256, 512)
LENGTHS = (64, 256, 1_024)


def main() -> None:
    """Measures the missing parts, prints tables, writes JSON and plots on request. Exit code 2 for wrong options."""
    options = _options()
    torch.set_num_threads(options.threads)
    try:
        models = [load(name) for name in options.models]
        by_model = [list(run(model, options, pooled_with=models)) for model in models]
    except (UnknownPolicy, UnsupportedModel, InvalidBudget) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    results = [row for same in zip(*by_model, strict=True) for row in rows.rows_of(same)]
    print(report.markdown([row for row in results if row.delay_s is None]))
    result_file.write(options.json, {}, rows=results)
    if options.plots:
        report.plot(results, options.plots)


def run(
    model: VideoLanguageModel, options: argparse.Namespace, pooled_with: Sequence[VideoLanguageModel] = ()
) -> Iterator[Part]:
    """Every part of the options, loaded from the folder or measured.

    pooled_with: models that have the same parts, so a policy is left out where one of them cannot take the length.
    """
    commit, fingerprint = parts.current_commit(), model.spec.fingerprint[:12]
    for length in options.lengths:
        all_settings = [
            Settings(
                commit,
                fingerprint,
                options.seed,
                options.streams,
                policy,
                budget,
                length,
                options.character,
                options.visits,
            )
            for policy in _capable(options.policies, length, (model, *pooled_with))
            for budget in _budgets(model, policy, options.budgets)
        ]
        all_streams: list[Stream] = []
        for settings in all_settings:
            part = parts.load(settings, options.folder)
            if part is None:
                all_streams = all_streams or _streams(model, settings)
                part = _measured(model, settings, all_streams)
                part.save(options.folder)
            yield part


def load(name: str) -> VideoLanguageModel:
    """The model of that name; ends the process if its vocabulary lacks a word of the scenes."""
    model = registry.load_model(name)
    if unknown := model.prompts.question(" ".join(vocabulary.scene_words())).unknown_words:
        sys.exit(f"--models {name}: its vocabulary lacks {unknown[0]!r}, so it cannot answer about these scenes")
    return model


def _measured(model: VideoLanguageModel, settings: Settings, all_streams: Sequence[Stream]) -> Part:
    began_s = time.monotonic()
    part = parts.measure(model, settings, all_streams)
    whole = next(rows.rows_of([part]))
    print(
        f"{settings.policy}, {settings.budget} tokens, {settings.length} frames: {whole.accuracy:.3f} of {whole.n}, "
        f"{time.monotonic() - began_s:.0f} s",
        file=sys.stderr,
        flush=True,
    )
    return part


def _streams(model: VideoLanguageModel, settings: Settings) -> list[Stream]:
    character = None if settings.character == MIXED else Character(settings.character)
    return [
        streams.make_stream(model, settings.seed * 1_000 + index, settings.length, character, settings.visits)
        for index in range(settings.num_streams)
    ]


def _capable(policies: Sequence[str], length: int, models: Sequence[VideoLanguageModel]) -> list[str]:
    """The policies that can take streams of that length with every model."""
    max_frames = {name: contenders.named(name).max_frames for name in policies}
    return [
        name
        for name in policies
        if (limit := max_frames[name]) is None or all(length <= limit(model) for model in models)
    ]


def _budgets(model: VideoLanguageModel, policy: str, budgets: Sequence[int]) -> list[int]:
    """The budgets to measure. A full cache has none; it is measured once, beside the largest."""
    for budget in budgets:
        least = model.spec.layout.max_tokens(contenders.recent_frames(budget)) + 2
        if budget < least:
            raise InvalidBudget(
                f"--budgets {budget}: the recent window ({least - 2} tokens) and a summary need at least {least}"
            )
    return [max(budgets)] if policy == "full" else list(budgets)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        nargs="+",
        default=["tiny"],
        metavar="MODEL",
        help="names or folders of checkpoints that know the words of the scenes",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the scenes: another seed, other streams")
    parser.add_argument("--streams", type=positive, default=12, help="of each length")
    parser.add_argument("--character", choices=[MIXED, *Character], default=MIXED)
    parser.add_argument("--visits", type=positive, default=VISITS, help="of a stream of any length, approximately")
    parser.add_argument("--policies", nargs="+", default=list(POLICIES), metavar="NAME", help=_ideas())
    parser.add_argument("--ablations", action="store_true", help="the default policy and its variants instead")
    parser.add_argument("--budgets", type=positive, nargs="+", default=list(BUDGETS), help="tokens a layer")
    parser.add_argument("--lengths", type=positive, nargs="+", default=list(LENGTHS), help="frames")
    parser.add_argument("--folder", type=Path, default=Path(".accuracy"), help="where finished parts are saved")
    result_file.add_option(parser)
    parser.add_argument("--plots", type=Path, help="write the plots into this folder")
    parser.add_argument("--threads", type=positive, default=2, help="of torch")
    options = parser.parse_args()
    if options.ablations:
        options.policies = list(ABLATIONS)
    return options


def _ideas() -> str:
    """Every contender, for --help."""
    return "; ".join(f"{name}: {contender.idea}" for name, contender in CONTENDERS.items())


def positive(text: str) -> int:
    """A command-line number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} (at least 1)")
    return number


if __name__ == "__main__":
    main()
