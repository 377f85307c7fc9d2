"""Public benchmarks of streaming video on a machine with their videos: python -m benchmarks.streaming_video --help.

Every policy at every budget sees the same streams, frame by frame, and answers each question at its time with the
official prompt. Answers are appended to a file: the same command continues a run that was killed. The table is that of
benchmarks.accuracy. docs/streaming-benchmarks.md says how to run each benchmark and what its figures are.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import structlog
import torch

from benchmarks import contenders, parts, report, result_file
from benchmarks.accuracy import positive
from benchmarks.contenders import GATED, OURS, UnknownPolicy
from benchmarks.scorers import UnsupportedModel
from benchmarks.stream_memories import Task
from benchmarks.streaming import ovo_bench, rvs, streaming_bench, table, videos
from benchmarks.streaming.answers import AnswerFile, AnswerRow, Settings
from benchmarks.streaming.benchmark import StreamBenchmark, StreamQuestion
from benchmarks.streaming.errors import AnnotationInvalid, StreamingError, VideoMissing, VideoUnreadable
from benchmarks.streaming.table import StreamRow
from benchmarks.streaming.viewing import Entrant, Viewer
from models import catalogue, registry
from models.errors import InvalidBudget, ModelError
from models.vision_language_model import VideoLanguageModel

BENCHMARKS = {
    "streamingbench": streaming_bench.REAL_TIME,
    "ovo-bench": ovo_bench.CURRENT,
    "rvs-ego": rvs.EGO,
    "rvs-movie": rvs.MOVIE,
}
_MAX_NAMED = 3  # missing videos in a message


def main() -> None:
    """Answers what is missing, prints the table, writes JSON on request. Exit code 2 for what cannot be run."""
    options = _options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    torch.set_num_threads(options.threads)
    try:
        run(BENCHMARKS[options.benchmark], options)
    except (StreamingError, ModelError, UnknownPolicy, UnsupportedModel) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


def run(benchmark: StreamBenchmark, options: argparse.Namespace) -> None:
    """One benchmark with one model. Raises StreamingError, ModelError, UnknownPolicy, UnsupportedModel."""
    questions = _read(benchmark, options.annotations)
    by_video = _by_video(questions, options)
    model = registry.load_model(options.model, options.device)
    if limitation := catalogue.limitation(options.model):
        print(limitation, file=sys.stderr)
    settings = _settings(benchmark, model, options)
    reserve = _longest(model, questions) + settings.max_answer_tokens
    entrants = _entrants(model, options, reserve)
    with AnswerFile(options.answers, settings) as answers:
        if answers.num_others:
            print(f"{options.answers}: {answers.num_others} answers of other settings do not count", file=sys.stderr)
        viewer = Viewer(model, settings, benchmark.is_right, reserve)
        for number, (video, some) in enumerate(by_video.items(), 1):
            began_s = time.monotonic()
            try:
                num_new = _answer(viewer, video, some, entrants, answers, folder=options.videos)
            except VideoUnreadable as error:
                if not options.skip_broken:
                    raise
                print(f"left out: {error}", file=sys.stderr)
                continue
            spent_s = time.monotonic() - began_s
            print(
                f"{video} ({number} of {len(by_video)}): {num_new} answers, {spent_s:.0f} s",
                file=sys.stderr,
                flush=True,
            )
        _report(benchmark, options, questions, answers)


def _answer(
    viewer: Viewer,
    video: Path,
    questions: Sequence[StreamQuestion],
    entrants: Sequence[Entrant],
    answers: AnswerFile,
    *,
    folder: Path,
) -> int:
    """Adds the missing answers about one video; returns their number. Raises VideoUnreadable, InvalidBudget."""
    todo = [(e, q) for q in questions for e in entrants if (e.policy, e.budget, q.id) not in answers.rows]
    if not todo:
        return 0
    name, moments = str(video.relative_to(folder.absolute())), {question.at_s for question in questions}
    try:
        for row in viewer.watch(video, name, todo, moments):
            answers.add(row)
    except InvalidBudget as error:
        raise InvalidBudget(f"{video}: {error}") from error
    return len(todo)


def _read(benchmark: StreamBenchmark, file: Path) -> list[StreamQuestion]:
    """The questions of an annotation file, each with an id of its own. Raises AnnotationInvalid."""
    questions = benchmark.read(file)
    for name, count in Counter(question.id for question in questions).items():
        if count > 1:
            raise AnnotationInvalid(f"{file}: id {name!r} occurs {count} times")
    return questions


def _by_video(questions: Sequence[StreamQuestion], options: argparse.Namespace) -> dict[Path, list[StreamQuestion]]:
    """The questions of each video, up to --limit videos. Raises VideoMissing unless --skip-broken."""
    by_video: dict[Path, list[StreamQuestion]] = {}
    missing: list[str] = []
    for question in questions:
        try:
            by_video.setdefault(videos.find(question, options.videos), []).append(question)
        except VideoMissing as error:
            missing.append(str(error))
    if missing and not options.limit:
        named = "; ".join(dict.fromkeys(missing[:_MAX_NAMED]))
        text = f"{len(missing)} of {len(questions)} questions have no video: {named}"
        if not options.skip_broken or not by_video:
            raise VideoMissing(f"{text} (--skip-broken leaves them out)")
        print(f"left out: {text}", file=sys.stderr)
    if not by_video:
        raise VideoMissing(missing[0])
    return dict(list(by_video.items())[: options.limit])


def _entrants(model: VideoLanguageModel, options: argparse.Namespace, reserve: int) -> list[Entrant]:
    """Every policy at every budget, and the newest frames alone. Raises what a contender raises."""
    if GATED in options.policies:
        raise UnknownPolicy(f"policy {GATED!r}: recordings of these benchmarks are read without a gate")
    entrants = [
        Entrant(policy, policy, budget)
        for policy in options.policies
        for budget in (options.budgets if policy != "full" else [max(options.budgets)])
    ]
    entrants += [Entrant.newest_frames(number, model) for number in options.last_frames]
    for entrant in entrants:
        entrant.memory(Task(model, 1, entrant.budget, 4 * contenders.recent_frames(entrant.budget), reserve=reserve))
    return entrants


def _settings(benchmark: StreamBenchmark, model: VideoLanguageModel, options: argparse.Namespace) -> Settings:
    return Settings(
        benchmark=benchmark.name,
        edition=benchmark.edition,
        annotations=hashlib.sha256(options.annotations.read_bytes()).hexdigest()[:12],
        model=options.model,
        fingerprint=model.spec.fingerprint[:12],
        commit=parts.current_commit(),
        fps=options.fps or benchmark.fps,
        context_s=options.context,
        max_answer_tokens=options.max_answer_tokens or benchmark.max_answer_tokens,
    )


def _longest(model: VideoLanguageModel, questions: Sequence[StreamQuestion]) -> int:
    """Tokens of the longest question with all that the family puts around it."""
    ids = max((model.prompts.question(question.text).ids for question in questions), key=len)
    return len(model.embed_question(torch.tensor(ids, device=model.spec.device)))


def _report(
    benchmark: StreamBenchmark, options: argparse.Namespace, questions: Sequence[StreamQuestion], answers: AnswerFile
) -> None:
    if benchmark.is_right is None:
        rows = list(_judged(benchmark, options, questions, answers))
    else:
        rows = list(table.rows_of(benchmark, answers.rows.values(), len(questions)))
    if rows:
        print(report.markdown(rows))
    result_file.write(options.json, {}, rows=rows)


def _judged(
    benchmark: StreamBenchmark, options: argparse.Namespace, questions: Sequence[StreamQuestion], answers: AnswerFile
) -> Iterator[StreamRow]:
    """Writes what the official program reads, for each policy and budget; the rows of those that it has judged."""
    by_id = {question.id: question for question in questions}
    by_entrant: dict[tuple[str, int], list[AnswerRow]] = {}
    for row in answers.rows.values():
        by_entrant.setdefault((row.policy, row.budget), []).append(row)
    for (policy, budget), some in by_entrant.items():
        folder = options.answers.with_suffix("") / f"{policy}-{budget}"
        file = rvs.write_predictions(folder, by_id, [(row.question, row.response) for row in some])
        judgements = rvs.read_judgements(folder)
        # The program may have judged a run with other settings, whose responses are others.
        judged = [(row, one) for row in some if (one := judgements.get(row.question)) and one.response == row.response]
        if not judged:
            print(f"not scored here, a language model scores {benchmark.name}: {file}")
            continue
        score = round(statistics.fmean(one.score for _, one in judged), 2)
        rows = [replace(row, is_right=one.is_right) for row, one in judged]
        for scored in table.rows_of(benchmark, rows, len(questions)):
            yield replace(scored, judge_score=score)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=BENCHMARKS)
    parser.add_argument("--annotations", type=Path, required=True, help="the official file")
    parser.add_argument("--videos", type=Path, required=True, help="the folder of videos")
    parser.add_argument("--answers", type=Path, required=True, help="JSON lines; a run continues from its own lines")
    parser.add_argument("--model", required=True, help="name, hub id or folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--policies", nargs="+", default=[OURS, "hermes", "window"], metavar="NAME")
    parser.add_argument("--budgets", type=positive, nargs="+", default=[4_000], help="tokens a layer")
    parser.add_argument(
        "--last-frames", type=positive, nargs="*", default=[4], help="baselines: a plain answer over the newest frames"
    )
    parser.add_argument("--fps", type=_above_zero, help="frames a second (default: the benchmark's)")
    parser.add_argument("--context", type=_above_zero, help="seconds before a question (default: all of the video)")
    parser.add_argument("--max-answer-tokens", type=positive, help="default: the benchmark's")
    parser.add_argument("--limit", type=positive, help="only so many videos, of those that are there")
    parser.add_argument("--skip-broken", action="store_true", help="leave out videos that are missing or unreadable")
    parser.add_argument("--threads", type=positive, default=2, help="of torch")
    result_file.add_option(parser)
    return parser.parse_args()


def _above_zero(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{number} (above 0)")
    return number


if __name__ == "__main__":
    main()
