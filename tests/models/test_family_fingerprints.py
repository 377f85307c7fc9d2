"""A memory of one model is not restored by another: the fingerprint knows every fact that shapes it."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest

from models import registry
from models.vision_language_model import VideoLanguageModel
from tests.models.families import FAMILIES, rebuilt

PARTS = {"model": "_MODEL_FACTS", "vision_config": "_VISION_FACTS", "text_config": "_TEXT_FACTS"}
FACTS = [
    (family, part, fact)
    for family in FAMILIES
    for part, facts in PARTS.items()
    for fact in getattr(sys.modules[registry.FAMILIES[family].adapter.__module__], facts)
]


@pytest.fixture(scope="module")
def models() -> dict[str, VideoLanguageModel]:
    return {family: build().model for family, build in FAMILIES.items()}


def other(value: Any) -> Any:
    """A value that a config may have instead."""
    if isinstance(value, bool) or value is None:
        return 64
    if isinstance(value, (int, float)):
        return value * 2
    if isinstance(value, str):
        return "relu"
    if isinstance(value, dict):
        return value | {"rope_theta": 123.0}
    return value[:-1]


@pytest.mark.parametrize(("family", "part", "fact"), FACTS)
def test_it_changes_with_what_the_config_says(
    models: dict[str, VideoLanguageModel], family: str, part: str, fact: str
) -> None:
    model = models[family]
    changed = copy.deepcopy(model._network)  # type: ignore[attr-defined]
    config = changed.config if part == "model" else getattr(changed.config, part)
    object.__setattr__(config, fact, other(getattr(config, fact)))

    assert rebuilt(model, changed, model.prompts).spec.fingerprint != model.spec.fingerprint


@pytest.mark.parametrize("family", list(FAMILIES))
def test_it_changes_with_the_vocabulary_and_not_with_a_copy(models: dict[str, VideoLanguageModel], family: str) -> None:
    model = models[family]
    same, larger = (copy.deepcopy(model._network) for _ in range(2))  # type: ignore[attr-defined]
    larger.resize_token_embeddings(larger.config.text_config.vocab_size + 8)

    assert rebuilt(model, same, model.prompts).spec.fingerprint == model.spec.fingerprint
    assert rebuilt(model, larger, model.prompts).spec.fingerprint != model.spec.fingerprint
