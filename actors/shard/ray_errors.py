"""What an error of a call to an actor means for the shard. The one place that knows Ray's errors."""

from __future__ import annotations

from actors import ray_environment  # noqa: F401

# isort: split

from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayError, RayTaskError

from actors.errors import ShardNotStarted, ShardUnavailable


def translate(error: Exception, shard: int) -> Exception:
    """The error for the caller: what the operation itself raised, or ShardUnavailable for whatever Ray reports."""
    cause = error.cause if isinstance(error, RayTaskError) else None
    if isinstance(cause, Exception) and not isinstance(cause, RayError | ShardNotStarted):
        return cause
    return ShardUnavailable(f"shard {shard}: {_reason(error, cause)}")


def has_given_up(error: Exception) -> bool:
    """Whether Ray will not start the shard's process again by itself, or the process cannot work."""
    is_not_started = isinstance(error, RayTaskError) and isinstance(error.cause, ShardNotStarted)
    return isinstance(error, ActorDiedError) or is_not_started


def last_line(error: Exception) -> str:
    """The reason of an error, without the traceback that Ray puts around it."""
    try:
        text = str(error).strip()
    except AttributeError:  # some of Ray's errors cannot be shown once they have crossed a process
        text = ""
    last = (text.splitlines() or [type(error).__name__])[-1].strip()
    # Of a process that was killed Ray tells a paragraph of possible causes.
    return "its process ended" if "common causes" in last else last


def _reason(error: Exception, cause: Exception | None) -> str:
    if isinstance(cause, ShardNotStarted):
        return str(cause)
    if isinstance(error, TimeoutError | GetTimeoutError):
        return "its process did not answer in time"
    if isinstance(error, ActorDiedError):
        return last_line(error)
    if isinstance(error, RayActorError):
        return "its process ended and is being restarted"
    return f"Ray could not carry out the call: {type(error).__name__}: {last_line(error)}"
