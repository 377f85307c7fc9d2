"""The Dockerfile builds what the chart runs."""

from __future__ import annotations

import re

from tests.k8s import chart

ROOT = chart.FOLDER.parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_image_runs_as_the_user_of_the_pods_and_lets_the_gpu_decode() -> None:
    users = {
        one
        for pod in chart.pods(chart.render(chart.values_of("a100")))
        for one in chart.values_named(pod.spec, "runAsUser")
    }
    last_stage = DOCKERFILE.split("\nFROM ")[-1]

    assert [f"{user}:{user}" for user in users] == re.findall(r"^USER (.*)$", last_stage, re.M)
    assert "NVIDIA_DRIVER_CAPABILITIES=compute,utility,video" in last_stage


def test_the_image_has_every_program_that_a_pod_starts() -> None:
    programs = set()
    for name in chart.VALUES:
        for pod in chart.pods(chart.render(chart.values_of(name))):
            for container in pod.containers:
                commands = [container.get("command"), *chart.values_named(container, "exec")]
                programs |= {(one["command"] if isinstance(one, dict) else one)[0] for one in commands if one}
    assert programs == {"hermes", "sh", "sleep", "tini"}
    assert "valkey-server" in DOCKERFILE
    assert re.search(r"apt-get install .*\btini\b", DOCKERFILE)


def test_no_weights_and_no_secret_of_this_folder_reach_the_image() -> None:
    """What is copied is named; everything else stays outside."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    taken = {rule.removeprefix("!") for rule in rules if rule.startswith("!")}

    assert rules[0] == "*"
    assert {name for name in taken if not (ROOT / name).exists()} == set()
    packages = re.search(r"^packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text(), re.M)
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= taken
    assert taken.isdisjoint({"benchmarks", "tests", ".venv", ".git", "docs"})


def test_no_base_image_is_the_latest() -> None:
    images = re.findall(r"^ARG BASE=(\S+)$", DOCKERFILE, re.M)
    assert len(images) == 1
    assert ":" in images[0]
    assert not images[0].endswith(":latest")
