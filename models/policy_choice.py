"""Which policy a model's memories get under `memory.policy: auto`, and what that choice is based on.

The table stands in docs/models.md, too. A new family adds its row, with `NO_EVIDENCE` until answers were measured.
"""

from __future__ import annotations

from dataclasses import dataclass

from cache_store.tiers import PolicyName
from models import guidance
from models.llava_onevision import LlavaOnevision
from models.qwen2_5_vl import Qwen25VL
from models.qwen3_5 import Qwen35
from models.qwen3_vl import Qwen3VL
from models.vision_language_model import VideoLanguageModel


@dataclass(frozen=True, slots=True)
class PolicyChoice:
    """A policy by name. evidence: where answers of such a model under this policy were measured."""

    policy: PolicyName
    evidence: str

    def __str__(self) -> str:
        return f"policy {self.policy}: {self.evidence}"


NO_EVIDENCE = PolicyChoice(PolicyName.QUESTIONS, "none for this family; first in our benchmark of tiny models")
# The tiny models, and every checkpoint whose hermes.json has a bank of questions: no other policy reads it.
OWN_QUESTIONS = PolicyChoice(PolicyName.QUESTIONS, "our benchmark of tiny models (docs/accuracy.md)")
# Our benchmark has a tiny model each of LLaVA-OneVision and Qwen3-VL: in both `questions` is ahead of `hermes`, and
# `hermes` of HERMES as published (docs/accuracy.md). They are not the published weights, which the paper measured.
BY_FAMILY: dict[type[object], PolicyChoice] = {
    LlavaOnevision: PolicyChoice(PolicyName.HERMES, "arXiv 2601.14724, tables 1, 2 and 4 (0.5B, 7B)"),
    Qwen25VL: PolicyChoice(PolicyName.HERMES, "arXiv 2601.14724, tables 1 and 4 (7B, 32B)"),
    Qwen35: NO_EVIDENCE,
    Qwen3VL: PolicyChoice(PolicyName.HERMES, "arXiv 2601.14724, table 1 (4B, 8B)"),
}


def choose(name: PolicyName, model: VideoLanguageModel) -> PolicyChoice:
    """The policy of that name; for `auto` the row of the model."""
    if name is not PolicyName.AUTO:
        return PolicyChoice(name, "set by memory.policy")
    if model.prompts.texts.guidance_questions != guidance.QUESTIONS:
        return OWN_QUESTIONS
    return next((choice for family, choice in BY_FAMILY.items() if isinstance(model, family)), NO_EVIDENCE)
