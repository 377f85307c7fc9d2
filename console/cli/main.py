"""The entry point of the command line: from the first line on, Ctrl-C ends it with exit code 130 and no traceback."""

from __future__ import annotations

import sys

from console.cli import interruption
from console.cli.interruption import INTERRUPTED


def main() -> None:
    """Runs the command that the arguments name, and ends the program with its exit code."""
    try:
        with interruption.ending_at_once():
            from console.cli import commands
        commands.run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
