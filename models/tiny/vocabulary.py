"""The vocabularies of the tiny models and their tokenizers. Any other word becomes [UNK]."""

import re
from collections.abc import Sequence

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from models.tiny.scenes.ground_truth import ANSWER_WORDS
from models.tiny.scenes.questions import PLURALS, TEMPLATES
from models.tiny.scenes.visits import COLOURS, KINDS

PAD, UNKNOWN, IMAGE, VIDEO, USER, ASSISTANT, END = (
    "<pad>", "[UNK]", "<image>", "<video>", "<user>", "<assistant>", "<end>",
)  # fmt: skip
SPECIAL = (PAD, UNKNOWN, IMAGE, VIDEO, USER, ASSISTANT, END)

# Of Qwen3-VL, spelled as in the published tokenizer.
QWEN_PAD, TURN_START, TURN_END, VISION_START, VISION_END, QWEN_IMAGE, QWEN_VIDEO = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
QWEN_SPECIAL = (QWEN_PAD, UNKNOWN, TURN_START, TURN_END, VISION_START, VISION_END, QWEN_IMAGE, QWEN_VIDEO)
_QWEN_WORDS = ("user", "assistant", *"0123456789")

PREFIX_TEXT = f"{USER} watch the camera"
QUESTION_TEXT = "{question} " + ASSISTANT
QWEN_PREFIX_TEXT = f"{TURN_START}user\nwatch the camera"
QWEN_QUESTION_TEXT = "{question}" + f"{TURN_END}\n{TURN_START}assistant\n"
GUIDANCE_LOCAL = "what is in view where is it"
GUIDANCE_GLOBAL = "what came first what left last how many so far what colour was it"
GUIDANCE_QUESTIONS = (
    "what is in view",
    "what came first",
    "what came last",
    "what left last",
    *(f"how many {kinds} so far" for kinds in PLURALS.values()),
)

_FIXED_TEXTS = ("watch the camera", GUIDANCE_LOCAL, GUIDANCE_GLOBAL)


def words() -> tuple[str, ...]:
    """Every word of the first vocabulary, special tokens first, in the order of their ids."""
    return (*SPECIAL, *scene_words())


def qwen_words() -> tuple[str, ...]:
    """Every word of the vocabulary in the manner of Qwen3-VL, special tokens first, in the order of their ids."""
    return (*QWEN_SPECIAL, *scene_words(), *_QWEN_WORDS)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level fast tokenizer: lower case, no punctuation, British colour, people as persons."""
    return _word_level(words(), SPECIAL, _normalisers(), pad=PAD, end=END)


def build_qwen_tokenizer() -> PreTrainedTokenizerFast:
    """The same words with the special tokens of Qwen3-VL, and digits.

    Of a timestamp of the family, `<12345.6 seconds>`, the last four digits of the whole seconds remain, each a token:
    so few tokens tell the time, and no time is beyond what training saw.
    """
    timestamps = [
        normalizers.Replace(Regex(r"\d+(?=\d{4}(\.\d+)? seconds)"), ""),
        normalizers.Replace(Regex(r"(?<=\d)(\.\d+)? seconds"), " "),
    ]
    normalisers = [normalizers.Lowercase(), *timestamps, *_normalisers()]
    return _word_level(qwen_words(), QWEN_SPECIAL, normalisers, pad=QWEN_PAD, end=TURN_END)


def scene_words() -> Sequence[str]:
    """Every word of questions and answers about the scenes, and of the fixed texts of a prompt."""
    templates = [text for texts in TEMPLATES.values() for text in texts]
    plain = re.sub(r"\{\w+\}", " ", " ".join([*templates, *_FIXED_TEXTS])).split()
    return list(dict.fromkeys([*KINDS, *COLOURS, *PLURALS.values(), *ANSWER_WORDS, *sorted(plain)]))


def _word_level(
    vocabulary: Sequence[str],
    special: Sequence[str],
    normalisers: list[normalizers.Normalizer],
    *,
    pad: str,
    end: str,
) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(vocabulary)}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(normalisers)
    split = pre_tokenizers.WhitespaceSplit()
    has_digits = "0" in vocabulary
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([split, pre_tokenizers.Digits(individual_digits=True)]) if has_digits else split
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=pad, unk_token=UNKNOWN, eos_token=end, model_max_length=4096
    )


def _normalisers() -> list[normalizers.Normalizer]:
    return [
        normalizers.Lowercase(),
        normalizers.Replace("'s ", " is "),
        normalizers.Replace(Regex(r"[^\w\s]"), " "),
        normalizers.Replace("color", "colour"),
        normalizers.Replace("people", "persons"),
    ]
