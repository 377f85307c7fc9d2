"""What an error of a call to an actor means for the shard. The one place that knows Ray's errors."""

from __future__ import annotations

from actors import ray_environment  # noqa: F401

# isort: split

from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError

from actors.errors import ShardEnded, ShardNotStarted, ShardUnavailable


def translate(error: Exception, shard: int) -> ShardUnavailable:
    """The error for the caller, whatever Ray reports; what an operation raises comes in its reply."""
    if isinstance(error, ActorDiedError) and "`ray.kill`" in _text(error):
        return ShardEnded(f"shard {shard}: its process was ended")
    return ShardUnavailable(f"shard {shard}: {_reason(error)}")


def has_given_up(error: Exception) -> bool:
    """Whether Ray will not start the shard's process again by itself, or the process cannot work."""
    return isinstance(error, ActorDiedError | ShardNotStarted)


def last_line(error: Exception) -> str:
    """The reason of an error, without the traceback that Ray puts around it."""
    last = (_text(error).splitlines() or [type(error).__name__])[-1].strip()
    # Of a process that was killed Ray tells a paragraph of possible causes.
    return "its process ended" if "common causes" in last else last


def _text(error: Exception) -> str:
    try:
        return str(error).strip()
    except AttributeError:  # some of Ray's errors cannot be shown once they have crossed a process
        return ""


def _reason(error: Exception) -> str:
    if isinstance(error, ShardNotStarted):
        return str(error)
    if isinstance(error, TimeoutError | GetTimeoutError):
        return "its process did not answer in time"
    if isinstance(error, ActorDiedError):
        return last_line(error)
    if isinstance(error, RayActorError):
        return "its process ended and is being restarted"
    if isinstance(error, ValueError):
        return f"its reply cannot be read, so it may run another version of hermes: {last_line(error)}"
    return f"Ray could not carry out the call: {type(error).__name__}: {last_line(error)}"
