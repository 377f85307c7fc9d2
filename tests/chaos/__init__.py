"""Deliberate faults: seeded schedules, a history of what happened, and checks of what must never happen."""
