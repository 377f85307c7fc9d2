"""The tokenizer knows every word of questions, answers and texts, and marks all others as unknown."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from models.tiny.scenes.ground_truth import ANSWER_WORDS
from models.tiny.scenes.questions import PLURALS, TEMPLATES
from models.tiny.scenes.visits import COLOURS, KINDS
from models.tiny.vocabulary import (
    ASSISTANT,
    GUIDANCE_GLOBAL,
    GUIDANCE_LOCAL,
    PREFIX_TEXT,
    QUESTION_TEXT,
    QWEN_PREFIX_TEXT,
    QWEN_QUESTION_TEXT,
    UNKNOWN,
    build_qwen_tokenizer,
    build_tokenizer,
    qwen_words,
    words,
)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer()


def test_the_vocabulary_is_small_and_without_repetition() -> None:
    assert len(words()) == len(set(words())) <= 128


def test_the_words_of_questions_answers_and_texts_are_in_the_vocabulary(tokenizer: PreTrainedTokenizerFast) -> None:
    blanks = {"kind": "dog", "kinds": "dogs", "other": "car", "thing": "red truck"}
    questions = [text.format(**blanks) for texts in TEMPLATES.values() for text in texts]
    fixed = [PREFIX_TEXT, GUIDANCE_LOCAL, GUIDANCE_GLOBAL, *ANSWER_WORDS, *KINDS, *COLOURS, *PLURALS.values()]

    for text in (*questions, *fixed):
        assert UNKNOWN not in tokenizer.tokenize(text), text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("What color is the CAR?", "what colour is the car"),
        ("  how many   people, so far ?", "how many persons so far"),
        ("What's in view", "what is in view"),
    ],
)
def test_case_punctuation_and_spelling_do_not_matter(
    tokenizer: PreTrainedTokenizerFast, typed: str, meant: str
) -> None:
    assert tokenizer(typed)["input_ids"] == tokenizer(meant)["input_ids"]


def test_an_unknown_word_stays_visible_as_one_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert tokenizer.tokenize("is there a zebra here") == ["is", "there", "a", UNKNOWN, UNKNOWN]


def test_the_question_ends_with_the_assistant_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    tokens = tokenizer.tokenize(QUESTION_TEXT.format(question="what is in view?"))

    assert tokens == ["what", "is", "in", "view", ASSISTANT]


def test_a_saved_tokenizer_loads_the_same(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)

    loaded = AutoTokenizer.from_pretrained(tmp_path)

    text = "<user> What color is the person? <assistant> red <end>"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.eos_token == tokenizer.eos_token
    assert loaded.pad_token == tokenizer.pad_token
    assert loaded.unk_token == UNKNOWN


@pytest.mark.parametrize(
    ("written", "tokens"),
    [
        ("<0.2 seconds>", ["0"]),
        ("<128.5 seconds>", ["1", "2", "8"]),
        ("<9999.9 seconds>", ["9", "9", "9", "9"]),
        ("<10003.5 seconds>", ["0", "0", "0", "3"]),
        ("<31536000.0 seconds>", ["6", "0", "0", "0"]),
    ],
)
def test_a_timestamp_is_few_tokens_however_long_the_stream(written: str, tokens: list[str]) -> None:
    assert build_qwen_tokenizer().tokenize(written) == tokens


def test_the_texts_of_qwen3_vl_are_in_its_vocabulary() -> None:
    tokenizer = build_qwen_tokenizer()

    turn = tokenizer.tokenize(QWEN_PREFIX_TEXT + " " + QWEN_QUESTION_TEXT.format(question="What's in view?"))

    assert UNKNOWN not in turn
    assert [word for word in turn if word.startswith("<|")] == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
    assert set(words()) - {"<pad>", "<image>", "<video>", "<user>", "<assistant>", "<end>"} <= set(qwen_words())


def test_a_saved_tokenizer_of_qwen3_vl_loads_the_same(tmp_path: Path) -> None:
    tokenizer = build_qwen_tokenizer()
    tokenizer.save_pretrained(tmp_path)

    loaded = AutoTokenizer.from_pretrained(tmp_path)

    text = "<12345.6 seconds><|vision_start|><|video_pad|><|vision_end|>what color<|im_end|>"
    assert loaded(text)["input_ids"] == tokenizer(text)["input_ids"]
    assert loaded.eos_token == "<|im_end|>"
