"""Enforces the markers of server processes: a test that starts a server without its marker fails.

`make test-fast` excludes tests by these markers, so an unmarked test would start a server at every desk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

# A marker, and what stands in the command lines of its servers.
_COMMANDS = {
    "ray": ("/raylet/raylet", "gcs_server"),
    "redis": ("valkey-server", "redis-server"),
    "rtsp": ("rtsp_server.py",),
    "prometheus": ("prometheus --config.file",),
}
_running: list[pytest.Item] = []


class UnmarkedServer(AssertionError):
    """A test started a server process and lacks the marker of that server."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _running.append(item)
    try:
        return (yield)
    finally:
        _running.pop()


def missing_marker(command: str, markers: set[str]) -> str | None:
    """The marker that a test needs to start this command and does not have."""
    for marker, parts in _COMMANDS.items():
        if marker not in markers and any(part in command for part in parts):
            return marker
    return None


def _refuse_unmarked_servers(event: str, details: tuple[object, ...]) -> None:
    if event != "subprocess.Popen" or not _running:
        return
    executable, arguments, *_ = details
    words = [arguments] if isinstance(arguments, str | bytes) else list(arguments)  # type: ignore[call-overload]
    command = " ".join(map(str, (executable, *words)))
    marker = missing_marker(command, {mark.name for mark in _running[-1].iter_markers()})
    if marker is not None:
        raise UnmarkedServer(f"{_running[-1].nodeid} starts {command!r} and lacks @pytest.mark.{marker}")


# An audit hook sees the processes that libraries start too; it lasts as long as the interpreter.
sys.addaudithook(_refuse_unmarked_servers)
