"""The text around a video: a fixed prefix, the question, and the prompts by which tokens are scored."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTexts:
    """The texts of one model, as `hermes.json` holds them. `question` contains the placeholder `{question}`.

    The guidance texts score cached tokens by their attention. `guidance_questions`: short questions as users ask them,
    each read on its own. `guidance_local` and `guidance_global`: the prompts of HERMES (section 3.2) for what is in
    view and for what happened. no_evidence_for: first words of answers that no moment proves, lower case.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    prefix: str
    question: str
    guidance_local: str
    guidance_global: str
    guidance_questions: tuple[str, ...]
    no_evidence_for: tuple[str, ...] = ("no", "none", "nothing", "zero")


@dataclass(frozen=True, slots=True)
class QuestionPrompt:
    """A question as token ids, and the words of it that the vocabulary lacks."""

    ids: tuple[int, ...]
    unknown_words: tuple[str, ...]


class Prompts:
    """The tokenizer of one model and its texts. Any thread may call it."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: PromptTexts) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # a fast tokenizer must not be called by two threads at once
        self.texts = texts
        self.prefix = self.encode(texts.prefix)
        self.guidance_local = self.encode(texts.guidance_local)
        self.guidance_global = self.encode(texts.guidance_global)
        self.guidance_questions = tuple(self.question(text).ids for text in texts.guidance_questions)
        self.end_id = int(tokenizer.eos_token_id)

    def question(self, text: str) -> QuestionPrompt:
        """The model's question text with this question in its placeholder."""
        ids = self.encode(self.texts.question.replace("{question}", text))
        return QuestionPrompt(ids, self._unknown_words(text))

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a text, with no special tokens added."""
        with self._lock:
            return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def decode(self, ids: tuple[int, ...]) -> str:
        """The text of an answer so far, without special tokens and without an incomplete character at its end."""
        with self._lock:
            decoded = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        return decoded.rstrip("\N{REPLACEMENT CHARACTER}")

    def has_evidence(self, answer: str) -> bool:
        """Whether moments can prove an answer. None can prove an absence or, in the tiny model, a count."""
        words = re.findall(r"\w+", answer.lower())
        return bool(words) and words[0] not in self.texts.no_evidence_for

    def _unknown_words(self, text: str) -> tuple[str, ...]:
        unknown_id = self._tokenizer.unk_token_id
        if unknown_id is None:
            return ()
        words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)
        return tuple(dict.fromkeys(word for word in words if unknown_id in self.encode(word)))
