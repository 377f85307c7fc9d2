"""Whether the network, tokenizer and positions of a checkpoint fit each other and hermes, before a weight is read."""

from __future__ import annotations

from collections.abc import Collection

from transformers import PretrainedConfig, PreTrainedTokenizerBase

from models.errors import ModelInvalid
from models.prompts import Prompts

_FULL = "full_attention"
_UNSTEADY_ROPE = ("dynamic", "longrope")  # their frequencies change with the length of the text


def require_fit(name: str, config: PretrainedConfig, layer_kinds: Collection[str]) -> None:
    """Returns if the decoder's layers, positions and weights are of a kind that is run. Raises ModelInvalid."""
    text = config.text_config
    kinds = getattr(text, "layer_types", None) or [_FULL] * text.num_hidden_layers
    if unknown := sorted(set(kinds) - set(layer_kinds)):
        raise _unfit(name, f"layers of the kind {unknown[0]!r} (supported: {', '.join(sorted(layer_kinds))})")
    if _FULL not in kinds:
        raise _unfit(name, f"no layer of the kind {_FULL!r}, so nothing to remember in")
    if getattr(config, "quantization_config", None):
        raise _unfit(name, "its weights are quantised (bring exact ones; shards.weights does it)")
    rope = text.rope_parameters or {}
    if (kind := rope.get("rope_type")) in _UNSTEADY_ROPE:
        raise _unfit(name, f"rope_type {kind!r} (keys that are cached early would not fit later ones)")
    sections, channels = rope.get("mrope_section"), _rotated_channels(text)
    if sections is not None and 2 * sum(sections) != channels:
        raise _unfit(name, f"mrope_section is {sections} (for {channels} rotated channels: {channels // 2} together)")


def require_tokenizer(
    name: str, config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, prompts: Prompts
) -> None:
    """Returns if the network has every token that is made of texts and frames. Raises ModelInvalid."""
    size, vocab_size = len(tokenizer), config.text_config.vocab_size
    if size > vocab_size:
        raise _unfit(name, f"a tokenizer of {size:,} tokens (the network has {vocab_size:,})")
    # transformers makes an empty tokenizer where the folder has none.
    if not prompts.prefix:
        raise _unfit(name, f"the tokenizer makes no token of the prefix {prompts.texts.prefix!r}")
    for key in ("vision_start_token_id", "vision_end_token_id"):
        if not 0 <= (id := getattr(config, key, 0)) < vocab_size:
            raise _unfit(name, f"{key} is {id:,} (the network has {vocab_size:,} tokens)")


def _rotated_channels(text: PretrainedConfig) -> int:
    head_dim: int = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(head_dim * text.rope_parameters.get("partial_rotary_factor", 1.0))


def _unfit(name: str, reason: str) -> ModelInvalid:
    return ModelInvalid(f"model {name!r}: {reason}")
