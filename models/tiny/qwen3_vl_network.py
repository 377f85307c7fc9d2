"""The shape of the second tiny model: an ordinary Qwen3-VL, hundreds of times smaller than the published ones."""

import torch
from transformers import (
    PreTrainedTokenizerFast,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLTextConfig,
    Qwen3VLVisionConfig,
)

from models.tiny.vocabulary import QWEN_IMAGE, QWEN_PAD, QWEN_VIDEO, TURN_END, VISION_END, VISION_START

PATCH = 8  # pixels, each way
MERGE = 2  # patches of a token, each way
PAIR = 2  # frames of a group
PIXELS = 64 * 64  # of a frame, whatever its form


def tiny_qwen3_vl_config(tokenizer: PreTrainedTokenizerFast) -> Qwen3VLConfig:
    """Groups of two frames, a token for 16 x 16 pixels, six decoder layers of width 128, DeepStack in the first two."""
    vision = Qwen3VLVisionConfig(
        depth=3, hidden_size=96, intermediate_size=256, num_heads=4, patch_size=PATCH, spatial_merge_size=MERGE,
        temporal_patch_size=PAIR, out_hidden_size=128, num_position_embeddings=64, deepstack_visual_indexes=[0, 1],
        initializer_range=0.05,
    )  # fmt: skip
    rope = {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    text = Qwen3VLTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, head_dim=32, max_position_embeddings=4096,
        initializer_range=0.05, rope_parameters=rope, bos_token_id=None, tie_word_embeddings=True,
        eos_token_id=tokenizer.convert_tokens_to_ids(TURN_END), pad_token_id=tokenizer.convert_tokens_to_ids(QWEN_PAD),
    )  # fmt: skip
    ids = {
        "image_token_id": QWEN_IMAGE,
        "video_token_id": QWEN_VIDEO,
        "vision_start_token_id": VISION_START,
        "vision_end_token_id": VISION_END,
    }
    numbers = {name: tokenizer.convert_tokens_to_ids(token) for name, token in ids.items()}
    return Qwen3VLConfig(vision_config=vision, text_config=text, tie_word_embeddings=True, **numbers)


def build_qwen3_vl(tokenizer: PreTrainedTokenizerFast, seed: int) -> Qwen3VLForConditionalGeneration:
    """A new model with random weights that follow from the seed."""
    torch.manual_seed(seed)
    return Qwen3VLForConditionalGeneration(tiny_qwen3_vl_config(tokenizer))
