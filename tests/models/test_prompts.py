"""Questions as token ids, answers as text, and which answers have evidence."""

from __future__ import annotations

import pytest

from models.llava_onevision import LlavaOnevision
from models.prompts import Prompts


def test_case_and_punctuation_of_a_question_do_not_matter(model: LlavaOnevision) -> None:
    plain = model.prompts.question("what is in view")
    assert model.prompts.question("What is in VIEW?").ids == plain.ids
    assert plain.unknown_words == ()


def test_each_unknown_word_is_named_once_as_written(model: LlavaOnevision) -> None:
    found = model.prompts.question("Is the Zeppelin a zeppelin, or is the Zeppelin a car?")
    assert found.unknown_words == ("Zeppelin", "zeppelin")


def test_braces_in_a_question_are_plain_text(model: LlavaOnevision) -> None:
    assert model.prompts.question("{question}").unknown_words == ("question",)


@pytest.mark.parametrize(
    ("answer", "has_evidence"),
    [("red car", True), ("Yes.", True), ("no", False), ("Nothing at all", False), ("none", False), ("", False)],
)
def test_an_absence_has_no_evidence(model: LlavaOnevision, answer: str, has_evidence: bool) -> None:
    assert model.prompts.has_evidence(answer) is has_evidence


def test_an_incomplete_character_is_left_out(model: LlavaOnevision) -> None:
    class IncompleteTokenizer:
        eos_token_id = 0
        unk_token_id = None

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            return {"input_ids": [1] * len(text)}

        def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
            return "caf\N{REPLACEMENT CHARACTER}"

    prompts = Prompts(IncompleteTokenizer(), model.prompts.texts)  # type: ignore[arg-type]
    assert prompts.decode((1, 2)) == "caf"
