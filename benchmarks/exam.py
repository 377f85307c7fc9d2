"""Questions put to a memory, and what comes of it: right or wrong, and whether the evidence shows the event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks import streams
from cache_store import memory, tiers
from models import packing, slot_pass, vlm
from pipeline import evidence

_EVENT_MARGIN_S = 0.5 / streams.FRAMES_PER_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question answered. cited, shown: moments that a right answer rests on, and how many show the event."""

    type: str
    need: streams.Need
    delay_s: float | None
    is_right: bool
    cited: int
    shown: int


class Examiner:
    """Puts all questions of a moment to a memory in one pass, which does not touch it.

    An answer is right when its every word and its end are the likeliest, so that greedy decoding gives it. Evidence
    is looked for where an answer is right and one moment can prove it.
    """

    def __init__(self, model: vlm.VideoLanguageModel, plans: Sequence[tiers.LayerPlan]) -> None:
        self._model = model
        self._is_telling = [plan.role is not tiers.Role.SENSORY for plan in plans]

    @torch.inference_mode()
    def ask(self, held: memory.Memory, asked: Sequence[streams.Asked]) -> list[Outcome]:
        """An outcome for each question."""
        answers = [(*self._model.prompts.ids(item.question.answer), self._model.prompts.end_id) for item in asked]
        texts = packing.PackedTexts(
            [self._embed(item.question.text, answer) for item, answer in zip(asked, answers, strict=True)]
        )
        # Each answer's tokens are foreseen one place before they stand; its end is no evidence.
        places = [
            slice(place.stop - len(answer), place.stop) for place, answer in zip(texts.places, answers, strict=True)
        ]
        gaze = slot_pass.Gaze(
            [slice(0, texts.places[-1].stop) if telling else None for telling in self._is_telling],
            lambda weights: torch.stack([weights[:, place][:, :-1].mean(dim=(0, 1)) for place in places]),
        )
        likeliest = self._model.next_token(texts.read(self._model, [held], gaze)[0]).tolist()
        return [
            self._judge(item, held, gaze, which, is_right=tuple(likeliest[place]) == answer)
            for which, (item, place, answer) in enumerate(zip(asked, places, answers, strict=True))
        ]

    def _embed(self, question: str, answer: Sequence[int]) -> Tensor:
        device = self._model.spec.device
        asked = self._model.embed_question(torch.tensor(self._model.prompts.question(question).ids, device=device))
        return torch.cat((asked, self._model.embed_tokens(torch.tensor(answer[:-1], device=device))))

    def _judge(
        self, item: streams.Asked, held: memory.Memory, gaze: slot_pass.Gaze, which: int, *, is_right: bool
    ) -> Outcome:
        cited: list[evidence.Moment] = []
        if is_right and item.question.witness is not None:
            looked = (
                (held.remembered(layer), weights[0][which, held.prefix_length :])
                for layer, weights in gaze.weights.items()
            )
            cited = evidence.moments(looked, self._model.spec.tokens_per_frame)
        shown = sum(_shows(moment.time_s, item) for moment in cited)
        return Outcome(item.question.type, item.need, item.delay_s, is_right, len(cited), shown)


def _shows(time_s: float, item: streams.Asked) -> bool:
    assert item.question.witness is not None
    start_s, end_s = item.question.witness
    return start_s - _EVENT_MARGIN_S <= time_s <= end_s + _EVENT_MARGIN_S
