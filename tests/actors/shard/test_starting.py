"""What a shard asks for and what the cluster has, in words that stay short on a large cluster."""

from __future__ import annotations

from actors.config.shards import ShardsConfig
from actors.shard import starting
from actors.shard.starting import Node

TWO_GPUS = ShardsConfig(num_gpus=2.0, accelerator_type="A100", node_labels={"zone": "b"})


def node(gpus: float = 0.0, free: float = 0.0, **labels: str) -> Node:
    return Node({"GPU": gpus, "CPU": 4.0, "memory": 1e9}, {"GPU": free, "CPU": 3.0}, labels)


def test_of_each_kind_of_node_what_is_asked_for_is_told() -> None:
    nodes = [node(8, 1, zone="b"), node(), node(8, 1, zone="b"), node(1, 1, zone="a", rack="7")]

    assert starting.described(nodes, TWO_GPUS) == (
        "the cluster has 4 nodes: "
        "2 with 1 of 8 GPUs free, 3 of 4 CPUs free, no ray.io/accelerator-type, zone=b; "
        "1 with 1 of 1 GPU free, 3 of 4 CPUs free, no ray.io/accelerator-type, zone=a; "
        "1 with no GPU, 3 of 4 CPUs free, no ray.io/accelerator-type, no zone"
    )


def test_what_is_not_asked_for_is_not_told() -> None:
    assert (
        starting.described([node(8, 1, zone="b")], ShardsConfig()) == "the cluster has 1 node: 1 with 3 of 4 CPUs free"
    )


def test_many_kinds_of_nodes_are_summed_up() -> None:
    nodes = [node(8, free) for free in range(8)]

    text = starting.described(nodes, ShardsConfig(num_gpus=1.0))

    assert text.endswith("; 4 of other kinds")
    assert text.count("with") == 4
