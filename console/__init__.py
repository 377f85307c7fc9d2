"""What people hold, speaking gRPC only: the command line, the Python client and the demo."""
