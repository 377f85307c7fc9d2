"""The figures that a plan computes with and nobody chooses: each measured by a benchmark of ours, or assumed."""

from __future__ import annotations

from console.planning.figures import Basis, Figure

_CHECKPOINTS = "benchmarks/checkpoints.py: docs/checkpoints.json"
_NO_GPU = "hermes has not been measured on a GPU"

PEAK_SHARE = Figure("share of the bfloat16 peak in prefill and vision", 0.4, "", Basis.ASSUMED, _NO_GPU)
BANDWIDTH_SHARE = Figure("share of the memory bandwidth in decoding", 0.6, "", Basis.ASSUMED, _NO_GPU)
BUSY_LIMIT = Figure("busy share of a GPU, at most", 0.8, "", Basis.ASSUMED, "room for bursts")
# What scoring and compaction of one step cost, as tokens of prefill: upkeep_s / prefill_s of a clip of 1,568 tokens.
UPKEEP_TOKENS = Figure(
    "upkeep of a step", 123, "tokens of prefill", Basis.MEASURED, "benchmarks/upkeep.py: docs/upkeep.json"
)
QUESTION_TOKENS = Figure("tokens of a question", 40, "", Basis.ASSUMED, "a sentence and the prompt around it")
ANSWER_TOKENS = Figure("tokens of an answer", 32, "", Basis.ASSUMED, "half of shards.device.max_answer_tokens")

RUNTIME_NBYTES = Figure("CUDA, cuBLAS and DALI", 2.0e9, "B", Basis.ASSUMED, _NO_GPU)
SURFACES = Figure(
    "decoded surfaces of a session", 20, "", Basis.ASSUMED, "NV12 at the video's size; one session a camera"
)
MEMORY_SHARE = Figure("share of the GPU's memory that can be filled", 0.95, "", Basis.ASSUMED, "fragmentation")
DECODER_SHARE = Figure("busy share of the decoder engines, at most", 0.8, "", Basis.ASSUMED, "room for bursts")

STORE_NBYTES_PER_S = Figure(
    "what one store takes in, one core fully busy", 367e6, "B/s", Basis.MEASURED, f"{_CHECKPOINTS}, 1080p, exact"
)
STORE_BUSY_LIMIT = Figure("busy share of the store, at most", 0.7, "", Basis.ASSUMED, "leases need the same core")
GENERATIONS = Figure("checkpoints kept of a camera", 2, "", Basis.MEASURED, "docs/checkpoints.md: two generations")
THUMBNAIL_NBYTES = Figure(
    "a thumbnail", 25e3, "B", Basis.MEASURED, f"{_CHECKPOINTS.split(':')[0]}: 2.3 MB of 93 frames"
)
THUMBNAILS = Figure("thumbnails kept of a camera", 93, "", Basis.MEASURED, "docs/checkpoints.md, 256 tokens a layer")
NODE_NETWORK_BITS_PER_S = Figure("network of a node", 10e9, "b/s", Basis.ASSUMED, "one port of 10 Gb/s")
NETWORK_SHARE = Figure("share of the network that can be filled", 0.7, "", Basis.ASSUMED, "room for bursts")
