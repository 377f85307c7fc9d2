"""Processes, Ray and gRPC: which shard owns a camera, what happens after a crash, and the server that answers."""
