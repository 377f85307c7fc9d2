"""Asks a memory many questions at once: which answers are right, and whether their evidence shows the event."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from benchmarks.streams import FRAMES_PER_S, Need, TimedQuestion
from cache_store.memory import Memory
from models import evidence_layers
from models.embeddings import Embeddings
from models.packing import PackedTexts
from models.slot_cache import AttentionCapture
from models.tiny.scenes.ground_truth import Window
from models.vision_language_model import VideoLanguageModel
from pipeline.device import evidence
from pipeline.device.evidence import MAX_MOMENTS, SAME_MOMENT_S

_FRAME_S = 1 / FRAMES_PER_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one question. cited: moments of evidence; shown: those that show the event.

    by_chance, newest: the share that shows the event, of random moments and of the newest ones.
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
    """Asks a memory all questions of one time in one pass, without changing it.

    An answer is right when each of its tokens and the end token are the most likely, so that greedy decoding gives it.
    Evidence is computed for right answers that a frame can prove.
    """

    def __init__(self, model: VideoLanguageModel) -> None:
        self._model = model
        self._is_evidence = evidence_layers.of(model.spec.kv.num_layers)

    @torch.inference_mode()
    def ask(self, memory: Memory, questions: Sequence[TimedQuestion]) -> list[Outcome]:
        """An outcome for each question."""
        expected = [
            (*self._model.prompts.encode(item.question.answer), self._model.generation.end_ids[0]) for item in questions
        ]
        texts = PackedTexts(
            [self._embed(item.question.text, answer) for item, answer in zip(questions, expected, strict=True)]
        )
        # Each token of an answer is predicted one token earlier. The attention that predicts the end is no evidence.
        spans = [slice(span.stop - len(answer), span.stop) for span, answer in zip(texts.spans, expected, strict=True)]
        capture = AttentionCapture(
            [slice(0, texts.spans[-1].stop) if is_evidence else None for is_evidence in self._is_evidence],
            lambda weights: torch.stack(
                [weights[..., span, :][..., :-1, :].mean(dim=(-3, -2)) for span in spans], dim=-2
            ),
        )
        most_likely = self._model.logits(texts.forward(self._model, [memory], capture)[0]).argmax(dim=-1).tolist()
        return [
            self._outcome(item, memory, capture, index, is_right=tuple(most_likely[span]) == answer)
            for index, (item, span, answer) in enumerate(zip(questions, spans, expected, strict=True))
        ]

    def _embed(self, question: str, answer: Sequence[int]) -> Embeddings:
        device = self._model.spec.device
        prompt = self._model.embed_question(torch.tensor(self._model.prompts.question(question).ids, device=device))
        return Embeddings.concat(prompt, self._model.embed_tokens(torch.tensor(answer[:-1], device=device)))

    def _outcome(
        self, item: TimedQuestion, memory: Memory, capture: AttentionCapture, index: int, *, is_right: bool
    ) -> Outcome:
        outcome = Outcome(item.question.type, item.need, item.delay_s, is_right)
        if not is_right or not item.question.evidence:
            return outcome
        attention = (
            (memory.after_prefix(layer), weights[0][index, memory.prefix_length :])
            for layer, weights in capture.weights.items()
        )
        cited = [moment.time_s for moment in evidence.find_moments(attention)]
        newest = [item.at_s - back * SAME_MOMENT_S for back in range(MAX_MOMENTS)]
        all_times = [frame * _FRAME_S for frame in range(round(item.at_s / _FRAME_S) + 1)]
        return replace(
            outcome,
            cited=len(cited),
            shown=_shown(cited, item.question.evidence),
            by_chance=_shown(all_times, item.question.evidence) / len(all_times),
            newest=_shown(newest, item.question.evidence) / len(newest),
        )


def _shown(times_s: Sequence[float], windows: Sequence[Window]) -> int:
    """How many of the times are in a window, with a tolerance of half a frame."""
    margin_s = _FRAME_S / 2
    return sum(any(start_s - margin_s <= at_s <= end_s + margin_s for start_s, end_s in windows) for at_s in times_s)
