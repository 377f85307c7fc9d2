"""An engine with the random model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.llava_onevision import LlavaOnevision
from pipeline.device.engine import Engine
from tests.pipeline.device.engine_driver import CONFIG, MEMORY


@pytest.fixture
def engine(model: LlavaOnevision) -> Iterator[Engine]:
    engine = Engine(model, MEMORY, CONFIG, clock=lambda: 5_000.0)
    engine.start()
    yield engine
    engine.close()
