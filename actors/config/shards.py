"""How many shards a system has, what each may use, and how each owns its cameras."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from actors.config import hosts, ranges
from actors.config.ranges import Ranges
from cache_store.row_format import RowFormat
from models.weight_format import WeightFormat
from pipeline.device.device_config import DeviceConfig

MOST_SHARDS = 10_000  # of one system
_ACCELERATOR = "ray.io/accelerator-type"
_WORD = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9][a-z0-9.-]{{0,252}}/)?{_WORD}")
_LABEL_VALUE = re.compile(rf"!?({_WORD}|in\({_WORD}(,\s*{_WORD})*\))")
_LABEL_LIMIT = "1 to 63 letters, digits, '.', '_' and '-', a letter or digit at both ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseConfig:
    """How long a shard owns its cameras after each contact with the store.

    length_s: seconds without a renewal until another shard may take over; at least three margins.
    margin_s: seconds before the end of its lease at which a shard stops answering, because clocks may differ.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[Ranges] = {"margin_s": (0.05, math.inf)}

    length_s: float = 6.0
    margin_s: float = 1.0

    def __post_init__(self) -> None:
        ranges.require("shards.lease", self)
        if not 3 * self.margin_s <= self.length_s < math.inf:
            raise ValueError(f"shards.lease.length_s is {self.length_s} (at least {3 * self.margin_s}, three margins)")


