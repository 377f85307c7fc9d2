"""Where the failure of one unit of work ends, so that it takes no neighbour along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def ends_with(end: Callable[[Exception], object]) -> Iterator[None]:
    """Calls `end` with the error that ends the block, instead of raising it.

    torch.AcceleratorError is raised all the same: after it the process can run nothing more on its GPU.
    """
    try:
        yield
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - the work is of one client or camera, the thread of all
        end(error)


def in_one_pass(
    items: Sequence[T],
    run: Callable[[Sequence[T]], Sequence[R]],
    *,
    fail: Callable[[T, Exception], None],
    report: Callable[[Exception], object],
) -> list[tuple[T, R]]:
    """Each item with what `run` gives for it: of one pass over all of them, or of one for each item if that fails.

    report: called with the error of a pass over several. fail: called with each item that fails by itself, which is
    left out. torch.AcceleratorError is raised, as in `ends_with`.
    """
    if not items:
        return []
    with ends_with(report if len(items) > 1 else lambda error: fail(items[0], error)):
        return list(zip(items, run(items), strict=True))
    # Not where the error is handled: it holds what the failed pass has allocated.
    alone = [[item] for item in items] if len(items) > 1 else []
    return [found for one in alone for found in in_one_pass(one, run, fail=fail, report=report)]
