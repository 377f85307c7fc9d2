"""Packing: many questions about one clip in one sequence, each with the result of the question alone."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlavaOnevisionForConditionalGeneration

from models.tiny.network import TOKENS_PER_FRAME, build_model
from models.tiny.scenes.scene import Scene
from models.tiny.training.batches import (
    MAX_POSITION,
    NEWLINE,
    WINDOW_FRAMES,
    Batch,
    Layout,
    Packer,
    lay_out,
    reindexed_over_time,
)
from models.tiny.training.clips import Clip, frame_times, make_clip, pick_questions, quiet_frames
from models.tiny.training.curriculum import STAGES, Stage, make_batch
from models.tiny.training.forgetting import by_chance
from models.tiny.training.labels import IGNORED
from models.tiny.training.lessons import embed, embed_video, packed_mask
from models.tiny.vocabulary import build_tokenizer

TOKENIZER = build_tokenizer()
PACKER = Packer(TOKENIZER)
PREFIX = len(PACKER.prefix)


def a_clip(seed: int, frames: int = 6, questions: int = 5) -> Clip:
    return make_clip(random.Random(seed), frames=frames, interval_s=1.0, questions=questions)


def whole(clip: Clip) -> Layout:
    question_frames = [frame for frame, _ in clip.questions]
    return lay_out(random.Random(0), len(clip.pixels), question_frames, prefix=PREFIX)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    frames=st.integers(1, 128),
    keep_share=st.sampled_from([0.15, 0.5, None]),
    has_gaps=st.booleans(),
)
def test_positions_rise_and_leave_room_for_a_question(
    seed: int, frames: int, keep_share: float | None, has_gaps: bool
) -> None:
    rng = random.Random(seed)

    lasting = None if keep_share is None else by_chance(frames, keep_share)
    layout = lay_out(rng, frames, [frames // 2], prefix=4, lasting=lasting, has_gaps=has_gaps)

    assert (layout.positions[1:] > layout.positions[:-1]).all()
    assert layout.positions[0] >= 4
    assert layout.positions[-1] < MAX_POSITION - 40


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    gaps=st.lists(st.integers(1, 3000), min_size=1, max_size=300),
    max_position=st.integers(500, 1500),
)
def test_positions_that_run_out_are_reindexed_in_order(seed: int, gaps: list[int], max_position: int) -> None:
    positions = np.cumsum(gaps)

    moved = reindexed_over_time(random.Random(seed), positions, max_position)

    assert (np.diff(moved) > 0).all()
    assert (np.diff(moved) <= np.diff(positions)).all()
    assert moved[-1] < max_position
    if positions[-1] < max_position:
        assert (moved == positions).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 64))
def test_the_newest_frames_of_every_question_are_whole(seed: int, frames: int) -> None:
    rng = random.Random(seed)
    question_frame = rng.randrange(frames)

    layout = lay_out(rng, frames, [question_frame], prefix=4, lasting=by_chance(frames, 0.2))

    there = set(layout.video.tolist())
    for frame in range(max(0, question_frame - WINDOW_FRAMES + 1), question_frame + 1):
        assert set(range(frame * TOKENS_PER_FRAME, (frame + 1) * TOKENS_PER_FRAME)) <= there


def test_a_question_attends_to_the_prefix_the_frames_so_far_and_itself() -> None:
    clip = a_clip(3)
    batch = PACKER.pack([clip], [whole(clip)])

    mask = packed_mask(batch)[0, 0]

    for number, (moment, _) in enumerate(clip.questions, start=1):
        inside = torch.nonzero(batch.block[0] == number).flatten()
        seen = torch.nonzero(mask[inside[-1]]).flatten().tolist()
        video = PREFIX + (moment + 1) * TOKENS_PER_FRAME
        assert seen == [*range(video), *inside.tolist()]


def test_an_evicted_token_is_attended_to_only_in_the_recent_window() -> None:
    clip = a_clip(4, frames=12)
    question_frames = [frame for frame, _ in clip.questions]
    layout = lay_out(random.Random(1), 12, question_frames, prefix=PREFIX, lasting=by_chance(12, 0.3))
    batch = PACKER.pack([clip], [layout])

    mask = packed_mask(batch)[0, 0]

    rows, columns = torch.nonzero(mask, as_tuple=True)
    age = batch.frame[0][rows] - batch.frame[0][columns]
    assert ((age < WINDOW_FRAMES) | batch.is_kept[0][columns] | (rows == columns)).all()


def test_each_block_is_newline_question_answer_and_its_labels_end_with_end() -> None:
    clip = a_clip(5)
    batch = PACKER.pack([clip], [whole(clip)])

    for number, (_, question) in enumerate(clip.questions, start=1):
        inside = batch.block[0] == number
        text, labels = batch.text[0][inside], batch.labels[0][inside]
        answer = labels[labels != IGNORED]
        assert text[0] == NEWLINE
        assert TOKENIZER.decode(text[1:].tolist()).startswith(question.text)
        assert TOKENIZER.decode(answer[:-1].tolist()) == question.answer
        assert answer[-1] == TOKENIZER.eos_token_id


def hidden_states(model: LlavaOnevisionForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Of the last layer. [B, T, D]"""
    return model.model.language_model(
        inputs_embeds=embed(model, batch, embed_video(model, batch.pixels)),
        attention_mask={"full_attention": packed_mask(batch)},
        position_ids=batch.positions,
        use_cache=False,
    ).last_hidden_state


