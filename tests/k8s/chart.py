"""Renders the chart as `helm template` does, and finds in its objects what refers to what."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from helm_python import Chart

FOLDER = Path(__file__).parents[2] / "k8s" / "hermes"
# The files that an operator passes with --values, by what they are for.
VALUES = {
    "laptop": ("values-laptop.yaml",),
    "a100": ("values-a100.yaml",),
    "a100-8": ("values-a100.yaml", "values-a100-8.yaml"),
}
RELEASE, NAMESPACE = "hermes", "cameras"

Object = dict[str, Any]


def values_of(name: str) -> Object:
    """The values of these files, one over the other, without the chart's defaults."""
    values: Object = {}
    for file in VALUES[name]:
        values = merged(values, yaml.safe_load((FOLDER / file).read_text()))
    return values


def defaults() -> Object:
    values: Object = yaml.safe_load((FOLDER / "values.yaml").read_text())
    return values


def merged(values: Object, changes: Object) -> Object:
    """The values with changes over them, as Helm merges them."""
    result = copy.deepcopy(values)
    for key, change in changes.items():
        old = result.get(key)
        result[key] = merged(old, change) if isinstance(old, dict) and isinstance(change, dict) else change
    return result


@functools.cache
def _chart() -> Chart:
    return Chart.load(FOLDER)


def render(values: Object, release: str = RELEASE) -> list[Object]:
    """The objects of the chart. Raises HelmError where the schema or a template refuses the values."""
    rendered = _chart().render(values=values, name=release, namespace=NAMESPACE)
    texts = (text for path, text in sorted(rendered.items()) if path.endswith(".yaml"))
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


@dataclass(frozen=True)
class PodTemplate:
    """A pod that an object of the chart makes. labels: KubeRay's own included."""

    owner: str
    labels: dict[str, str]
    spec: Object

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def port_names(self) -> set[str]:
        return {port["name"] for container in self.containers for port in container.get("ports", [])}

    @property
    def port_numbers(self) -> set[int]:
        return {port["containerPort"] for container in self.containers for port in container.get("ports", [])}


def of_kind(objects: list[Object], kind: str) -> list[Object]:
    return [one for one in objects if one["kind"] == kind]


def ray_cluster(objects: list[Object]) -> Object:
    (cluster,) = of_kind(objects, "RayCluster")
    return cluster


def pods(objects: list[Object]) -> list[PodTemplate]:
    return list(_pods(objects))


def _pods(objects: list[Object]) -> Iterator[PodTemplate]:
    for one in objects:
        name = one["metadata"]["name"]
        if one["kind"] in ("Deployment", "StatefulSet"):
            template = one["spec"]["template"]
            yield PodTemplate(f"{one['kind']} {name}", template["metadata"]["labels"], template["spec"])
        if one["kind"] == "RayCluster":
            groups = {"headgroup": one["spec"]["headGroupSpec"]}
            groups |= {group["groupName"]: group for group in one["spec"]["workerGroupSpecs"]}
            for group, spec in groups.items():
                kind = "head" if group == "headgroup" else "worker"
                labels = spec["template"]["metadata"]["labels"] | {
                    "ray.io/cluster": name,
                    "ray.io/node-type": kind,
                    "ray.io/group": group,
                    "app.kubernetes.io/name": "kuberay",
                }
                yield PodTemplate(f"RayCluster {name}, group {group}", labels, spec["template"]["spec"])


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Whether a label selector selects a pod with these labels."""
    is_equal = all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
    operators = [
        labels.get(term["key"]) in term["values"]
        for term in selector.get("matchExpressions", [])
        if term["operator"] == "In"
    ]
    assert len(operators) == len(selector.get("matchExpressions", []))
    return is_equal and all(operators)


def values_named(value: Any, key: str) -> Iterator[Any]:
    """Every value of this key, at any depth."""
    if isinstance(value, dict):
        for name, child in value.items():
            if name == key:
                yield child
            yield from values_named(child, key)
    elif isinstance(value, list):
        for child in value:
            yield from values_named(child, key)


def schema() -> Object:
    """The schema of the chart's values."""
    read: Object = json.loads((FOLDER / "values.schema.json").read_text())
    return read
