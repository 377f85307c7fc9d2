"""`hermes demo`. Imports `actors`, so the command line imports it late."""

from __future__ import annotations

from console.cli import terminal
from console.demo import demo as running_demo
from console.demo.demo import DemoOptions


def demo(seed: int, *, exit_after_answers: bool, as_json: bool, port: int | None) -> int:
    """Runs the demo; returns the exit code."""
    return running_demo.run(DemoOptions(seed, exit_after_answers, as_json, port), terminal.out, terminal.err)
