"""`hermes demo`: checks its port, greets, and starts Ray while the rest is imported; each takes seconds."""

from __future__ import annotations

import importlib
import threading
from contextlib import ExitStack

from actors import listen_addresses
from actors.errors import AddressInUse, RayNotStarted
from console.cli import interruption, terminal
from console.cli.interruption import INTERRUPTED
from console.cli.progress import Progress
from console.cli.terminal import FAILURE
from console.demo.options import DemoOptions

_GREETING = """\
This demo points four cameras at four drawn streets, and asks the cameras eight questions.
Each answer comes from the camera's memory and is printed beside the truth.
The first question comes as soon as a camera has frames.
"""
_NUM_CPUS = 2.0  # one for each shard


def demo(options: DemoOptions) -> int:
    """Runs the demo; returns the exit code."""
    try:
        listen_addresses.require_free(listen_addresses.of(options.router, port_key="--port"))
    except AddressInUse as error:
        return terminal.report(str(error), FAILURE)
    terminal.err.print(_GREETING, markup=False)
    with interruption.ending_at_once():
        from actors import ray_cluster
    terminal.end_on_sigterm()
    importing = threading.Thread(target=importlib.import_module, args=("console.demo.demo",))
    progress = Progress(terminal.err)
    try:
        with ExitStack() as stack:
            # An exception in the middle of two imports at once may leave a lock of Python that is never released.
            with interruption.ending_at_once(progress.stop):
                stack.enter_context(progress)
                progress.show("starting Ray, which runs the two processes that hold the memories (shards)")
                importing.start()
                stack.enter_context(ray_cluster.running(num_cpus=_NUM_CPUS, num_gpus=0))
                importing.join()
                from console.demo import demo as running_demo

            return running_demo.run(options, progress)
    except RayNotStarted as error:
        return terminal.report(str(error), FAILURE)
    except KeyboardInterrupt:
        return terminal.report("the demo was stopped before its end", INTERRUPTED)
