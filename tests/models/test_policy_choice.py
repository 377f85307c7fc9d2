"""`memory.policy: auto` takes the model's row of a table in which every family names its evidence."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache_store.policies import POLICIES
from cache_store.tiers import MemoryConfig, PolicyName
from models import llava_onevision, policy_choice, registry
from models.importance import SCORERS
from models.llava_onevision import LlavaOnevision
from models.memory_writer import MemoryWriter
from models.policy_choice import BY_FAMILY, NO_EVIDENCE, OWN_QUESTIONS
from models.prompts import Prompts
from models.tiny import network, vocabulary

MODELS_PAGE = Path(__file__).parents[2] / "docs/models.md"


@pytest.fixture(scope="module")
def tiny() -> LlavaOnevision:
    model = registry.load_model("tiny", "cpu")
    assert isinstance(model, LlavaOnevision)
    return model


@pytest.fixture(scope="module")
def published() -> LlavaOnevision:
    """A small network of the family with the family's own texts: a checkpoint without a hermes.json."""
    tokenizer = vocabulary.build_tokenizer()
    prompts = Prompts(tokenizer, llava_onevision.TEXTS)
    return LlavaOnevision(network.build_model(tokenizer, seed=0), prompts, name="random")


def test_every_family_has_a_row_and_the_page_of_models_has_the_same() -> None:
    page = MODELS_PAGE.read_text()

    assert set(BY_FAMILY) == {family.adapter for family in registry.FAMILIES.values()}
    for choice in (*BY_FAMILY.values(), OWN_QUESTIONS, NO_EVIDENCE):
        assert f"| `{choice.policy}` | {choice.evidence} |" in page


def test_auto_is_the_default_and_takes_the_row_of_the_model(tiny: LlavaOnevision, published: LlavaOnevision) -> None:
    assert MemoryConfig().policy is PolicyName.AUTO
    assert policy_choice.choose(PolicyName.AUTO, tiny) == OWN_QUESTIONS
    assert policy_choice.choose(PolicyName.AUTO, published) == BY_FAMILY[LlavaOnevision]


def test_a_policy_that_is_set_is_taken_whatever_the_table_says(tiny: LlavaOnevision) -> None:
    choice = policy_choice.choose(PolicyName.HERMES, tiny)

    assert (choice.policy, choice.evidence) == (PolicyName.HERMES, "set by memory.policy")


def test_a_memory_is_compacted_by_the_policy_of_the_models_row(tiny: LlavaOnevision, published: LlavaOnevision) -> None:
    by_questions, by_hermes = (
        MemoryWriter(model, MemoryConfig(), max_frames=4, reserve=64) for model in (tiny, published)
    )

    assert by_questions.policy is POLICIES[PolicyName.QUESTIONS]
    assert by_hermes.policy is POLICIES[PolicyName.HERMES]
    assert by_hermes.scorer.num_tokens == SCORERS[PolicyName.HERMES](published, by_hermes.plans).num_tokens
