"""Opens the cameras of its arguments in a confined worker, and prints what each came to."""

from __future__ import annotations

import sys

from pipeline.cameras import CameraState
from tests.pipeline.workers import pools
from tests.pipeline.workers.pools import Cameras


def main(urls: list[str]) -> None:
    """Prints a line for each URL: live, or the first reason why it is not."""
    with pools.workers(folders=()) as pool:
        cameras = Cameras(pool.open)
        for url in urls:
            cameras.open(f"c{urls.index(url)}", url)

        def came_to(name: str) -> list[str]:
            return [reason or state for state, _, reason in cameras.states[name] if reason or state is CameraState.LIVE]

        for number in range(len(urls)):
            cameras.wait_until(lambda name=f"c{number}": bool(came_to(name)))  # type: ignore[misc]
            print(f"came to {came_to(f'c{number}')[0]}")  # noqa: T201 - the process that started this one reads it


if __name__ == "__main__":
    main(sys.argv[1:])
