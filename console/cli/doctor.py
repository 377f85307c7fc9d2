"""`hermes doctor`: reads the configuration, then imports the checks, which load torch and Ray."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from actors import logs
from actors.config import loading
from actors.config.schema import HermesConfig
from actors.errors import ConfigError
from console.cli import output, terminal
from console.cli.terminal import DONE, FAILURE, MISTAKE

if TYPE_CHECKING:
    from actors.doctor import Finding

_UNDER_DETAIL = " " * 14  # the width of the mark and of the name, each with its space


def examine(config: Path | None, out: Console, *, as_json: bool) -> int:
    """Prints a line for each finding, or all of them as one JSON array; returns the exit code."""
    logs.log_to_stderr(logging.ERROR)
    try:
        settings = loading.load_config(config) if config else HermesConfig()
    except ConfigError as error:
        return terminal.report(str(error), MISTAKE)
    terminal.print_step(terminal.err, "loading PyTorch and Ray")
    from actors import doctor

    findings = []
    for finding in doctor.examine(settings):
        findings.append(finding)
        if not as_json:
            _print(finding, out)
    if as_json:
        terminal.print_json([{"name": one.name, "ok": one.is_ok, "detail": one.detail} for one in findings])
    return DONE if all(finding.is_ok for finding in findings) else FAILURE


def _print(finding: Finding, out: Console) -> None:
    mark = Text("ok  ", style="green") if finding.is_ok else Text("FAIL", style="red")
    detail = output.printable_lines(finding.detail).replace("\n", f"\n{_UNDER_DETAIL}")
    out.print(mark, Text(f"{finding.name:<8}", style="bold"), Text(detail))
