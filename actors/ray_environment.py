"""What Ray must find in the environment at the moment it is imported. Import this first.

Token authentication is on, with a token made for this run unless the operator set one. The switch named after two
other systems is the only one that keeps all of a local Ray on 127.0.0.1: it limits Ray to this machine, whereas
`_node_ip_address="127.0.0.1"` is turned back into the outer address and every port is then open to the network. Who
joins a cluster of several machines sets it to 1.

A node that does not answer is given up after about two seconds; Ray's own choice would be a minute. A head that is away
is waited for twice as long as the minute that Ray gives it: who misses it for longer is ended by Ray.

The C allocator of every process keeps two arenas, not eight a core: with threads that come and go, memory grew for
hours (docs/ingest.md).
"""

from __future__ import annotations

import os
import secrets

os.environ["RAY_AUTH_MODE"] = "token"
if "RAY_AUTH_TOKEN_PATH" not in os.environ:
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DEDUP_LOGS"] = "0"
for name, value in {"period_ms": "300", "timeout_ms": "1000", "failure_threshold": "3"}.items():
    os.environ.setdefault(f"RAY_health_check_{name}", value)
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "120")
os.environ.setdefault("MALLOC_ARENA_MAX", "2")
# A machine that is busy just then may start a node slowly.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "60")
