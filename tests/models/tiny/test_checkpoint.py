"""The shipped checkpoints are small and complete, and answer from the video."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from models import catalogue
from models.tiny.training.architecture import Architecture
from models.tiny.training.architectures import architecture_of
from models.tiny.training.evaluate import Condition, evaluate
from models.tiny.vocabulary import UNKNOWN, qwen_words, words


@dataclass(frozen=True)
class Shipped:
    """A checkpoint, the words of its vocabulary, and how many tokens 6 square frames become."""

    folder: Path
    architecture: Architecture
    network: PreTrainedModel
    words: tuple[str, ...]
    tokens: int

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        return AutoTokenizer.from_pretrained(self.folder)


OF_NAME: dict[str, tuple[Callable[[], tuple[str, ...]], int]] = {
    "tiny": (words, 6 * 16),
    "tiny-qwen3-vl": (qwen_words, 3 * 16),
}


@pytest.fixture(scope="module", params=OF_NAME)
def shipped(request: pytest.FixtureRequest) -> Shipped:
    folder = Path(catalogue.CHECKPOINTS[request.param])
    architecture, (of_vocabulary, tokens) = architecture_of(folder), OF_NAME[request.param]
    return Shipped(folder, architecture, architecture.load(folder).eval(), of_vocabulary(), tokens)


def test_the_folder_is_small(shipped: Shipped) -> None:
    assert sum(path.stat().st_size for path in shipped.folder.iterdir()) <= 10_000_000


def test_the_tokenizer_fits_the_model_and_the_code(shipped: Shipped) -> None:
    tokenizer, text = shipped.tokenizer, shipped.network.config.text_config

    assert tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) == shipped.words
    assert text.vocab_size == len(tokenizer)
    assert text.eos_token_id == tokenizer.eos_token_id


def test_its_texts_are_in_the_vocabulary(shipped: Shipped) -> None:
    texts = json.loads((shipped.folder / "hermes.json").read_text())["texts"]

    fixed = [texts[name] for name in ("prefix", "question", "guidance_local", "guidance_global")]
    for text in (*fixed, *texts["guidance_questions"]):
        assert UNKNOWN not in shipped.tokenizer.tokenize(text.replace("{question}", "what is in view"))


def test_frames_become_sixteen_tokens_each_or_each_pair(shipped: Shipped) -> None:
    per_group = 6 * 16 // shipped.tokens
    groups = torch.zeros(1, 6 // per_group, per_group, 64, 64, 3, dtype=torch.uint8)
    with torch.no_grad():
        tokens = shipped.architecture.embed_video(shipped.network, groups).embedded

    assert tokens.shape == (1, shipped.tokens, shipped.network.config.text_config.hidden_size)


def test_it_answers_about_scenes_that_training_never_drew(shipped: Shipped) -> None:
    assert evaluate(shipped.architecture, shipped.network, Condition(frames=16, clips=24)).accuracy() > 0.93


def test_it_needs_the_video_to_answer(shipped: Shipped) -> None:
    control = Condition(frames=16, clips=12, is_control=True)

    assert evaluate(shipped.architecture, shipped.network, control).accuracy() < 0.65
