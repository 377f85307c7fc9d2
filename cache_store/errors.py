"""The errors of this room. Loads no torch, so that a process can name an error without a model.

StoreError
├── StoreUnavailable        the store cannot be reached, or refused the request
│   ├── StoreFull           the store has no memory left for new data
│   ├── StoreReadOnly       the store takes no writes: a replica, or a former primary
│   ├── StoreForbidden      the login or the command is not permitted
│   ├── StoreLoading        the store is still reading its own files
│   ├── StoreNotReplicated  the store took the write, but no replica has it
│   └── ChunksLost          the store has lost chunks that the checkpoint shares with an earlier one
├── StoreUnfit              the store is configured so that it would lose data
├── CheckpointCorrupt       the bytes are no checkpoint that this version can read
├── OwnedByAnother          the camera has another owner
├── CameraFenced            the camera was removed, so nothing may own or save it any more
└── Retired                 the lease of this incarnation is renewed no more
"""

from __future__ import annotations


class StoreError(Exception):
    """Root of every error of checkpoints, leases and the store that holds them."""


class StoreUnavailable(StoreError):
    """The store cannot be reached, or refused the request."""


class StoreFull(StoreUnavailable):
    """The store has no memory left for new data, and evicts nothing. Stored data is safe."""


class StoreReadOnly(StoreUnavailable):
    """The store takes no writes: it is a replica, or a former primary."""


class StoreForbidden(StoreUnavailable):
    """The store does not permit the login or the command."""


class StoreLoading(StoreUnavailable):
    """The store is still reading its own files."""


class StoreNotReplicated(StoreUnavailable):
    """The store took the write, but no replica has it, so a failover would lose it."""


class ChunksLost(StoreUnavailable):
    """The store has lost chunks or thumbnails that the checkpoint shares with an earlier one, or that expired."""


class StoreUnfit(StoreError):
    """The store is configured so that it would lose data; the message names the setting."""


class CheckpointCorrupt(StoreError):
    """The bytes are no checkpoint that this version can read."""


class OwnedByAnother(StoreError):
    """The camera has another owner; `incarnation` is its id, empty where the store knows of none."""

    def __init__(self, message: str, incarnation: str = "") -> None:
        super().__init__(message)
        self.incarnation = incarnation

    def __reduce__(self) -> tuple[type[OwnedByAnother], tuple[str, str]]:
        return type(self), (str(self), self.incarnation)


class CameraFenced(StoreError):
    """The camera was removed for good, so no shard may own or save it any more."""


class Retired(StoreError):
    """The lease of this incarnation is renewed no more: it must stop."""
