"""Faults on purpose: seeded schedules, a history of what happened, and a checker of what must never happen."""
