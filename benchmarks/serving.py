"""`hermes serve` as a process of its own, of a build that its caller names."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parents[1]
_END_TIMEOUT_S = 30.0


@contextmanager
def running(config: Path, *, build: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server of this configuration during the block; its shards are of this build. Its output goes to `log`."""
    command = [sys.executable, "-m", "console.cli.main", "serve", "--config", str(config)]
    environment = os.environ | {"HERMES_BUILD": build, "PYTHONPATH": str(_ROOT)}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
