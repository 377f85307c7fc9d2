"""`hermes demo`: greets, and starts Ray while the rest is imported; each takes seconds."""

from __future__ import annotations

import importlib
import threading

from actors import ray_cluster
from actors.errors import RayNotStarted
from console.cli import terminal
from console.cli.progress import Progress
from console.cli.terminal import FAILURE

_NUM_CPUS = 2.0  # one for each shard


def demo(seed: int, *, exit_after_answers: bool, as_json: bool, port: int | None) -> int:
    """Runs the demo; returns the exit code."""
    terminal.end_on_sigterm()
    importing = threading.Thread(target=importlib.import_module, args=("console.demo.demo",))
    importing.start()
    try:
        with Progress(terminal.err) as progress:
            progress.show("starting Ray, which runs the two processes that hold the memories (shards)")
            with ray_cluster.running(num_cpus=_NUM_CPUS, num_gpus=0):
                importing.join()
                from console.demo import demo as running_demo
                from console.demo.demo import DemoOptions

                return running_demo.run(DemoOptions(seed, exit_after_answers, as_json, port), progress)
    except RayNotStarted as error:
        return terminal.report(str(error), FAILURE)
    except KeyboardInterrupt:
        return terminal.report("the demo was stopped before its end", FAILURE)
