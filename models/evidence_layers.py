"""Which layers' attention weights say what an answer rests on."""

from __future__ import annotations


def of(num_layers: int) -> list[bool]:
    """Whether each layer's attention weights count as evidence: the deeper two thirds do. -> L

    Shallow layers attend to the newest tokens whatever the question.
    """
    return [layer >= num_layers // 3 for layer in range(num_layers)]
