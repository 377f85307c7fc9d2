"""Real servers for what speaks to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests import servers
from tests.servers import KINDS


@pytest.fixture(scope="module")
def url_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], str]]:
    """The URL of a server of a kind, one for all tests of a module."""
    with ExitStack() as stack:
        started: dict[str, str] = {}

        def url(kind: str) -> str:
            if kind not in started:
                server = stack.enter_context(servers.running(kind, tmp_path_factory.mktemp("server")))
                started[kind] = server.url
            return started[kind]

        yield url


@pytest.fixture(params=KINDS)
def server_url(request: pytest.FixtureRequest, url_of: Callable[[str], str]) -> str:
    """A server of each kind."""
    return url_of(request.param)
