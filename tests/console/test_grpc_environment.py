"""What gRPC reads from the environment, in a process of its own: it is read once, by the first call."""

from __future__ import annotations

import subprocess
import sys

# A server that three clients ask all the time, while the process starts others as Ray does: by a fork, then an exec.
ASKED_WHILE_FORKING = """
import asyncio, os, subprocess, threading
from console.client import grpc_environment
import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

listening, answered = threading.Event(), threading.Barrier(4)

async def serve():
    global port
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    listening.set()
    await server.wait_for_termination()

def ask():
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        while True:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
            answered.wait()

threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
listening.wait()
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
for _ in range(50):
    subprocess.Popen(["true"], preexec_fn=lambda: None).wait()
    answered.wait(20)
print("answered", flush=True)
os._exit(0)
"""


def test_a_server_that_is_asked_while_it_starts_processes_goes_on() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", ASKED_WHILE_FORKING], capture_output=True, text=True, timeout=60, check=False
    )

    assert ended.stdout == "answered\n", ended.stderr
