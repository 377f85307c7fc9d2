"""What can go wrong with a running system, apart from its cameras and questions.

ServiceError
├── ConfigError       the file or a value in it cannot be used
├── AddressInUse      another process listens where the router should
├── StoreInUse        another hermes owns the embedded store's folder
├── StoreNotStarted   the embedded store did not come up
├── RayNotStarted     Ray did not come up, or not as safely as asked for
├── ShardNotStarted   a shard could not be built, e.g. for want of a model
├── ShardUnavailable  a shard's process is gone or does not answer; it is being restarted
├── CameraRecovering  the camera exists, but its memory is not back yet
├── InvalidShard      there is no such shard, or it takes no cameras
├── OwnershipUnproven the camera's shard cannot prove, for now, that the camera is still its own
└── ClientTooSlow     the reader of an answer did not keep up with it
"""

from __future__ import annotations


class ServiceError(Exception):
    """Root of this room's errors."""


class ConfigError(ServiceError):
    """The configuration cannot be used; the message names file, line, key and value."""


class AddressInUse(ServiceError):
    """Another process listens where the router should."""


class StoreInUse(ServiceError):
    """Another hermes owns the embedded store's folder."""


class StoreNotStarted(ServiceError):
    """The embedded store did not come up."""


class RayNotStarted(ServiceError):
    """Ray did not come up, or not as safely as asked for."""


class ShardNotStarted(ServiceError):
    """A shard could not be built."""


class ShardUnavailable(ServiceError):
    """A shard's process is gone or does not answer; it is being restarted, so trying again helps."""


class CameraRecovering(ServiceError):
    """The camera exists, but its memory is not back yet; trying again helps."""


class InvalidShard(ServiceError):
    """There is no such shard, or it takes no cameras now."""


class OwnershipUnproven(ServiceError):
    """The camera's shard cannot prove, for now, that the camera is still its own; trying again helps."""


class ClientTooSlow(ServiceError):
    """The reader of an answer did not keep up with it."""
