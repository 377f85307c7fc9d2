"""Measurements, run as `python -m benchmarks.NAME` from the repository's root; never installed."""
