"""The Python client: imports the wire contract alone."""
