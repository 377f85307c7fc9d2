"""How the next token of an answer is chosen from its logits, as a checkpoint's generation_config.json says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from models.checkpoint_files import CheckpointFiles, JsonFile

_FILE = "generation_config.json"
# Keys that choose no token. The length of an answer is `shards.device.max_answer_tokens`.
# fmt: off
_WITHOUT_EFFECT = frozenset((
    "bos_token_id", "cache_config", "cache_implementation", "compile_config", "decoder_start_token_id",
    "disable_compile", "low_memory", "max_cache_len", "max_length", "max_new_tokens", "max_time", "output_attentions",
    "output_hidden_states", "output_logits", "output_scores", "pad_token_id", "prefill_chunk_size",
    "return_dict_in_generate", "transformers_version", "use_cache",
))
# fmt: on
_MIN_TEMPERATURE = 1e-9  # logits divided by less are beyond float32
_MIN_PENALTY = 1e-3
_MAX_NUMBER = 1e9
_NO_EFFECT_VALUES: dict[str, list[Any]] = {
    "diversity_penalty": [0],
    "early_stopping": [False],
    "encoder_no_repeat_ngram_size": [0],
    "encoder_repetition_penalty": [1],
    "epsilon_cutoff": [0],
    "eta_cutoff": [0],
    "is_assistant": [False],
    "length_penalty": [1],
    "min_length": [0],
    "no_repeat_ngram_size": [0],
    "num_beam_groups": [1],
    "num_beams": [1],
    "num_return_sequences": [1],
    "remove_invalid_values": [False],
    "renormalize_logits": [False],
    "token_healing": [False],
    "typical_p": [1],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """How a model's answers are decoded. end_ids: tokens that end an answer, at least one.

    repetition_penalty: above 1, tokens of the prompt and of the answer so far become less likely. Greedy unless
    `is_sampled`; then the next token is drawn from the `top_k` most likely ones (0: all) that together have `top_p`,
    at this temperature.
    """

    end_ids: tuple[int, ...]
    repetition_penalty: float = 1.0
    is_sampled: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


class TokenSampler:
    """Chooses next tokens. The same logits after the same tokens give the same token, also where it is sampled."""

    def __init__(self, generation: GenerationConfig) -> None:
        self._is_sampled = generation.is_sampled
        self._processors = LogitsProcessorList()
        if generation.repetition_penalty != 1:
            self._processors.append(RepetitionPenaltyLogitsProcessor(generation.repetition_penalty))
        if generation.is_sampled:
            self._processors.append(TemperatureLogitsWarper(generation.temperature))
            if generation.top_k:
                self._processors.append(TopKLogitsWarper(generation.top_k))
            if generation.top_p < 1:
                self._processors.append(TopPLogitsWarper(generation.top_p))

    def sample(self, logits: Tensor, so_far: Sequence[Sequence[int]]) -> list[int | None]:
        """The next token of each row, None where one of its logits is not finite. [B, V], B × [T_b] -> B

        so_far: the tokens of prompt and answer.
        """
        best = logits.max(dim=-1)  # NaN as soon as one logit of the row is
        values, tokens = torch.stack((best.values.double(), best.indices.double())).tolist()
        return [
            None if not math.isfinite(value) else self._sample_one(row.float(), ids) if self._processors else int(token)
            for value, token, row, ids in zip(values, tokens, logits, so_far, strict=True)
        ]

    def _sample_one(self, logits: Tensor, so_far: Sequence[int]) -> int:
        ids = torch.tensor([so_far], device=logits.device)
        scores = self._processors(ids, logits[None])[0]
        if not self._is_sampled:
            return int(scores.argmax())
        generator = torch.Generator(logits.device).manual_seed(len(so_far))
        return int(torch.multinomial(scores.softmax(dim=-1), 1, generator=generator))


def read(files: CheckpointFiles, tokenizer_end_id: int | None, vocab_size: int) -> GenerationConfig:
    """How a checkpoint wants its answers decoded. tokenizer_end_id: ends answers where the file names no token.

    vocab_size: end tokens are below. Raises ModelInvalid.
    """
    config = files.read(_FILE) or JsonFile(_FILE, {})
    keys = {"do_sample", "eos_token_id", "repetition_penalty", "temperature", "top_k", "top_p"}
    config.require(_NO_EFFECT_VALUES, _WITHOUT_EFFECT | keys, "answers are decoded greedily or by top-k and top-p")
    return GenerationConfig(
        end_ids=_end_ids(config, tokenizer_end_id, vocab_size),
        repetition_penalty=_number(config, "repetition_penalty", 1.0, above=_MIN_PENALTY),
        is_sampled=_flag(config, "do_sample"),
        temperature=_number(config, "temperature", 1.0, above=_MIN_TEMPERATURE) if _flag(config, "do_sample") else 1.0,
        top_k=_top_k(config),
        top_p=_number(config, "top_p", 1.0, above=0, at_most=1),
    )


def _end_ids(config: JsonFile, tokenizer_end_id: int | None, vocab_size: int) -> tuple[int, ...]:
    ids = config.content.get("eos_token_id")
    if ids is None:
        ids = tokenizer_end_id
    ids = ids if isinstance(ids, list) else [ids]
    if not ids or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in ids):
        raise config.refuse("eos_token_id", "expected the id of a token or a list of ids (the tokenizer names none)")
    if min(ids) >= vocab_size:
        raise config.refuse("eos_token_id", f"no answer would end (the network has {vocab_size:,} tokens)")
    return tuple(ids)


def _top_k(config: JsonFile) -> int:
    value = _number(config, "top_k", 0.0, above=-1)
    if not value.is_integer():
        raise config.refuse("top_k", "expected a whole number")
    return int(value)


def _flag(config: JsonFile, key: str) -> bool:
    value = config.content.get(key)
    if value not in (None, True, False):
        raise config.refuse(key, "expected true or false")
    return bool(value)


def _number(config: JsonFile, key: str, default: float, *, above: float, at_most: float = _MAX_NUMBER) -> float:
    value = config.content.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not above < value <= at_most:
        raise config.refuse(key, f"expected a number above {above:g}, at most {at_most:g}")
    return float(value)
