"""The attention function by which an unmodified transformers decoder reads the memories of a pass."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import Module
from transformers import AttentionInterface

from models.decode_runs import DecodeRun
from models.decode_step import DecodeStep
from models.query_capture import LayerQueries, QueryCapture
from models.shared_base import pick
from models.slot_cache import AttentionCapture, PassEnded, SlotCache, packed
from ops import attention as attention_ops
from ops import fused_attention
from ops.fused_attention import Attended

ATTENTION_NAME = "hermes_slots"


def slot_attention(
    module: Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float,
    forward_pass: SlotCache | DecodeStep,
    **_kwargs: object,
) -> tuple[Tensor, None]:
    """The attention of one layer of a pass. [B, Hq, T, D], [B, H, T, D] twice -> [B, T, Hq, D]

    B is 1, with packed tokens, or the number of memories.
    """
    decoder_layer = cast(int, module.layer_idx)
    batch, heads, tokens, width = query.shape
    if isinstance(forward_pass, DecodeStep):
        attended = forward_pass.attend(decoder_layer, query, key, value, scaling)
        return attended.reshape(batch, tokens, heads, width), None
    layer, queries = forward_pass.layer_of(decoder_layer), packed(query)
    if forward_pass.decode_runs:
        parts = [_decode(queries, run, layer, scaling) for run in forward_pass.decode_runs]
    else:
        parts = _prefill(queries, packed(key), packed(value), layer, forward_pass, scaling)
    if layer == forward_pass.ends_at:
        raise PassEnded
    attended, normalizer = parts[0] if len(parts) == 1 else (torch.cat(part) for part in zip(*parts, strict=True))
    if forward_pass.bases.shares:
        attended, normalizer = _with_bases(queries, (attended, normalizer), layer, forward_pass, scaling)
    capture = forward_pass.capture
    if isinstance(capture, QueryCapture) and capture.is_recorded[layer]:
        newest = forward_pass.newest(queries[0].transpose(0, 1)), forward_pass.newest(normalizer)
        capture.layers[layer] = LayerQueries(*newest, scaling)
    return attended.reshape(batch, tokens, heads, width), None


def _decode(queries: Tensor, run: DecodeRun, layer: int, scaling: float) -> Attended:
    """[1, Hq, B, D] -> [R, Hq, D], [R, Hq]"""
    keys, values, mask = run.read(layer)
    grouped = run.unpack(queries).reshape(keys.shape[0], keys.shape[1], -1, keys.shape[3])
    attended, normalizer = fused_attention.attend(grouped, keys, values, scaling, bias=mask)
    return attended.flatten(1, 2), normalizer.flatten(1, 2)


def _prefill(
    queries: Tensor, keys: Tensor, values: Tensor, layer: int, forward_pass: SlotCache, scaling: float
) -> list[Attended]:
    """The attention of the new tokens of each run of memories.

    [1, Hq, sum of T_b, D], [1, H, sum of T_b, D] twice -> [R · T, Hq, D], [R · T, Hq]
    """
    capture, parts = forward_pass.capture, []
    mask = None if forward_pass.mask is None else forward_pass.mask.to(queries.device)
    rows = capture.query_rows[layer] if isinstance(capture, AttentionCapture) else None
    for run in forward_pass.runs:
        new = attention_ops.New(run.unpack(queries), run.unpack(keys), run.unpack(values), mask)
        if forward_pass.is_appended and run.is_in_place(layer):
            slot_keys, slot_values, causal = run.read(layer)
            attended, normalizer = fused_attention.attend(new.queries, slot_keys, slot_values, scaling, bias=causal)
        elif rows is None or not isinstance(capture, AttentionCapture):
            attended, normalizer = attention_ops.attend(new, run.cached(layer), scaling)
        else:
            (attended, normalizer), weights = attention_ops.attend_and_reduce(
                new, run.cached(layer), scaling, rows, capture.reduce
            )
            capture.weights.setdefault(layer, {}).update(enumerate(weights, start=run.first_row))
        parts.append((attended.transpose(1, 2).flatten(0, 1), normalizer.transpose(1, 2).flatten(0, 1)))
    return parts


def _with_bases(
    queries: Tensor, of_memories: Attended, layer: int, forward_pass: SlotCache, scaling: float
) -> Attended:
    """Merges the attention over the bases with that over the memories. [1, Hq, T, D], [T, Hq, D], [T, Hq]"""
    bases = forward_pass.bases
    queries = pick(queries, 2, bases.tokens)
    mine = (pick(of_memories[0], 0, bases.tokens), pick(of_memories[1], 0, bases.tokens))
    attended, normalizer = attention_ops.merge(bases.attend(queries, layer, scaling), mine)
    if bases.tokens is None:
        return attended, normalizer
    places = bases.tokens.to(attended.device)
    return of_memories[0].index_copy(0, places, attended), of_memories[1].index_copy(0, places, normalizer)


AttentionInterface.register(ATTENTION_NAME, slot_attention)
