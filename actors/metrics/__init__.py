"""What Prometheus reads of a server: its calls, and the state of its fleet."""
