"""The shape of the tiny model: an ordinary LLaVA-OneVision, hundreds of times smaller than the published ones."""

import torch
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

from models.tiny.vocabulary import END, IMAGE, PAD, VIDEO

FRAME_SIDE = 64
TOKENS_PER_FRAME = 16
CELL_SIDE = 16  # pixels that a token stands for, each way
PIXEL_MEAN = 0.5
PIXEL_STD = 64 / 255
# Training covers every position of clips of 64 frames, and positions up to 4,096 only now and then.
RELIABLE_POSITIONS = 1536


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> LlavaOnevisionConfig:
    """64 x 64 pixels, 16 tokens a frame, six decoder layers of width 128."""
    vision = SiglipVisionConfig(
        hidden_size=96, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        image_size=FRAME_SIDE, patch_size=8, vision_use_head=False,
    )  # fmt: skip
    text = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=6,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=4096, tie_word_embeddings=True,
        initializer_range=0.05, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        bos_token_id=None, eos_token_id=tokenizer.convert_tokens_to_ids(END),
        pad_token_id=tokenizer.convert_tokens_to_ids(PAD),
    )  # fmt: skip
    return LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        video_token_index=tokenizer.convert_tokens_to_ids(VIDEO), vision_aspect_ratio="anyres_max_1",
        image_grid_pinpoints=[[FRAME_SIDE, FRAME_SIDE]], tie_word_embeddings=True,
    )  # fmt: skip


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaOnevisionForConditionalGeneration:
    """A new model with random weights that follow from the seed."""
    torch.manual_seed(seed)
    return LlavaOnevisionForConditionalGeneration(tiny_config(tokenizer))
