"""The demo: a whole system for a few minutes, asked about scenes whose truth is known."""
