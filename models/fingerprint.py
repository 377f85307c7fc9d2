"""The name of what a memory depends on: a memory is restored only where keys and values mean the same."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from models import placement
from models.prompts import PromptTexts

_SAMPLES = 64  # of each weight


def fingerprint(facts: Mapping[str, object], weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over facts of a model that shape its keys and values, and the shape and a sample of every weight.

    The facts are JSON values, and the same in every later version of hermes, or every stored memory is refused.
    """
    return _digest(json.dumps(facts, sort_keys=True), weights)


def previous_fingerprint(texts: PromptTexts, dtype: torch.dtype, weights: Mapping[str, Tensor]) -> str:
    """The fingerprint of the version before: over all texts, those too that no memory depends on, under old names."""
    named = {field.name: getattr(texts, field.name) for field in dataclasses.fields(texts)}
    named["unwitnessed"] = named.pop("no_evidence_for")
    described = f"PromptTexts({', '.join(f'{name}={value!r}' for name, value in named.items())})"
    return _digest(f"({described}, {str(dtype)!r})", weights)


def _digest(head: str, weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(head.encode())
    for name, weight in sorted(placement.plain_names(weights).items()):
        sample = weight.flatten()[:: max(1, weight.numel() // _SAMPLES)].float().cpu()
        digest.update(f"{name} {tuple(weight.shape)}".encode() + sample.numpy().tobytes())
    return digest.hexdigest()
