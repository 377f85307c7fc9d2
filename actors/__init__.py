"""Processes: who owns which camera, who comes back after a crash; the gRPC router. Ray and grpc live here."""
