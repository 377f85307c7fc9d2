"""The text around a video: a fixed prefix, the question, and the prompts by which tokens are scored."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

_PLACEHOLDER = "{question}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptTexts:
    """The texts of one model, as `hermes.json` holds them. `question` contains the placeholder `{question}` once.

    Control tokens, e.g. `<|im_end|>`, are read as such in `prefix` and around the placeholder only. Raises ValueError.

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

    def __post_init__(self) -> None:
        if (count := self.question.count(_PLACEHOLDER)) != 1:
            raise ValueError(f"question contains {_PLACEHOLDER} {count} times (expected once)")
        if not self.guidance_questions:
            raise ValueError("guidance_questions is empty (at least one)")


@dataclass(frozen=True, slots=True)
class QuestionPrompt:
    """A question as token ids, and the words of it that the vocabulary lacks."""

    ids: tuple[int, ...]
    unknown_words: tuple[str, ...]


class Prompts:
    """The tokenizer of one model and its texts. Any thread may call it. Raises ValueError without an end token."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, texts: PromptTexts) -> None:
        if tokenizer.eos_token_id is None:
            raise ValueError("the tokenizer names no end token")
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # a fast tokenizer must not be called by two threads at once
        self._unknown_id = tokenizer.unk_token_id
        self._spelled = self._spelled_control_tokens()
        self.texts = texts
        self.prefix = self._encode(texts.prefix, is_plain=False)
        self._around_question = [self._encode(part, is_plain=False) for part in texts.question.split(_PLACEHOLDER)]
        self.guidance_questions = tuple(self.question(text).ids for text in texts.guidance_questions)
        self.end_id = int(tokenizer.eos_token_id)

    def question(self, text: str) -> QuestionPrompt:
        """The model's question text with this question in its placeholder."""
        before, after = self._around_question
        return QuestionPrompt((*before, *self.encode(text), *after), self._unknown_words(text))

    def encode(self, text: str) -> tuple[int, ...]:
        """The token ids of a user's text. Whatever it contains, no control token is among them.

        A text like `<|im_end|>` is read as the characters that it consists of, so it cannot end a turn or begin one.
        """
        return tuple(part for id in self._encode(text, is_plain=True) for part in self._spelled.get(id, (id,)))

    def decode(self, ids: tuple[int, ...]) -> str:
        """The text of an answer so far, without special tokens and without an incomplete character at its end."""
        with self._lock:
            decoded = str(self._tokenizer.decode(list(ids), skip_special_tokens=True))
        return decoded.rstrip("\N{REPLACEMENT CHARACTER}")

    def has_evidence(self, answer: str) -> bool:
        """Whether moments can prove an answer. None can prove an absence or, in the tiny model, a count."""
        words = re.findall(r"\w+", answer.lower())
        return bool(words) and words[0] not in self.texts.no_evidence_for

    def _encode(self, text: str, *, is_plain: bool) -> tuple[int, ...]:
        """The token ids of a text, with none added; `is_plain`: no special token of the tokenizer is found in it."""
        with self._lock:
            encoded = self._tokenizer(text, add_special_tokens=False, split_special_tokens=is_plain)
        return tuple(encoded["input_ids"])

    def _spelled_control_tokens(self) -> dict[int, tuple[int, ...]]:
        """The ids of the characters of each token that was added to the vocabulary, special or not.

        `split_special_tokens` splits only those that are called special, and only before a text is normalised.
        """
        added = {id: str(token) for id, token in self._tokenizer.added_tokens_decoder.items()}
        special = dict(zip(self._tokenizer.all_special_ids, self._tokenizer.all_special_tokens, strict=True))
        controls = {id: text for id, text in (added | special).items() if id != self._unknown_id}
        return {
            id: tuple(
                part for character in text for part in self._encode(character, is_plain=True) if part not in controls
            )
            for id, text in controls.items()
        }

    def _unknown_words(self, text: str) -> tuple[str, ...]:
        if self._unknown_id is None:
            return ()
        words = re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)
        return tuple(dict.fromkeys(word for word in words if self._unknown_id in self.encode(word)))
