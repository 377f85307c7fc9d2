"""Why the process of a shard has not started yet, in words."""

from __future__ import annotations

from actors import ray_environment  # noqa: F401

# isort: split

from ray._private import state as ray_state
from ray.actor import ActorHandle

from actors.config.shards import ShardsConfig

_WITHOUT_PROCESS = ("DEPENDENCIES_UNREADY", "PENDING_CREATION", "RESTARTING")


def reason(actor: ActorHandle, shards: ShardsConfig) -> str:
    """What the process waits for. Blocks for a call of Ray's head."""
    # Ray has no public way that works without its dashboard.
    facts = ray_state.actors(actor._actor_id.hex())
    # The address is that of a node which keeps the request, also while no node has room.
    if facts.get("State") in _WITHOUT_PROCESS and not facts.get("Pid"):
        return f"waits for a node with {_demand(shards)}"
    return "its process starts and loads the model"


def _demand(shards: ShardsConfig) -> str:
    resources = [(shards.num_gpus, "GPU"), (shards.num_cpus, "CPU")]
    parts = [f"{number:g} free {kind}{'s' if number > 1 else ''}" for number, kind in resources if number]
    model = f" ({shards.accelerator_type})" if shards.accelerator_type else ""
    labels = ", ".join(f"{key}={value}" for key, value in sorted(shards.node_labels.items()))
    return " and ".join(parts or ["room"]) + model + (f" and the labels {labels}" if labels else "")