class ShardPlacement(StrEnum):
    """How shards are spread over nodes."""

    SPREAD = "spread"
    PACK = "pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingConfig:
    """When a shard starts or ends, between shards.min and shards.max. One always starts when cameras find no slot.

    busy_above: share of the time that the devices of all shards work on average, above which one more shard starts.
    busy_below: share that they would work with fewer shards, below which a shard may end.
    full_below: share of the slots that would be taken with fewer shards, up to which a shard may end.
    up_after_s: seconds that the load must last before one more shard starts.
    down_after_s: seconds that fewer shards must have been enough before one ends.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[Ranges] = {
        "busy_above": (0.0, 1.0),
        "busy_below": (0.0, 1.0),
        "full_below": (0.0, 1.0),
        "up_after_s": (0.0, math.inf),
        "down_after_s": (0.0, math.inf),
    }

    busy_above: float = 0.85
    busy_below: float = 0.6
    full_below: float = 0.9
    up_after_s: float = 30.0
    down_after_s: float = 300.0

    def __post_init__(self) -> None:
        ranges.require("shards.scaling", self)
        if not self.busy_below < self.busy_above:
            raise ValueError(
                f"shards.scaling.busy_below is {self.busy_below:g} (less than busy_above, which is {self.busy_above:g})"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardsConfig:
    """How many shards there are and what each may use. A shard is one process with one device.

    count: number of shards, for short: the same as min and max with this number.
    min: fewest shards, also without cameras; null: 1.
    max: most shards; more than min start when room or load runs out, and end when fewer are enough; null: as min.
    spares: how many of them stay empty, with the model loaded, while the others are up and have free slots; a spare
        takes the cameras of a shard that is down; less than max. There is always room for the cameras without as many
        shards, as far as max allows.
    scaling: when a shard starts or ends between min and max.
    placement: how shards are spread over the nodes of a cluster: spread, or pack, which fills a node to half before it
        takes another.
    accelerator_type: GPU that a node must have, by the label ray.io/accelerator-type, e.g. A100; null: any node.
    node_labels: labels of Ray that a node must have for a shard, e.g. those of a group of pods.
    cluster: name of this system; all servers over one store have the same, so that two systems do not share a store by
        mistake; null: none.
    settings_version: version of the settings that all servers over the same cluster and store share (model, memory,
        ingest, shards, and which cameras are configured); raise it with each change of them.
    ray: "local" for a Ray of this machine alone, else the address of a running cluster: HOST:PORT or auto.
    num_cpus: CPUs of one shard, as Ray counts them; torch uses as many threads.
    num_gpus: GPUs of one shard, as Ray counts them; a fraction shares a GPU, over several the model's layers are split.
    weights: number type of the model's weights: auto (bfloat16 on a GPU that has it, float32 elsewhere), float32,
        bfloat16, float16, or int8, which halves the decoder's layers and is computed as auto.
    grace_s: seconds in which a shard that is told to end, by SIGTERM or with its server, gives its cameras up: at most
        half of them for moves to other shards, the rest for saving what stays.
    checkpoint_every_s: seconds between two checkpoints of a camera.
    checkpoint_rows: format of keys and values in checkpoints: exact, or int8, which is smaller; moves are always exact.
    checkpoint_max_mb_per_s: limit for all checkpoints of one shard together, in megabytes per second; null: no limit.
    lease: how a shard owns its cameras.
    device: limits of one device.
    """

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    RANGES: ClassVar[Ranges] = {
        "count": (1, MOST_SHARDS),
        "min": (1, MOST_SHARDS),
        "max": (1, MOST_SHARDS),
        "spares": (0, MOST_SHARDS),
        "settings_version": (1, 2**31 - 1),
        "num_cpus": (0, math.inf),
        "num_gpus": (0, math.inf),
        "grace_s": (1, math.inf),
        "checkpoint_every_s": (0.1, math.inf),
        "checkpoint_max_mb_per_s": (0.01, math.inf),
    }

    count: int | None = None
    min: int | None = None
    max: int | None = None
    spares: int = 0
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    placement: ShardPlacement = ShardPlacement.SPREAD
    accelerator_type: str | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    cluster: str | None = None
    settings_version: int = 1
    ray: str = "local"
    num_cpus: float = 1.0
    num_gpus: float = 0.0
    weights: WeightFormat = WeightFormat.AUTO
    grace_s: float = 30.0
    checkpoint_every_s: float = 15.0
    checkpoint_rows: RowFormat = RowFormat.EXACT
    checkpoint_max_mb_per_s: float | None = None
    lease: LeaseConfig = field(default_factory=LeaseConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)

    def __post_init__(self) -> None:
        ranges.require("shards", self)
        for key, value in (("min", self.min), ("max", self.max)):
            if self.count is not None and value not in (None, self.count):
                raise ValueError(
                    f"shards.{key} is {value}, and shards.count {self.count}: count is short for min and max with one "
                    "number; use either count, or min and max"
                )
        if self.most < self.fewest:
            raise ValueError(f"shards.max is {self.most} (at least shards.min, which is {self.fewest})")
        if self.spares >= self.most:
            limit = "shards.count" if self.count is not None else "shards.max"
            raise ValueError(f"shards.spares is {self.spares} (less than {limit}, which is {self.most})")

        if not self.is_local and not hosts.is_cluster(self.ray):
            raise ValueError(f"shards.ray is {self.ray!r} (local, auto or HOST:PORT of a running cluster)")
        self._require_labels()

    def _require_labels(self) -> None:
        """Ray refuses such labels only when a shard starts, or waits for ever for a node that has them."""
        if self.accelerator_type is not None and not re.fullmatch(_WORD, self.accelerator_type):
            raise ValueError(f"shards.accelerator_type is {self.accelerator_type!r} ({_LABEL_LIMIT})")
        for key, value in self.node_labels.items():
            if not _LABEL_KEY.fullmatch(key):
                raise ValueError(
                    f"shards.node_labels has the label {key!r} ({_LABEL_LIMIT}; before them maybe DOMAIN/)"
                )
            if not _LABEL_VALUE.fullmatch(value):
                raise ValueError(
                    f"shards.node_labels.{key} is {value!r} ({_LABEL_LIMIT}; or in(A, B); ! before either means not)"
                )
        label = self.node_labels.get(_ACCELERATOR)
        if label is not None and self.accelerator_type not in (None, label):
            raise ValueError(
                f"shards.node_labels.{_ACCELERATOR} is {label!r} (the same as shards.accelerator_type, which is "
                f"{self.accelerator_type!r}; use one of the two)"
            )

    @property
    def fewest(self) -> int:
        """The fewest shards."""
        return self.count or self.min or 1

    @property
    def most(self) -> int:
        """The most shards."""
        return self.count or self.max or self.fewest

    @property
    def gpus_of_model(self) -> int:
        """Over how many GPUs the layers of a shard's model are split."""
        return max(1, int(self.num_gpus))

    @property
    def label_selector(self) -> dict[str, str]:
        """The labels that a node must have for a shard, the accelerator type among them."""
        accelerator = {} if self.accelerator_type is None else {_ACCELERATOR: self.accelerator_type}
        return {**self.node_labels, **accelerator}

    @property
    def is_local(self) -> bool:
        """Whether the shards run in a Ray of this machine alone."""
        return self.ray == "local"
