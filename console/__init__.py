"""What people hold: the command line and the Python client. Speaks gRPC only."""
