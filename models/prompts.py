"""The words around a video: a fixed prefix, the question, and the guidance that decides what is kept."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTexts:
    """The texts of one model. `question` holds the place `{question}`.

    The guidance asks for what is worth keeping: `guidance_questions` as people would ask, each on its own; in
    HERMES (section 3.2) locally, what can be seen now, and globally, what happened.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    prefix: str
    question: str
    guidance_local: str
    guidance_global: str
    guidance_questions: tuple[str, ...]
    unwitnessed: tuple[str, ...] = ("no", "none", "nothing", "zero")  # first words of answers that no moment proves


@dataclass(frozen=True, slots=True)
class QuestionPrompt:
    """A question as the decoder reads it, and the words of it that the vocabulary lacks."""

    ids: tuple[int, ...]
    unknown_words: tuple[str, ...]


class Prompts:
    """The tokenizer of one model, with its texts. Any thread may call it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: PromptTexts) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()
        self.texts = texts
        self.prefix = self.ids(texts.prefix)
        self.guidance_local = self.ids(texts.guidance_local)
        self.guidance_global = self.ids(texts.guidance_global)
        self.guidance_questions = tuple(self.question(text).ids for text in texts.guidance_questions)
        self.end_id = int(tokenizer.eos_token_id)

    def question(self, text: str) -> QuestionPrompt:
        """The question in the place that the model's text leaves for it."""
        return QuestionPrompt(self.ids(self.texts.question.replace("{question}", text)), self._unknown(text))

    def text(self, ids: tuple[int, ...]) -> str:
        """The words of an answer so far; a character that is not complete yet is left out."""
        with self._lock:
            decoded = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        return decoded.rstrip("\N{REPLACEMENT CHARACTER}")

    def has_evidence(self, answer: str) -> bool:
        """Whether an answer rests on moments that could be shown: what was not seen, or was counted, does not."""
        words = re.findall(r"\w+", answer.lower())
        return bool(words) and words[0] not in self.texts.unwitnessed

    def ids(self, text: str) -> tuple[int, ...]:
        """The tokens of a text as it stands."""
        with self._lock:
            return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _unknown(self, text: str) -> tuple[str, ...]:
        unknown_id = self._tokenizer.unk_token_id
        if unknown_id is None:
            return ()
        words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)
        return tuple(dict.fromkeys(word for word in words if unknown_id in self.ids(word)))
