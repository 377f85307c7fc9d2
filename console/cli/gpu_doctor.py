"""`hermes doctor --gpu`: a table of parts that ends with fit or unfit. Imports `actors`, so it is imported late."""

from __future__ import annotations

import logging

import torch
from rich.console import Console
from rich.text import Text

from actors import logs
from actors.gpu_doctor import examination
from actors.gpu_doctor.parts import Part, PartState
from console.cli import output, terminal
from console.cli.terminal import DONE, FAILURE

_MARKS = {
    PartState.OK: Text("ok     ", style="green"),
    PartState.FAILED: Text("FAIL   ", style="red"),
    PartState.NOT_RUN: Text("not run", style="yellow"),
}


def examine(device: str, out: Console, *, as_json: bool) -> int:
    """Prints a line for each part as it ends, or all of them as one JSON object; returns the exit code."""
    logs.log_to_stderr(logging.ERROR)
    reason = examination.missing_gpu() if device == "cuda" else None
    if reason is not None:
        return terminal.report(reason, FAILURE)
    parts = []
    for part in examination.examine(examination.checks(device)):
        parts.append(part)
        if not as_json:
            out.print(_MARKS[part.state], Text(f"{part.name:<16}", style="bold"), Text(output.printable(part.detail)))
    is_fit, line = examination.verdict(parts)
    if as_json:
        described = [part_json(part) for part in parts]
        terminal.print_json({"fit": is_fit, "device": device, "torch": torch.__version__, "parts": described})
    else:
        out.print(Text(line, style="green" if is_fit else "red"))
    return DONE if is_fit else FAILURE


def part_json(part: Part) -> dict[str, object]:
    """One part for programs."""
    return {"name": part.name, "state": part.state.value, "detail": part.detail, "figures": part.figures}
