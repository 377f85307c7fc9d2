"""What gRPC reads from the environment when it is imported. Import this module before grpc.

gRPC prints a line of its own about each TLS handshake that fails: a scan of the port would fill the log of a server.
"""

from __future__ import annotations

import os

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
