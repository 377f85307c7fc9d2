"""The shipped checkpoint is small and complete, and answers from the video."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlavaOnevisionForConditionalGeneration

from models.tiny.training.architectures import architecture_of
from models.tiny.training.evaluate import Condition, evaluate
from models.tiny.vocabulary import UNKNOWN, words

CHECKPOINT = Path(__file__).parents[3] / "models" / "tiny" / "checkpoint"
ARCHITECTURE = architecture_of(CHECKPOINT)


@pytest.fixture(scope="module")
def model() -> LlavaOnevisionForConditionalGeneration:
    return LlavaOnevisionForConditionalGeneration.from_pretrained(CHECKPOINT).eval()


def test_the_folder_is_small() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINT.iterdir()) <= 10_000_000


def test_the_tokenizer_fits_the_model_and_the_code(model: LlavaOnevisionForConditionalGeneration) -> None:
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)

    assert tuple(tokenizer.convert_ids_to_tokens(range(len(tokenizer)))) == words()
    assert model.config.text_config.vocab_size == len(tokenizer)
    assert model.config.text_config.eos_token_id == tokenizer.eos_token_id


def test_its_texts_are_in_the_vocabulary() -> None:
    tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
    texts = json.loads((CHECKPOINT / "hermes.json").read_text())["texts"]

    fixed = [texts[name] for name in ("prefix", "question", "guidance_local", "guidance_global")]
    for text in (*fixed, *texts["guidance_questions"]):
        assert UNKNOWN not in tokenizer.tokenize(text.replace("{question}", "what is in view"))


def test_a_frame_becomes_sixteen_tokens(model: LlavaOnevisionForConditionalGeneration) -> None:
    with torch.no_grad():
        tokens = ARCHITECTURE.embed_video(model, torch.zeros(1, 3, 1, 64, 64, 3, dtype=torch.uint8)).embedded

    assert tokens.shape == (1, 3 * 16, model.config.text_config.hidden_size)


def test_it_answers_about_scenes_that_training_never_drew(model: LlavaOnevisionForConditionalGeneration) -> None:
    assert evaluate(ARCHITECTURE, model, Condition(frames=16, clips=24)).accuracy() > 0.93


def test_it_needs_the_video_to_answer(model: LlavaOnevisionForConditionalGeneration) -> None:
    assert evaluate(ARCHITECTURE, model, Condition(frames=16, clips=12, is_control=True)).accuracy() < 0.65
