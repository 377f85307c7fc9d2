"""Whatever Ray raises while it starts becomes one typed error, so that the command line prints one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

from actors import ray_cluster, ray_environment
from actors.errors import RayNotStarted

# isort: split
import ray


def refuse(**settings: Any) -> NoReturn:
    raise Exception("The current node timed out during startup.")  # as Ray 2.60 does on a busy machine


def test_a_node_that_is_slow_to_start_is_a_typed_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", refuse)

    with (
        pytest.raises(RayNotStarted, match=r"timed out during startup.*load .* cores"),
        ray_cluster.running(num_cpus=1, num_gpus=0),
    ):
        pass
    with pytest.raises(RayNotStarted, match="cannot join the cluster there"), ray_cluster.joined("host:6379"):
        pass


@pytest.mark.parametrize(("content", "problem"), [(None, "No such file or directory"), (" \n", "it is empty")])
def test_the_file_of_a_clusters_token_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None, problem: str
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_text(content)
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(file))

    with (
        pytest.raises(
            RayNotStarted, match=f"RAY_AUTH_TOKEN_PATH '{file}': {problem}; set RAY_AUTH_TOKEN_PATH to a file"
        ),
        ray_cluster.joined("host:6379"),
    ):
        pass


def test_a_cluster_that_cannot_be_joined_without_a_token_names_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray_environment, "HAS_TOKEN", False)

    with pytest.raises(RayNotStarted, match="token is missing: set RAY_AUTH_TOKEN_PATH"), ray_cluster.joined("h:6379"):
        pass
