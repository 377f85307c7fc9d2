"""All keys of a store that the version before the renaming (commit 3142313) wrote, and what that version read of them.

That version filmed the simulated street with the tiny model, a budget of 28 tokens a layer, one recent frame and the
policy `hermes`, and saved three cameras: `exact` and `int8` without the recent window, `whole` with all tiers.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import redis

_FILE = json.loads((Path(__file__).parent / "store_of_previous_version.json").read_text())
EXPECTED: dict[str, Any] = _FILE["expected"]


def load_into(client: redis.Redis) -> None:
    """Replaces all data of a server with the dump."""
    client.flushall()
    for key, value in _FILE["dump"]["strings"].items():
        client.set(key, base64.b64decode(value))
    for key, values in _FILE["dump"]["lists"].items():
        client.rpush(key, *map(base64.b64decode, values))
    for key, fields in _FILE["dump"]["hashes"].items():
        client.hset(key, mapping=fields)
