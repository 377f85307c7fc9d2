"""LLaVA-OneVision 0.5B in its published shape with random weights: speed and memory are real, answers are not."""

from __future__ import annotations

import torch

from benchmarks import random_checkpoints
from models.llava_onevision import LlavaOnevision
from models.policy_choice import BY_FAMILY
from models.vision_language_model import VideoLanguageModel

POLICY = BY_FAMILY[LlavaOnevision].policy  # of published weights; by its shortened texts the model counts as ours


def load() -> VideoLanguageModel:
    """The model, in bfloat16 on the CPU."""
    return random_checkpoints.model_of("llava-onevision-0.5b", torch.device("cpu"))
