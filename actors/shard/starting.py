"""Why the process of a shard has not started yet, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from actors import ray_environment  # noqa: F401

# isort: split

from ray._private import state as ray_state
from ray.actor import ActorHandle

from actors.config.shards import ShardsConfig

_WITHOUT_PROCESS = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "RESTARTING")
_MAX_KINDS = 4  # of nodes that are told apart in words


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster: all of its resources, those that are free, and its labels."""

    resources: Mapping[str, float]
    free: Mapping[str, float]
    labels: Mapping[str, str]


def reason(actor: ActorHandle, shards: ShardsConfig) -> str:
    """What the process waits for. Blocks for calls of Ray's head."""
    # Ray has no public way that works without its dashboard.
    facts = ray_state.actors(actor._actor_id.hex())
    # The address is that of a node which keeps the request, also while no node has room.
    if facts.get("State") in _WITHOUT_PROCESS and not facts.get("Pid"):
        return f"waits for a node with {_demand(shards)}; {described(_nodes(), shards)}"
    return "its process starts and loads the model"


def described(nodes: Sequence[Node], shards: ShardsConfig) -> str:
    """What the cluster has of what a shard asks for."""
    kinds = Counter(sorted(_offer(node, shards) for node in nodes)).most_common()
    parts = [f"{count} with {offer}" for offer, count in kinds[:_MAX_KINDS]]
    if others := sum(count for _, count in kinds[_MAX_KINDS:]):
        parts.append(f"{others} of other kinds")
    return f"the cluster has {len(nodes)} node{'' if len(nodes) == 1 else 's'}: {'; '.join(parts)}"


def _nodes() -> list[Node]:
    free = ray_state.available_resources_per_node()
    return [
        Node(node["Resources"], free.get(node["NodeID"], {}), node["Labels"])
        for node in ray_state.nodes()
        if node["Alive"]
    ]


def _demand(shards: ShardsConfig) -> str:
    parts = [f"{number:g} free {kind}{'s' if number > 1 else ''}" for kind, number in _resources(shards).items()]
    labels = ", ".join(f"{key}={value}" for key, value in sorted(shards.label_selector.items()))
    return " and ".join(parts or ["room"]) + (f" and the labels {labels}" if labels else "")


def _offer(node: Node, shards: ShardsConfig) -> str:
    """What a node has of what a shard asks for: resources, then labels."""
    parts = []
    for kind in _resources(shards):
        total = node.resources.get(kind, 0.0)
        free = f"{node.free.get(kind, 0.0):g} of {total:g} {kind}{'' if total == 1 else 's'} free"
        parts.append(free if total else f"no {kind}")
    for key in sorted(shards.label_selector):
        parts.append(f"{key}={node.labels[key]}" if key in node.labels else f"no {key}")
    return ", ".join(parts or ["room"])


def _resources(shards: ShardsConfig) -> dict[str, float]:
    return {kind: number for kind, number in (("GPU", shards.num_gpus), ("CPU", shards.num_cpus)) if number}
