"""The errors of a running system, apart from those of cameras and questions.

ServiceError
├── ConfigError          the configuration file or a value in it is invalid
├── CertificatesNotMade  certificates for development cannot be made in the folder
│   └── InvalidHost      a host that they shall be for is none
├── AddressInUse         the server cannot listen on one of its addresses
├── StoreInUse           another hermes owns the embedded store's folder
├── StoreExposed         other users of the machine can read the embedded store's folder
├── StoreNotStarted      the embedded store did not start
├── RayNotStarted        Ray did not start, or it listens beyond this machine
├── ShardNotStarted      a shard did not start, e.g. because its model cannot be loaded
├── ServersRunning       servers still serve the shards that shall be ended
├── ServerStarting       the server is starting and has no fleet yet
├── ShardUnavailable     a shard's process ended or does not answer; it is being restarted
│   └── ShardEnded       it was ended on purpose, or was told to end
├── CameraRecovering     the camera's memory is being restored
├── InvalidShard         the shard does not exist, or it takes no new cameras
├── ScalingConflict      other servers change the number of shards at the same moment
├── InvalidRequest       a value of a request that is neither a camera nor a shard is invalid
├── OwnershipUnproven    the camera's shard cannot prove at the moment that it still owns the camera
├── ClientTooSlow        a client did not read its answer in time
├── TooManyCalls         as many calls of a peer, or of all peers, run as may run at once
└── UnknownMethod        the server has no such method
"""

from __future__ import annotations


class ServiceError(Exception):
    """Root of this room's errors."""


class ConfigError(ServiceError):
    """The configuration is invalid; the message names file, line, key and value."""


class CertificatesNotMade(ServiceError):
    """Certificates for development cannot be made in the folder."""


class InvalidHost(CertificatesNotMade):
    """A host that a certificate shall be for is neither a name nor an address."""


class AddressInUse(ServiceError):
    """The server cannot listen on one of its addresses; the message says why."""


class StoreInUse(ServiceError):
    """Another hermes owns the embedded store's folder."""


class StoreExposed(ServiceError):
    """Other users of the machine can read the embedded store's folder; the message says how to close it."""


class StoreNotStarted(ServiceError):
    """The embedded store did not start."""


class RayNotStarted(ServiceError):
    """Ray did not start, or it listens beyond this machine."""


class ShardNotStarted(ServiceError):
    """A shard did not start."""


class ServersRunning(ServiceError):
    """Servers still serve the shards that shall be ended."""


class ServerStarting(ServiceError):
    """The server is still starting and says what it waits for; a retry helps."""


class ShardUnavailable(ServiceError):
    """A shard's process ended or does not answer. It is being restarted, so a retry helps."""


class ShardEnded(ShardUnavailable):
    """A shard's process was ended on purpose, or was told to end: of a shard that is not needed, or is replaced."""


class CameraRecovering(ServiceError):
    """The camera's memory is being restored; a retry helps."""


class InvalidShard(ServiceError):
    """The shard does not exist, or it takes no new cameras."""


class ScalingConflict(ServiceError):
    """Other servers change the number of shards at the same moment; a retry helps."""


class InvalidRequest(ServiceError):
    """A value of a request is invalid, e.g. a page token or a field mask."""


class OwnershipUnproven(ServiceError):
    """The camera's shard cannot prove at the moment that it still owns the camera; a retry helps."""


class ClientTooSlow(ServiceError):
    """A client did not read its answer in time."""


class TooManyCalls(ServiceError):
    """As many calls of a peer, or of all peers, run as may run at once; a retry helps."""


class UnknownMethod(ServiceError):
    """The server has no such method."""
