"""The time to restore a checkpoint, compared with reading the same bytes with the same client."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch

from benchmarks import measured_store
from cache_store.cached_tokens import CachedTokens
from cache_store.checkpoint import Checkpoint, CheckpointFacts
from cache_store.manifest import Manifest
from cache_store.row_format import RowFormat

_CAMERA = "camera"


@dataclass(frozen=True, slots=True)
class Restore:
    """Medians over pairs of a restore and a plain read, in seconds, and the median of their ratios."""

    rows: str
    nbytes: int
    load_s: float
    raw_read_s: float
    restore_over_raw_read: float


async def measure(pairs: int, row_format: RowFormat, *, layers: int = 24, tokens: int = 4_000) -> Restore:
    """Loads a checkpoint of LLaVA-OneVision 0.5B's shape and reads its chunks, in turns."""
    async with measured_store.running(_CAMERA) as measured:
        await measured.store.save(_CAMERA, _random_checkpoint(layers, tokens, row_format), measured.owner)
        client = measured.connection.client
        manifest = (await client.lrange(f"hermes:{{{_CAMERA}}}:manifests", 0, 0))[0]
        chunks = Manifest.from_text(manifest).chunks
        rows = []
        for _ in range(pairs):
            started_s = time.perf_counter()
            chunks_read = [await client.get(chunk.key) for chunk in chunks]
            raw_s = time.perf_counter() - started_s
            del chunks_read
            started_s = time.perf_counter()
            loaded = await measured.store.load(_CAMERA, "random")
            rows.append((time.perf_counter() - started_s, raw_s))
            del loaded
    return Restore(
        row_format,
        sum(chunk.nbytes for chunk in chunks),
        round(statistics.median(load_s for load_s, _ in rows), 4),
        round(statistics.median(raw_s for _, raw_s in rows), 4),
        round(statistics.median(load_s / raw_s for load_s, raw_s in rows), 3),
    )


def described(restores: list[Restore]) -> str:
    """The results in sentences."""
    return "\n".join(
        f"Restoring {one.nbytes / 1e6:.1f} MB of {one.rows} rows takes {1000 * one.load_s:.0f} ms, reading the same "
        f"bytes {1000 * one.raw_read_s:.0f} ms: {one.restore_over_raw_read:.2f} times as long, median of pairs."
        for one in restores
    )


def _random_checkpoint(num_layers: int, num_tokens: int, rows: RowFormat) -> Checkpoint:
    generator = torch.Generator().manual_seed(0)
    facts = CheckpointFacts(
        fingerprint="random",
        saved_s=0.0,
        started_s=0.0,
        newest_s=0.0,
        next_position=num_tokens,
        next_frame=num_tokens,
        frames_seen=num_tokens,
        frames_dropped=0,
        compactions=1,
        rows=rows,
    )
    return Checkpoint(facts, tuple(_random_layer(num_tokens, generator) for _ in range(num_layers)), {})


def _random_layer(num_tokens: int, generator: torch.Generator) -> CachedTokens:
    places = torch.arange(num_tokens)
    keys, values = torch.randn(2, 2, num_tokens, 64, generator=generator).bfloat16()
    return CachedTokens(
        keys, values, places, places, torch.ones_like(places), places.double(), torch.zeros_like(places).int()
    )