@torch.no_grad()
def test_a_packed_batch_equals_single_questions() -> None:
    """The slow plain reference: one causal sequence for each question, with the frames so far."""
    clip = a_clip(6)
    batch, model = PACKER.pack([clip], [whole(clip)]), build_model(TOKENIZER, 1).eval()

    packed = hidden_states(model, batch)[0]

    tokens, embedding = embed_video(model, batch.pixels), model.get_input_embeddings()
    for number, (moment, _) in enumerate(clip.questions, start=1):
        inside = batch.block[0] == number
        ids = batch.text[0][inside]
        alone = torch.cat(
            [
                embedding(torch.tensor(PACKER.prefix)),
                tokens[0, : (moment + 1) * TOKENS_PER_FRAME],
                model.model.image_newline[None],
                embedding(ids[1:]),
            ]
        )
        hidden = model.model.language_model(inputs_embeds=alone[None], use_cache=False).last_hidden_state
        torch.testing.assert_close(packed[inside], hidden[0, -len(ids) :], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_padding_changes_nothing() -> None:
    short, long = a_clip(7, frames=4), a_clip(8, frames=4, questions=9)
    model = build_model(TOKENIZER, 2).eval()

    together = PACKER.pack([short, long], [whole(short), whole(long)])
    packed = hidden_states(model, together)

    assert together.text.shape[1] > PACKER.pack([short], [whole(short)]).text.shape[1]
    for row, clip in enumerate((short, long)):
        alone = hidden_states(model, PACKER.pack([clip], [whole(clip)]))[0]
        torch.testing.assert_close(packed[row, : len(alone)], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stage", STAGES[:4], ids=[stage.name for stage in STAGES[:4]])
def test_every_stage_makes_batches_with_labels_for_its_questions(stage: Stage) -> None:
    small = replace(stage, clips=2, pruned_clips=2)

    batch = make_batch(random.Random(1), small, PACKER)

    assert batch.pixels.dtype == torch.uint8
    assert batch.text.shape == batch.positions.shape == batch.labels.shape
    assert (batch.labels != IGNORED).any() == (small.questions > 0)


def test_questions_are_picked_evenly_and_in_order_of_asking() -> None:
    clip = a_clip(9, frames=16, questions=100)

    picked = pick_questions(clip.questions, 8, random.Random(1))

    assert len(picked) == 8
    assert len({question.type for _, question in picked}) >= 4
    assert [moment for moment, _ in picked] == sorted(moment for moment, _ in picked)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 64), interval_s=st.sampled_from([0.5, 0.6, 1.3]))
def test_frames_are_sampled_in_order_about_the_interval_apart(seed: int, frames: int, interval_s: float) -> None:
    times = frame_times(random.Random(seed), frames, interval_s)

    steps = [later - earlier for earlier, later in pairwise(times)]
    assert all(0.35 <= step <= 2.3 * interval_s for step in steps)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), frames=st.integers(4, 60))
def test_a_quiet_clip_has_the_frames_with_visitors_and_few_empty_ones(seed: int, frames: int) -> None:
    rng = random.Random(seed)
    street = Scene(seed, mean_gap_s=60.0)

    shown = quiet_frames(rng, street, frames, 0.5, 60.0)

    assert len(shown) == frames
    assert shown == sorted(set(shown))
    left_out = set(range(shown[-1])) - set(shown)
    assert not any(street.visible(place * 0.5) for place in left_out)


def test_a_quiet_clip_spans_more_time_than_its_frames() -> None:
    clips = [make_clip(random.Random(seed), frames=40, interval_s=0.5, questions=8, is_quiet=True) for seed in range(8)]

    assert all(len(clip.stream_frames) == len(clip.pixels) == 40 for clip in clips)
    assert sum(int(clip.stream_frames[-1]) for clip in clips) > 2 * 8 * 40
