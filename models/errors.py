"""The errors of this room. Loads no torch.

ModelError
├── ModelNotFound   no model of that name, and no folder at that path
├── ModelInvalid    the checkpoint holds no model that can be used here, or asks for what is not supported
├── InvalidBudget   the memory's bounds do not fit the model
├── NotFinite       the model computed NaN or infinity: its input or its weights are damaged
└── GraphNotRecorded a decode step cannot be a CUDA graph
"""

from __future__ import annotations


class ModelError(Exception):
    """Root of every error of models."""


class ModelNotFound(ModelError):
    """No model of that name, and no folder at that path."""


class ModelInvalid(ModelError):
    """The checkpoint holds no model that can be used here, or asks for what is not supported."""


class InvalidBudget(ModelError):
    """The memory's bounds do not fit the model: too small for its frames, or too large for its positions."""


class NotFinite(ModelError):
    """The model computed NaN or infinity: its input or its weights are damaged."""


class GraphNotRecorded(ModelError):
    """A decode step cannot be a CUDA graph: it runs as an ordinary pass."""
