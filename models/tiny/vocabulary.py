"""The vocabulary of the tiny model and its tokenizer. Any other word becomes [UNK]."""

import re

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

PREFIX_TEXT = f"{USER} watch the camera"
QUESTION_TEXT = "{question} " + ASSISTANT
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
    """Every word of the vocabulary, special tokens first, in the order of their ids."""
    templates = [text for texts in TEMPLATES.values() for text in texts]
    plain = re.sub(r"\{\w+\}", " ", " ".join([*templates, *_FIXED_TEXTS])).split()
    vocabulary = [*KINDS, *COLOURS, *PLURALS.values(), *ANSWER_WORDS, *sorted(plain)]
    return (*SPECIAL, *dict.fromkeys(vocabulary))


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level fast tokenizer: lower case, no punctuation, British colour, people as persons."""
    vocabulary = {word: index for index, word in enumerate(words())}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence(_normalisers())
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN, eos_token=END, model_max_length=4096
    )


def _normalisers() -> list[normalizers.Normalizer]:
    return [
        normalizers.Lowercase(),
        normalizers.Replace("'s ", " is "),
        normalizers.Replace(Regex(r"[^\w\s]"), " "),
        normalizers.Replace("color", "colour"),
        normalizers.Replace("people", "persons"),
    ]
