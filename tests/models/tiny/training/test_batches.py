"""Packing: many questions about one clip in one sequence, each with the result of the question alone."""

import random
from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel

from models.tiny.training.architecture import Architecture
from models.tiny.training.architectures import ARCHITECTURES
from models.tiny.training.batches import NEWLINE, Batch, Packer, packed_mask
from models.tiny.training.clips import Clip, ClipOptions, make_clip
from models.tiny.training.curriculum import make_batch
from models.tiny.training.forgetting import by_chance
from models.tiny.training.labels import IGNORED
from models.tiny.training.layouts import WINDOW_FRAMES, Layout, lay_out
from models.tiny.training.stages import Stage

PACKERS = {name: Packer(architecture) for name, architecture in ARCHITECTURES.items()}


@pytest.fixture(params=PACKERS, scope="module")
def packer(request: pytest.FixtureRequest) -> Packer:
    return PACKERS[request.param]


@pytest.fixture(scope="module")
def architecture(packer: Packer) -> Architecture:
    return packer.architecture


def a_clip(packer: Packer, seed: int, *, frames: int = 6, questions: int = 5) -> Clip:
    options = ClipOptions(
        frames=frames, interval_s=1.0, questions=questions, frames_per_group=packer.architecture.frames_per_group
    )
    return make_clip(random.Random(seed), options)


def laid_out(packer: Packer, clip: Clip, keep_share: float = 1.0) -> Layout:
    tokens = clip.events[..., 0].size
    return lay_out(
        random.Random(1),
        packer.architecture.context(clip),
        [group for group, _ in clip.questions],
        prefix=len(packer.prefix),
        frames_per_group=packer.architecture.frames_per_group,
        lasting=by_chance(tokens, keep_share) if keep_share < 1 else None,
    )


def pack(packer: Packer, *clips: Clip) -> Batch:
    return packer.pack(clips, [laid_out(packer, clip) for clip in clips])


def hidden_states(architecture: Architecture, network: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """Of the last layer. [B, S, D]"""
    return architecture.hidden_states(network, batch, architecture.embed_video(network, batch.pixels))[0]


def test_a_question_attends_to_the_prefix_the_groups_so_far_and_itself(packer: Packer) -> None:
    clip = a_clip(packer, 3)
    batch = pack(packer, clip)

    mask = packed_mask(batch)[0, 0]

    for number, (moment, _) in enumerate(clip.questions, start=1):
        inside = torch.nonzero(batch.block[0] == number).flatten()
        seen = torch.nonzero(mask[inside[-1]]).flatten().tolist()
        so_far = int(((batch.block[0] == 0) & (batch.group[0] <= moment)).sum())
        assert seen == [*range(so_far), *inside.tolist()]


def test_an_evicted_token_is_attended_to_only_in_the_recent_window(packer: Packer) -> None:
    clip = a_clip(packer, 4, frames=12)
    batch = packer.pack([clip], [laid_out(packer, clip, 0.3)])

    mask = packed_mask(batch)[0, 0]

    rows, columns = torch.nonzero(mask, as_tuple=True)
    age = batch.group[0][rows] - batch.group[0][columns]
    window = WINDOW_FRAMES // packer.architecture.frames_per_group
    assert ((age < window) | batch.is_kept[0][columns] | (rows == columns)).all()
    assert not batch.is_kept.all()


def test_each_block_is_the_question_and_its_labels_are_the_answer_and_the_end(packer: Packer) -> None:
    clip, tokenizer = a_clip(packer, 5), packer.architecture.tokenizer
    batch = pack(packer, clip)

    for number, (_, question) in enumerate(clip.questions, start=1):
        inside = batch.block[0] == number
        text, labels = batch.text[0][inside], batch.labels[0][inside]
        answer = labels[labels != IGNORED]
        words = tokenizer.decode(text[text != NEWLINE].tolist())
        assert words.startswith(question.text)
        assert words.endswith(question.answer)
        assert tokenizer.decode(answer[:-1].tolist()) == question.answer
        assert answer[-1] == tokenizer.eos_token_id


@torch.no_grad()
def test_padding_changes_nothing(packer: Packer, architecture: Architecture) -> None:
    short, long = a_clip(packer, 7, frames=4), a_clip(packer, 8, frames=4, questions=9)
    network = architecture.build(2).eval()

    together = pack(packer, short, long)
    packed = hidden_states(architecture, network, together)

    assert together.text.shape[1] > pack(packer, short).text.shape[1]
    for row, clip in enumerate((short, long)):
        alone = hidden_states(architecture, network, pack(packer, clip))[0]
        torch.testing.assert_close(packed[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)


STAGES = [
    pytest.param(packer, stage, id=f"{name}, {stage.name}")
    for name, packer in PACKERS.items()
    for stage in packer.architecture.stages[:5]
]


@pytest.mark.parametrize(("packer", "stage"), STAGES)
def test_every_stage_makes_batches_with_labels_for_its_questions(packer: Packer, stage: Stage) -> None:
    small = replace(stage, clips=2, pruned_clips=2)

    for seed in (1, 2, 3):
        batch = make_batch(random.Random(seed), small, packer)

        assert batch.pixels.dtype == torch.uint8
        assert batch.pixels.shape[3:5] == tuple(16 * side for side in batch.grid)
        assert batch.text.shape == batch.positions.shape == batch.labels.shape
        assert (batch.labels != IGNORED).any() == (small.questions > 0)
