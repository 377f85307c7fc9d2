"""What can be wrong with a worker.

WorkerError
├── MalformedMessage   it said what no worker says
└── WorkerUnreachable  it has ended, or does not take what it is sent
"""

from __future__ import annotations


class WorkerError(Exception):
    """Root of what can be wrong with an ingest worker."""


class MalformedMessage(WorkerError):
    """A message has a wrong form, size or value."""


class WorkerUnreachable(WorkerError):
    """The worker has ended, or does not take what it is sent."""
