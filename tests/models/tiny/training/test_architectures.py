"""Each architecture in training: a packed sequence of it equals the whole model of transformers on one question."""

import random

import pytest
import torch
from transformers import PreTrainedModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel

from models.tiny.training.architecture import Architecture, Grid
from models.tiny.training.architectures import ARCHITECTURES
from models.tiny.training.batches import NEWLINE, Batch, Packer
from models.tiny.training.clips import Clip, ClipOptions, make_clip
from models.tiny.training.layouts import lay_out
from models.tiny.training.qwen3_vl import Qwen3VLArchitecture, patchify
from models.tiny.vocabulary import QWEN_VIDEO, VISION_END, VISION_START


def packed(packer: Packer, grid: Grid) -> tuple[Clip, Batch]:
    """A clip with questions at several of its groups, and the batch of it alone."""
    architecture = packer.architecture
    options = ClipOptions(
        frames=12, interval_s=1.0, questions=6, grid=grid, frames_per_group=architecture.frames_per_group
    )
    clip = make_clip(random.Random(5), options)
    moments = [group for group, _ in clip.questions]
    layout = lay_out(
        random.Random(0),
        architecture.context(clip),
        moments,
        prefix=len(packer.prefix),
        frames_per_group=architecture.frames_per_group,
    )
    assert len(set(moments)) > 1
    return clip, packer.pack([clip], [layout])


def hidden_states(architecture: Architecture, network: PreTrainedModel, batch: Batch) -> torch.Tensor:
    return architecture.hidden_states(network, batch, architecture.embed_video(network, batch.pixels))[0][0]


@torch.no_grad()
def test_llava_onevision_equals_one_causal_sequence_for_each_question() -> None:
    """The slow plain reference: the frames so far and the question, without a mask of ours."""
    packer = Packer(architecture := ARCHITECTURES["llava_onevision"])
    clip, batch = packed(packer, (4, 4))
    network = architecture.build(1).eval()

    states = hidden_states(architecture, network, batch)

    tokens, embedding = architecture.embed_video(network, batch.pixels).embedded, network.get_input_embeddings()
    for number, (moment, _) in enumerate(clip.questions, start=1):
        inside = batch.block[0] == number
        ids = batch.text[0][inside]
        assert ids[0] == NEWLINE
        parts = [embedding(torch.tensor(packer.prefix)), tokens[0, : (moment + 1) * 16]]
        alone = torch.cat([*parts, network.model.image_newline[None], embedding(ids[1:])])
        hidden = network.model.language_model(inputs_embeds=alone[None], use_cache=False).last_hidden_state
        torch.testing.assert_close(states[inside], hidden[0, -len(ids) :], atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("grid", Qwen3VLArchitecture.grids)
def test_qwen3_vl_equals_the_whole_model_on_each_question(grid: Grid) -> None:
    """transformers itself finds the three positions of every token, from the ids and the form of the video."""
    packer = Packer(architecture := ARCHITECTURES["qwen3_vl"])
    clip, batch = packed(packer, grid)
    network = architecture.build(1).eval()

    states = hidden_states(architecture, network, batch)

    frame = VISION_START + QWEN_VIDEO * (grid[0] * grid[1]) + VISION_END
    for number, (moment, _) in enumerate(clip.questions, start=1):
        inside = batch.block[0] == number
        video = "".join(f"<{clip.times_s[group]:.1f} seconds>{frame}" for group in range(moment + 1))
        prompt = architecture.tokenizer(architecture.texts.prefix + " " + video)["input_ids"]
        ids = torch.tensor([[*prompt, *batch.text[0][inside].tolist()]])
        hidden = whole(network.model, ids, batch.pixels[0, : moment + 1])
        torch.testing.assert_close(states[inside], hidden[0, -int(inside.sum()) :], atol=1e-4, rtol=1e-4)


def whole(model: Qwen3VLModel, ids: torch.Tensor, pixels: torch.Tensor) -> torch.Tensor:
    """The last hidden states of the model over ids and the groups of their video. [G, F, H, W, 3] -> [1, S, D]"""
    groups, _, height, width, _ = pixels.shape
    model.rope_deltas = None
    return model(
        input_ids=ids,
        pixel_values_videos=patchify((pixels.float() / 255 - 0.5) / (64 / 255)),
        video_grid_thw=torch.tensor([[groups, height // 8, width // 8]]),
        mm_token_type_ids=(ids == model.config.video_token_id).int() * 2,
        attention_mask=torch.ones_like(ids),
    ).last_hidden_state


def test_patches_are_in_the_order_of_the_published_processor() -> None:
    pixels = torch.rand(3, 2, 48, 80, 3)

    patches = patchify(pixels)

    # As Qwen3VLVideoProcessor arranges them, which needs torchvision: frames first, then channels.
    video = pixels.flatten(0, 1).permute(0, 3, 1, 2)[None]
    across = video.reshape(1, 3, 2, 3, 3, 2, 8, 5, 2, 8)
    expected = across.permute(0, 1, 4, 7, 5, 8, 3, 2, 6, 9).reshape(3 * 6 * 10, 3 * 2 * 8 * 8)
    assert torch.equal(patches, expected)


@torch.no_grad()
def test_the_shape_fits_ten_megabytes_and_has_two_layers_of_deepstack() -> None:
    network = ARCHITECTURES["qwen3_vl"].build(1)

    assert sum(parameter.numel() for parameter in network.parameters()) * 4 < 9_900_000
    tokens = ARCHITECTURES["qwen3_vl"].embed_video(network, torch.zeros(1, 3, 2, 64, 64, 3, dtype=torch.uint8))
    assert tokens.embedded.shape == (1, 3 * 16, 128)
    assert [level.shape for level in tokens.deepstack] == [(1, 3 * 16, 128)] * 2
