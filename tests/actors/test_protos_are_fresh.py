"""The committed generated code is what the compiler generates from the .proto file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ("hermes_v1_pb2.py", "hermes_v1_pb2.pyi", "hermes_v1_pb2_grpc.py")


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("protos")
    options = [f"--{kind}_out={out}" for kind in ("python", "pyi", "grpc_python")]
    command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", *options, "protos/hermes_v1.proto"]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    return out / "protos"


@pytest.mark.parametrize("name", GENERATED)
def test_generated_code_is_fresh(compiled: Path, name: str) -> None:
    """If this fails: make protos."""
    assert (ROOT / "protos" / name).read_text() == (compiled / name).read_text()
