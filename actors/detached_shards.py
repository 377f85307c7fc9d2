"""The shards of a cluster, for commands that end them: found by Ray alone, without a configuration or a server."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from actors import ray_environment  # noqa: F401

# isort: split

import ray
from ray._private import state as ray_state
from ray._raylet import GcsClient  # type: ignore[attr-defined]
from ray.actor import ActorHandle
from ray.exceptions import RayError

from actors.errors import ShardUnavailable
from actors.shard import ray_errors

_PREFIX = "shard-"
_PREEMPTION = 2  # autoscaler.DrainNodeReason: the node goes, whatever runs on it
_POLL_EVERY_S = 0.5
_MARGIN_S = 5.0  # beyond the grace period, for the shard's answer

Progress = Callable[[str], None]


class DetachedShard:
    """One shard's process. name: as Ray knows it, shard-INDEX."""

    def __init__(self, name: str, actor: ActorHandle) -> None:
        self.name = name
        self._actor = actor

    @property
    def node_id(self) -> str:
        """Ray's id of its node; empty while it has no process. Blocks for a call of Ray's head."""
        facts = ray_state.actors(self._actor._actor_id.hex())
        # Without a process the address is that of a node which keeps the request.
        return str(facts["Address"]["NodeID"]) if facts.get("Pid") else ""

    async def leave(self, grace_s: float, on_progress: Progress, *, may_move: bool) -> list[str]:
        """Makes the shard give its cameras up within the grace period; shows what became of them.

        -> what was not saved, one line each. Raises ShardUnavailable.
        """
        try:
            leaving = asyncio.ensure_future(self._actor.leave.remote(grace_s, may_move))
        except AttributeError:
            raise ShardUnavailable(
                f"{self.name}: it runs another version of hermes; end it with the hermes of that version"
            ) from None
        try:
            async with asyncio.timeout(grace_s + _MARGIN_S):
                while not (await asyncio.wait([leaving], timeout=_POLL_EVERY_S))[0]:
                    on_progress(f"{self.name}: {await self._actor.num_cameras.remote()} cameras left")
                left = json.loads(await leaving)  # a Departure
        except RayError as error:
            raise ShardUnavailable(f"{self.name}: {ray_errors.last_line(error)}") from error
        except TimeoutError:
            raise ShardUnavailable(f"{self.name}: does not answer within {grace_s + _MARGIN_S:g} s") from None
        finally:
            leaving.cancel()
        saved, unsaved = len(left["saved"]), left["unsaved"]
        on_progress(f"{self.name}: {left['moved']} cameras moved, {saved} saved, {len(unsaved)} not saved")
        return [f"{self.name}: camera {name!r} was not saved, its last checkpoint stays" for name in unsaved]

    def kill(self) -> None:
        """Ends the process for good."""
        ray.kill(self._actor)


def find() -> list[DetachedShard]:
    """Every shard of the cluster that was joined, by index. Blocks for calls of Ray's head."""
    shards = [named(f"{_PREFIX}{index}") for index in _indices()]
    return [shard for shard in shards if shard is not None]


def named(name: str) -> DetachedShard | None:
    """The shard of this name; None where it has ended. Blocks for a call of Ray's head."""
    try:
        return DetachedShard(name, ray.get_actor(name))
    except ValueError:
        return None


def num_present() -> int:
    """One more than the highest index of a shard in the cluster that was joined, also of one that waits for a node.

    Blocks for a call of Ray's head; 0 where that fails.
    """
    try:
        return max(_indices(), default=-1) + 1
    except RayError:
        return 0


def _indices() -> list[int]:
    names = [name.removeprefix(_PREFIX) for name in ray.util.list_named_actors() if name.startswith(_PREFIX)]
    return sorted(int(name) for name in names if name.isdecimal())


def this_node() -> str:
    """Ray's id of the node that this process runs on."""
    return str(ray.get_runtime_context().get_node_id())


def cordon(node_id: str, seconds: float) -> bool:
    """Makes Ray start nothing more on a node that ends in so many seconds. -> whether Ray does so"""
    client = GcsClient(address=ray.get_runtime_context().gcs_address)
    until_ms = time.time_ns() // 1_000_000 + int(seconds * 1_000)
    is_accepted, _ = client.drain_node(node_id, _PREEMPTION, "hermes node drain", until_ms)
    return bool(is_accepted)
