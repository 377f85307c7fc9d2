"""The gRPC server: services, authentication, conversions and status codes."""
