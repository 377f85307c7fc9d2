"""Questions put to a memory, and what comes of it: right or wrong, and whether the evidence shows the event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.streams import FRAMES_PER_S, Need, TimedQuestion
from cache_store.memory import Memory
from models import answer_decoder
from models.packing import PackedTexts
from models.slot_cache import AttentionCapture
from models.tiny.scenes.ground_truth import Window
from models.vision_language_model import VideoLanguageModel
from pipeline.device import evidence
from pipeline.device.evidence import MAX_MOMENTS, SAME_MOMENT_S

_FRAME_S = 1 / FRAMES_PER_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """One question answered, and the moments that a right answer cites: how many, and how many show the event.

    by_chance, newest: the share that would, of moments drawn by chance and of the newest ones.
    """

    type: str
    need: Need
    delay_s: float | None
    is_right: bool
    cited: int = 0
    shown: int = 0
    by_chance: float = 0.0
    newest: float = 0.0


class Examiner:
    """Puts all questions of a moment to a memory in one pass, which does not touch it.

    An answer is right when its every word and its end are the likeliest, so that greedy decoding gives it. Evidence
    is looked for where an answer is right and a picture can prove it.
    """

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._is_telling = answer_decoder.evidence_layers(model.spec.kv.num_layers)

    @torch.inference_mode()
    def ask(self, held: Memory, asked: Sequence[TimedQuestion]) -> list[Outcome]:
        """An outcome for each question."""
        expected = [(*self._model.prompts.encode(item.question.answer), self._model.prompts.end_id) for item in asked]
        texts = PackedTexts(
            [self._embed(item.question.text, answer) for item, answer in zip(asked, expected, strict=True)]
        )
        # Each answer's tokens are foreseen one place before they stand; its end is no evidence.
        places = [
            slice(place.stop - len(answer), place.stop) for place, answer in zip(texts.spans, expected, strict=True)
        ]
        capture = AttentionCapture(
            [slice(0, texts.spans[-1].stop) if telling else None for telling in self._is_telling],
            lambda weights: torch.stack([weights[:, place][:, :-1].mean(dim=(0, 1)) for place in places]),
        )
        likeliest = self._model.next_token(texts.forward(self._model, [held], capture)[0]).tolist()
        return [
            self._judge(item, held, capture, which, is_right=tuple(likeliest[place]) == answer)
            for which, (item, place, answer) in enumerate(zip(asked, places, expected, strict=True))
        ]

    def _embed(self, question: str, answer: Sequence[int]) -> Tensor:
        device = self._model.spec.device
        asked = self._model.embed_question(torch.tensor(self._model.prompts.question(question).ids, device=device))
        return torch.cat((asked, self._model.embed_tokens(torch.tensor(answer[:-1], device=device))))

    def _judge(
        self, item: TimedQuestion, held: Memory, capture: AttentionCapture, which: int, *, is_right: bool
    ) -> Outcome:
        outcome = Outcome(item.question.type, item.need, item.delay_s, is_right)
        if not is_right or not item.question.evidence:
            return outcome
        looked = (
            (held.after_prefix(layer), weights[0][which, held.prefix_length :])
            for layer, weights in capture.weights.items()
        )
        cited = [moment.time_s for moment in evidence.find_moments(looked, self._model.spec.tokens_per_frame)]
        newest = [item.at_s - back * SAME_MOMENT_S for back in range(MAX_MOMENTS)]
        ever = [frame * _FRAME_S for frame in range(round(item.at_s / _FRAME_S) + 1)]
        return replace(
            outcome,
            cited=len(cited),
            shown=_shown(cited, item.question.evidence),
            by_chance=_shown(ever, item.question.evidence) / len(ever),
            newest=_shown(newest, item.question.evidence) / len(newest),
        )


def _shown(times_s: Sequence[float], witness: Sequence[Window]) -> int:
    """How many of the moments show it; half a frame is allowed for."""
    margin_s = _FRAME_S / 2
    return sum(any(start_s - margin_s <= at_s <= end_s + margin_s for start_s, end_s in witness) for at_s in times_s)
