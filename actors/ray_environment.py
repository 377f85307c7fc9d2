"""Settings that Ray reads from the environment when it is imported. Import this module before ray.

Authentication: token authentication is on, with a token made for this run unless the operator set one.

Loopback: the setting named after two other systems is the only one that keeps all ports of a local Ray on 127.0.0.1. It
limits Ray to one machine. `_node_ip_address="127.0.0.1"` does not work: Ray replaces it by the outer address, and every
port is then open to the network. Set it to 1 to join a cluster of several machines.

Failures: a node that does not answer is declared dead after about two seconds; Ray's default is one minute. A head node
that does not answer is waited for 120 s, twice Ray's default, because Ray ends every process that gives it up.

Priority: shards run at the priority of the process that starts them. Ray's default is a niceness of 15, with which a
shard gets a thirtieth of a core beside any other busy process, also for its lease and for restoring cameras.

Memory: the C allocator of every process keeps two arenas, not eight per core. Otherwise memory grew for hours with
threads that start and end (docs/ingest.md).

Signals: a process that has joined Ray answers SIGTERM as it did before. Ray's handler in C++ would end it at once with
a stack dump; crashes are still reported by Python's faulthandler, which Ray turns on.

Forks: Ray has a gRPC of its own, which would hang in the same way as ours (console/client/grpc_environment.py).
"""

from __future__ import annotations

import os
import secrets

os.environ["RAY_AUTH_MODE"] = "token"
if "RAY_AUTH_TOKEN_PATH" not in os.environ:
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ["RAY_DISABLE_FAILURE_SIGNAL_HANDLER"] = "1"
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_DEDUP_LOGS"] = "0"
os.environ["RAY_DISABLE_WORKER_LOG_PREFIX"] = "1"  # a shard's line says itself which shard it is of
os.environ["RAY_COLOR_PREFIX"] = "0"  # 0: no colour codes, which Ray would write into files too
for name, value in {"period_ms": "300", "timeout_ms": "1000", "failure_threshold": "3"}.items():
    os.environ.setdefault(f"RAY_health_check_{name}", value)
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", "120")
os.environ.setdefault("RAY_worker_niceness", "0")
os.environ.setdefault("MALLOC_ARENA_MAX", "2")
# A node may start slowly on a busy machine.
os.environ.setdefault("RAY_raylet_start_wait_time_s", "60")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
