"""A model whose passes wait when the test says so: its device is in the middle of a job then."""

from __future__ import annotations

import threading
from typing import Any

from torch import Tensor

from models.embeddings import Embeddings
from models.vision_language_model import ForwardPass, VideoLanguageModel
from tests.pipeline.device.engine_driver import TIMEOUT_S


class PausingModel:
    """The model itself until `pause`. has_begun: once a pass waits for `resume`."""

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._is_pausing = self._waits_for_frames = False
        self.has_begun, self._may_go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def pause(self, *, at_frames: bool = False) -> None:
        """The next pass waits, and those after it. at_frames: the first is one that appends frames."""
        self._is_pausing, self._waits_for_frames = True, at_frames

    def resume(self) -> None:
        self._may_go_on.set()

    def embed_frames(self, groups: Tensor) -> Embeddings:
        self._waits_for_frames = False
        return self._model.embed_frames(groups)

    def forward(self, embeddings: Embeddings, forward_pass: ForwardPass) -> Tensor:
        if self._is_pausing and not self._waits_for_frames:
            self.has_begun.set()
            assert self._may_go_on.wait(TIMEOUT_S)
        return self._model.forward(embeddings, forward_pass)
