"""A wheel has all that the product needs beside Python's files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from models import catalogue

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The files of the wheel, and their bytes."""
    wheel = next(WheelBuilder(str(ROOT)).build(directory=str(tmp_path_factory.mktemp("dist")), versions=["standard"]))
    with zipfile.ZipFile(wheel) as files:
        return {file.filename: file.file_size for file in files.infolist()}


@pytest.mark.parametrize("name", ["tiny", "tiny-qwen3-vl"])
def test_a_wheel_contains_the_checkpoints_that_ship(packed: dict[str, int], name: str) -> None:
    folder = Path(catalogue.CHECKPOINTS[name])

    expected = {str(file.relative_to(ROOT)): file.stat().st_size for file in folder.iterdir()}
    assert {file: nbytes for file, nbytes in packed.items() if file in expected} == expected
    assert f"{folder.relative_to(ROOT)}/model.safetensors" in expected
