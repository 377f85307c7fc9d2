"""The nodes of a benchmark end with it, however it ends."""

from __future__ import annotations

import signal

import pytest

from benchmarks import nodes


@pytest.mark.ray
def test_sigterm_still_does_what_it_did_before_the_nodes_started() -> None:
    """Ray's own handlers would end one node, and leave the others with what the benchmark has started."""
    before = signal.getsignal(signal.SIGTERM)

    with nodes.running(1):
        assert signal.getsignal(signal.SIGTERM) is before
