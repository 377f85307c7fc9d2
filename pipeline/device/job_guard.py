"""Where the failure of one unit of work ends, so that it takes no neighbour along."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch


@contextmanager
def ends_with(end: Callable[[Exception], None]) -> Iterator[None]:
    """Calls `end` with the error that ends the block, instead of raising it.

    torch.AcceleratorError is raised all the same: after it the process can run nothing more on its GPU.
    """
    try:
        yield
    except torch.AcceleratorError:
        raise
    except Exception as error:  # noqa: BLE001 - the work is of one client or camera, the thread is everybody's
        end(error)
