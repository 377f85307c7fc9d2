"""Every value of the chart changes what it renders, and every variable and volume of a pod has a reader."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from helm_python import HelmError

from tests.k8s import chart
from tests.k8s.chart import Object, PodTemplate

ROOT = chart.FOLDER.parents[1]
# Beside the values files of the chart, what some values need to be of use.
SURROUNDINGS: dict[str, Object] = {
    name: chart.values_of(name) for name in chart.VALUES
} | {
    "weights fetched": {
        "model": {"name": "/models/x", "volumeClaim": "", "download": {"repository": "o/n", "revision": "0" * 40}},
        "networkPolicy": {"clients": [{"podSelector": {}}], "monitoring": [{"podSelector": {}}]},
        "store": {"urlSecret": "hermes-store"},
        "ray": {"state": {"address": "redis://state:6379"}},
    },
}  # fmt: skip
# Another value of a key where its type alone does not tell one that fits.
OTHERS: dict[str, Any] = {
    "config": {"memory": {"tokens_per_layer": 777}},
    "image.digest": "sha256:" + "1" * 64,
    "image.pullSecrets": ["registry"],
    "model.name": "/models/other",
    "model.download.repository": "owner/name",
    "model.download.revision": "1" * 40,
    "networkPolicy.cameraNetworks": ["10.0.0.0/8"],
    "networkPolicy.storeNetworks": ["10.0.0.0/8"],
    "networkPolicy.storePorts": [6380],
    "ray.state.address": "rediss://other:6380",
    "ray.version": "2.59.1",
    "trialStore.image": "valkey/valkey:9.0",
    "trialStore.maxMemory": "99mb",
    "workerGroups": {"others": {}},
}  # fmt: skip
OF_SEVERAL = {"global"}  # Helm's own, for charts that hold this one
SCRATCH = {"/tmp", "/dev/shm", "/models"}
READ_BY_OTHERS = {
    "HF_HUB_OFFLINE": "the downloader of weights",
    "HOME": "every process",
    "MALLOC_ARENA_MAX": "the C library",
    "NVIDIA_DRIVER_CAPABILITIES": "NVIDIA's container runtime",
    "RAY_AUTH_MODE": "Ray",
    "RAY_AUTH_TOKEN": "Ray",
}


def leaves(schema: Object, prefix: str = "") -> Iterator[tuple[str, Object]]:
    """Every key of the schema that has no keys of its own, with what the schema says of it."""
    for key, value in schema["properties"].items():
        if "properties" in value:
            yield from leaves(value, f"{prefix}{key}.")
        elif prefix + key not in OF_SEVERAL:
            yield prefix + key, value


LEAVES = dict(leaves(chart.schema()))


def another(key: str, value: Any) -> Any:
    """A value of the same type as this one."""
    described = LEAVES[key]
    if key in OTHERS:
        return OTHERS[key]
    if "enum" in described:
        return next(one for one in described["enum"] if one != value)
    match value:
        case bool():
            return not value
        case int() | float():
            return value + 1
        case list():
            return [{"key": "other", "operator": "Exists"}]
        case dict():
            return {"other": "value"}
    return "7Gi" if described.get("$ref", "").endswith(("bytes", "quantity")) else "other"


def at(values: Object, key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def nested(key: str, value: Any) -> Object:
    for part in reversed(key.split(".")):
        value = {part: value}
    return dict(value)


def rendered(values: Object) -> list[Object] | str:
    """The objects, or in which words a template refuses the values."""
    try:
        return chart.render(values)
    except HelmError as error:
        return str(error) if "schema" not in str(error) else pytest.fail(str(error))


@pytest.mark.parametrize("key", LEAVES)
def test_every_value_changes_what_is_rendered(key: str) -> None:
    """A value that no template reads promises what nothing keeps."""
    found = []
    for surroundings in SURROUNDINGS.values():
        values = chart.merged(chart.defaults(), surroundings)
        changed = rendered(chart.merged(values, nested(key, another(key, at(values, key)))))
        found.append(key in changed if isinstance(changed, str) else changed != chart.render(values))
    assert any(found)


def containers() -> Iterator[tuple[PodTemplate, Object, str]]:
    """Every container of the chart, with its command and the files of the ConfigMaps that its pod mounts."""
    for surroundings in SURROUNDINGS.values():
        for has_metrics in (True, False):
            objects = chart.render(chart.merged(surroundings, {"monitoring": {"metrics": has_metrics}}))
            files = {one["metadata"]["name"]: one["data"] for one in chart.of_kind(objects, "ConfigMap")}
            for pod in chart.pods(objects):
                named = {one["name"] for one in chart.values_named(pod.spec["volumes"], "configMap")}
                texts = [text for name in named & files.keys() for text in files[name].values()]
                for one in pod.containers:
                    yield pod, one, " ".join([*one.get("command", []), *one.get("args", []), *texts])


def ray_names() -> set[str]:
    """Every variable that Ray may read: RAY_ and a word of its programs."""
    package = Path(ray.__file__).parent
    files = [package / "_raylet.so", *(package / "_private").glob("*.py"), *(package / "_common").rglob("*.py")]
    words = {word.decode() for file in files for word in re.findall(rb"[A-Za-z][A-Za-z0-9_]{5,}", file.read_bytes())}
    return {word if word.startswith("RAY_") else f"RAY_{word}" for word in words}


def test_every_variable_of_a_container_has_a_reader() -> None:
    """Ours stand in the command or the files of the container, or a server of the routers reads them itself."""
    known = READ_BY_OTHERS.keys() | ray_names()
    servers = "\n".join(path.read_text() for path in (ROOT / "actors").rglob("*.py"))
    for pod, container, program in containers():
        texts = program + servers if container["name"] == "router" else program
        for name in {one["name"] for one in container.get("env", [])} - known:
            assert name in texts, (pod.owner, name)


def test_every_volume_of_a_container_has_a_reader() -> None:
    """A mounted folder is scratch, or its path stands in the command or the files of the container."""
    for pod, container, program in containers():
        for path in {mount["mountPath"] for mount in container["volumeMounts"]} - SCRATCH:
            assert path in program, (pod.owner, path)
