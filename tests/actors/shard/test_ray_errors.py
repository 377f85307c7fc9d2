"""Whatever Ray reports, a caller gets an error of the operation or ShardUnavailable."""

from __future__ import annotations

from actors import ray_environment  # noqa: F401

# isort: split

import pytest
from ray import exceptions
from ray.core.generated.common_pb2 import ActorDiedErrorContext
from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

from actors.errors import ShardEnded, ShardNotStarted, ShardUnavailable
from actors.shard import ray_errors

RAY_ERRORS = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, RayError)]


def task_error(cause: Exception | None) -> RayTaskError:
    error = RayTaskError.__new__(RayTaskError)
    error.cause = cause
    error.args = ("a traceback",)
    error.traceback_str = "a traceback"
    return error


@pytest.mark.parametrize("kind", RAY_ERRORS)
def test_each_of_ray_s_errors_means_that_the_shard_is_unavailable(kind: type[RayError]) -> None:
    # As after its way from another process: some of these errors cannot even be shown then.
    error = task_error(None) if issubclass(kind, RayTaskError) else kind.__new__(kind)

    translated = ray_errors.translate(error, 3)

    assert isinstance(translated, ShardUnavailable)
    assert str(translated).startswith("shard 3: ")


def test_there_are_more_than_twenty_of_them() -> None:
    assert len(RAY_ERRORS) > 20


def test_a_process_that_cannot_start_is_to_be_replaced_and_other_errors_are_left_to_ray() -> None:
    not_started = ShardNotStarted("no such model")
    assert str(ray_errors.translate(not_started, 3)) == "shard 3: no such model"
    assert ray_errors.has_given_up(not_started)
    assert ray_errors.has_given_up(ActorDiedError.__new__(ActorDiedError))
    assert not ray_errors.has_given_up(RayActorError.__new__(RayActorError))
    assert not ray_errors.has_given_up(TimeoutError())


def test_a_shard_that_does_not_answer_in_time_says_so() -> None:
    assert str(ray_errors.translate(TimeoutError(), 3)) == "shard 3: its process did not answer in time"


def test_a_process_that_was_ended_on_purpose_is_told_from_one_that_was_lost() -> None:
    def died(reason: str) -> ActorDiedError:
        return ActorDiedError(
            ActorDiedErrorContext(actor_id=bytes(16), error_message=f"The actor is dead because {reason}.")
        )

    assert type(ray_errors.translate(died("it was killed by `ray.kill`"), 3)) is ShardEnded
    assert type(ray_errors.translate(died("its node has died"), 3)) is ShardUnavailable
