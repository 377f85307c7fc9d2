"""Leases in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest

from tests.virtual_time import VirtualLoop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Every test here runs in virtual time, except the one that starts a process."""
    is_real = item.get_closest_marker("real_time") is not None
    return {"real": asyncio.SelectorEventLoop} if is_real else {"virtual": VirtualLoop}
