"""What gRPC reads from the environment when it is imported. Import this module before grpc.

gRPC prints a line of its own about each TLS handshake that fails: a scan of the port would fill the log of a server.

Forks: gRPC stops and restarts its threads around each fork. A process that is asked meanwhile ends or hangs there, and
a server is asked by probes while Ray starts its processes. Every fork of ours is followed by an exec, which needs none
of that.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
