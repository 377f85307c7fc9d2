"""The command line loads neither torch nor Ray to add a camera."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEAVY = ("torch", "ray", "transformers")


def test_what_cameras_add_imports_loads_no_torch_and_no_ray() -> None:
    modules = "console.cli.commands, console.cli.cameras, actors.config.camera_entries"
    code = f"import sys, {modules}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.strip() == "[]"
