"""`hermes ask`: one question to one camera, or to all of them at once."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from console.cli import answer_output, evidence_files, output, terminal
from console.cli.connection import Server, takes_server
from console.cli.progress import Progress
from console.cli.terminal import DONE, FAILURE, MISTAKE, Json
from console.client import answers
from console.client.answers import Answer
from console.client.client import HermesClient
from console.client.errors import ClientError
from protos import hermes_v1_pb2 as pb

_ASKED_AT_ONCE = 8
_MAX_WARNINGS_SHOWN = 5


@dataclass(slots=True)
class Outcome:
    """What one camera answered, or why it did not, and the files of its evidence."""

    camera: str
    answer: Answer | None = None
    error: ClientError | None = None
    files: list[Path | None] = field(default_factory=list)

    def save_evidence(self, folder: Path) -> None:
        """Saves the pictures of the answer. An error of the file system ends the program with one line."""
        try:
            self.files = evidence_files.save(self.answer, folder) if self.answer else []
        except OSError as error:
            terminal.fail(f"--save-evidence: {str(folder)!r}: {error.strerror or error}", FAILURE)


@takes_server
def ask(
    server: Server,
    question: Annotated[str, typer.Argument(help="What to ask, in plain words.")],
    camera: Annotated[str | None, typer.Option("--camera", "-c", help="The camera to ask.")] = None,
    is_for_all: Annotated[bool, typer.Option("--all", help="Ask every camera; the answers come as a table.")] = False,
    save_evidence: Annotated[
        Path | None, typer.Option("--save-evidence", metavar="FOLDER", help="Save the pictures of the evidence there.")
    ] = None,
    as_json: Json = False,
    max_tokens: Annotated[int, typer.Option(min=0, help="Longest answer; 0: the server's default.")] = 0,
) -> None:
    """Ask a camera; the answer is printed token by token. With --all, fails if a camera does not answer."""
    if (camera is None) != is_for_all:
        terminal.fail("name either a camera (--camera) or all of them (--all)", MISTAKE)
    if save_evidence is not None:
        _make_folder(save_evidence)
    with server.connected() as hermes:
        if camera is None:
            outcomes = _ask_all(hermes, question, max_tokens)
        else:
            events = hermes.ask(camera, question, max_answer_tokens=max_tokens)
            answer = answers.collect(camera, question, events, on_text=_ignore if as_json else _print_text)
            outcomes = [Outcome(camera, answer)]
    for outcome in outcomes if save_evidence else ():
        outcome.save_evidence(save_evidence or Path())
    if camera is None:
        _show_all(outcomes, as_json)
    else:
        _show_one(outcomes[0], as_json)
        if save_evidence is not None and not any(outcomes[0].files):
            terminal.err.print("no picture saved: the answer has no evidence with a picture", style="dim", markup=False)


def _ask_all(hermes: HermesClient, question: str, max_tokens: int) -> list[Outcome]:
    """What every camera says, some of them asked at once, in the order of their names."""
    cameras = hermes.list_cameras(pb.ListCamerasRequest(view=pb.CAMERA_VIEW_BASIC))
    if not cameras:
        terminal.fail("no camera is watched; add one with: hermes cameras add NAME URL", FAILURE)

    def ask_one(camera: pb.Camera) -> Outcome:
        try:
            events = hermes.ask(camera.name, question, max_answer_tokens=max_tokens)
            return Outcome(camera.name, answers.collect(camera.name, question, events))
        except ClientError as error:
            return Outcome(camera.name, error=error)

    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as threads, Progress(terminal.err) as progress:
        for outcome in threads.map(ask_one, cameras):
            outcomes.append(outcome)
            if terminal.err.is_terminal:
                progress.show(f"{len(outcomes)} of {len(cameras)} cameras asked")
    return outcomes


def _show_one(outcome: Outcome, as_json: bool) -> None:
    assert outcome.answer is not None
    if as_json:
        terminal.print_json(answer_output.answer_json(outcome.answer, outcome.files))
        return
    terminal.out.print()
    _warn(outcome.answer.warnings)
    terminal.err.print(answer_output.answer_notes(outcome.answer), style="dim", markup=False)
    for file in filter(None, outcome.files):
        terminal.err.print(f"saved {output.printable(str(file))}", style="dim", markup=False)


def _show_all(outcomes: list[Outcome], as_json: bool) -> None:
    """Prints every outcome, and ends the program with a failure if a camera did not answer."""
    failed = [outcome for outcome in outcomes if outcome.answer is None]
    if as_json:
        terminal.print_json([_outcome_json(outcome) for outcome in outcomes])
    else:
        terminal.print_table(
            answer_output.answer_table([(one.camera, one.answer, str(one.error or "")) for one in outcomes])
        )
        # Each camera that is not live says so, and many say the same of the question.
        _warn(list(dict.fromkeys(text for one in outcomes if one.answer for text in one.answer.warnings)))
        files = [file for outcome in outcomes for file in outcome.files if file]
        if files:
            terminal.err.print(f"saved {len(files)} pictures in {files[0].parent}", style="dim", markup=False)
    if failed:
        terminal.err.print(f"{len(failed)} of {len(outcomes)} cameras did not answer", style="red", markup=False)
    terminal.leave(FAILURE if failed else DONE)


def _outcome_json(outcome: Outcome) -> dict[str, Any]:
    if outcome.answer is not None:
        return {**answer_output.answer_json(outcome.answer, outcome.files), "error": None}
    error = outcome.error
    assert error is not None
    return {"camera": outcome.camera, "answer": None, "error": {"reason": error.reason, "message": error.message}}


def _warn(warnings: list[str]) -> None:
    for warning in warnings[:_MAX_WARNINGS_SHOWN]:
        terminal.err.print(f"warning: {output.printable(warning)}", style="yellow", markup=False)
    if len(warnings) > _MAX_WARNINGS_SHOWN:
        more = len(warnings) - _MAX_WARNINGS_SHOWN
        terminal.err.print(f"warning: and {more} more; --json shows all", style="yellow", markup=False)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        terminal.fail(f"--save-evidence: {str(folder)!r}: it is no folder", MISTAKE)
    except OSError as error:
        terminal.fail(f"--save-evidence: {str(folder)!r}: {error.strerror}", MISTAKE)


def _print_text(text: str) -> None:
    terminal.out.print(output.printable_lines(text), end="", markup=False)
    sys.stdout.flush()


def _ignore(_: str) -> None:
    pass
