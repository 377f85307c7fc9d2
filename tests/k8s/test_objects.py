"""Every object that the chart renders is valid, and refers only to what exists."""

from __future__ import annotations

import copy
import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.k8s import chart
from tests.k8s.chart import VALUES, Object

KUBERNETES = ("1.29", "1.34")  # the oldest that the chart takes, and one of today
OWN_KINDS = ("RayCluster", "ServiceMonitor", "PodMonitor", "PrometheusRule")
CRDS = os.environ.get("HERMES_KUBERAY_CRDS")
DOCS = Path(__file__).parents[2] / "docs" / "kubernetes.md"


@pytest.fixture(params=sorted(VALUES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(name: str) -> list[Object]:
    return chart.render(chart.values_of(name))


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_of_kubernetes_are_valid(objects: list[Object], version: str) -> None:
    core = [one for one in objects if one["kind"] not in OWN_KINDS]
    assert {"Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget"} <= {one["kind"] for one in core}
    for one in core:
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.parametrize("version", KUBERNETES)
def test_pods_that_kuberay_makes_are_valid(objects: list[Object], version: str) -> None:
    for pod in chart.pods(objects):
        one = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": pod.labels}, "spec": pod.spec}
        kubernetes_validate.validate(one, version, strict=True)


@pytest.mark.skipif(CRDS is None, reason="HERMES_KUBERAY_CRDS does not name a folder with the CRDs of KubeRay")
def test_the_ray_cluster_is_valid_and_every_key_known(objects: list[Object]) -> None:
    cluster = chart.ray_cluster(objects)
    _validator("ray.io_rayclusters.yaml", "v1").validate(cluster)


@pytest.mark.skipif(CRDS is None, reason="HERMES_KUBERAY_CRDS does not name a folder with the CRDs of KubeRay")
def test_a_key_that_kuberay_does_not_know_is_found(objects: list[Object]) -> None:
    cluster = copy.deepcopy(chart.ray_cluster(objects))
    cluster["spec"]["headGroupSpec"]["template"]["spec"]["terminationGracePeriod"] = 5
    with pytest.raises(jsonschema.ValidationError, match="terminationGracePeriod"):
        _validator("ray.io_rayclusters.yaml", "v1").validate(cluster)


def _validator(file: str, version: str) -> jsonschema.Draft7Validator:
    crd = yaml.safe_load((Path(CRDS or "") / file).read_text())
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == version]
    return jsonschema.Draft7Validator(_strict(schema))


def _strict(schema: Any) -> Any:
    """The schema of a CRD as JSON Schema that refuses what the API server would drop in silence."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(value) for key, value in schema.items()}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    is_open = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not is_open:
        is_top = "apiVersion" in schema["properties"]
        strict["additionalProperties"] = False
        if is_top:
            strict["properties"]["metadata"] = {"type": "object"}
    return strict


def test_every_account_configmap_claim_and_secret_that_a_pod_names_exists(name: str, objects: list[Object]) -> None:
    made = {(one["kind"], one["metadata"]["name"]) for one in objects}
    values = chart.merged(chart.defaults(), chart.values_of(name))
    given = {("ConfigMap", "kube-root-ca.crt"), ("PersistentVolumeClaim", values["model"]["volumeClaim"])}
    secrets = {
        values["auth"]["secret"],
        values["ray"]["authSecret"],
        values["ray"]["state"]["secret"],
        values["store"]["urlSecret"],
        values["store"]["trialSecret"],
        values["tls"]["secret"],
    }
    for pod in chart.pods(objects):
        used = {("ServiceAccount", pod.spec["serviceAccountName"])}
        for volume in pod.spec["volumes"]:
            used |= {("ConfigMap", one["name"]) for one in chart.values_named(volume, "configMap")}
            used |= {("Secret", one["secretName"]) for one in chart.values_named(volume, "secret")}
            used |= {
                ("PersistentVolumeClaim", one["claimName"])
                for one in chart.values_named(volume, "persistentVolumeClaim")
            }
        for container in pod.containers:
            used |= {("Secret", one["name"]) for one in chart.values_named(container, "secretKeyRef")}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            claimed = {"data"} if "StatefulSet" in pod.owner else set()
            assert mounted <= {volume["name"] for volume in pod.spec["volumes"]} | claimed, pod.owner
        missing = {one for one in used if one not in made | given and one[0] != "Secret"}
        assert missing == set(), pod.owner
        assert {one[1] for one in used if one[0] == "Secret"} <= secrets - {""}, pod.owner


def test_the_page_has_a_command_for_every_secret(name: str, objects: list[Object]) -> None:
    names = {one["name"] for one in chart.values_named(objects, "secretKeyRef")}
    names |= {one["secretName"] for pod in chart.pods(objects) for one in chart.values_named(pod.spec, "secret")}
    made = set(re.findall(r"create secret generic ([a-z-]+)", DOCS.read_text()))
    assert names <= made


def test_what_the_pages_name_in_commands_exists() -> None:
    """The runbook looked for the errors of a router in a Deployment that no chart makes."""
    objects = {(one["kind"].lower(), one["metadata"]["name"]) for one in chart.render(chart.values_of("laptop"))}
    pages = "".join(page.read_text() for page in DOCS.parent.glob("*.md"))
    found = set(re.findall(r"\b(deployment|service|statefulset)/([a-z0-9-]+)", pages))

    assert len(found) > 1
    assert found <= objects


def test_the_pages_build_every_image(objects: list[Object]) -> None:
    pages = "".join(page.read_text() for page in DOCS.parent.glob("*.md"))
    images = {container["image"] for pod in chart.pods(objects) for container in pod.containers}
    assert images <= set(re.findall(r"--tag (\S+)", pages))


def test_no_secret_is_in_the_objects(objects: list[Object]) -> None:
    """The chart makes no Secret, and no variable of a pod that is for a secret has its value in the object."""
    assert chart.of_kind(objects, "Secret") == []
    for pod in chart.pods(objects):
        for container in pod.containers:
            for variable in container.get("env", []):
                if re.search(r"PASSWORD|(?<!_)TOKEN$|_TOKEN$|SECRET|STORE_URL", variable["name"]):
                    assert "value" not in variable, (pod.owner, variable["name"])
    for one in chart.of_kind(objects, "ConfigMap"):
        assert not re.search(r"://[^\s/]*:(?!\$\{)[^\s/]+@", "\n".join(one["data"].values())), one["metadata"]["name"]


def test_every_port_that_a_probe_a_service_or_a_monitor_names_exists(objects: list[Object]) -> None:
    for pod in chart.pods(objects):
        for container in pod.containers:
            ports = container.get("ports", [])
            numbers, names = {port["containerPort"] for port in ports}, {port["name"] for port in ports}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                for port in chart.values_named(container.get(probe, {}), "port"):
                    assert port in numbers | names, (pod.owner, probe)
    for service in chart.of_kind(objects, "Service"):
        selected = [
            pod
            for pod in chart.pods(objects)
            if chart.selects({"matchLabels": service["spec"]["selector"]}, pod.labels)
        ]
        assert len(selected) == 1, service["metadata"]["name"]
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= selected[0].port_names
    for monitor in chart.of_kind(objects, "ServiceMonitor"):
        services = [
            one
            for one in chart.of_kind(objects, "Service")
            if chart.selects(monitor["spec"]["selector"], one["metadata"]["labels"])
        ]
        ports = {port["name"] for one in services for port in one["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= ports
    for monitor in chart.of_kind(objects, "PodMonitor"):
        selected = [pod for pod in chart.pods(objects) if chart.selects(monitor["spec"]["selector"], pod.labels)]
        assert len(selected) >= 2
        for pod in selected:
            assert {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]} <= pod.port_names


def test_every_selector_selects_a_pod_and_every_pod_has_a_network_policy(objects: list[Object]) -> None:
    pods = chart.pods(objects)
    covered = set()
    for policy in chart.of_kind(objects, "NetworkPolicy"):
        selected = [pod.owner for pod in pods if chart.selects(policy["spec"]["podSelector"], pod.labels)]
        assert selected, policy["metadata"]["name"]
        covered |= set(selected)
        for rule in policy["spec"].get("ingress", []):
            for port in rule.get("ports", []):
                numbers = {n for pod in pods if pod.owner in selected for n in pod.port_numbers}
                assert port["port"] in numbers, policy["metadata"]["name"]
    assert covered == {pod.owner for pod in pods}
    for budget in chart.of_kind(objects, "PodDisruptionBudget"):
        assert any(chart.selects(budget["spec"]["selector"], pod.labels) for pod in pods), budget["metadata"]["name"]


def test_routers_and_shards_reach_the_collector_of_spans_wherever_cameras_may_be() -> None:
    """Shards send spans too, and reached the collector only where their cameras may be anywhere."""
    values = {"config": {"traces": {"endpoint": "http://collector.tracing.svc:4317"}}}
    values |= {"networkPolicy": {"cameraNetworks": ["10.1.0.0/16"]}}
    objects = chart.render(chart.merged(chart.values_of("laptop"), values))

    policies = [one["spec"] for one in chart.of_kind(objects, "NetworkPolicy")]
    for pod in chart.pods(objects):
        if pod.labels["app.kubernetes.io/component"] in ("router", "shard"):
            chosen = [policy for policy in policies if chart.selects(policy["podSelector"], pod.labels)]
            assert {"ports": [{"port": 4317}]} in [rule for policy in chosen for rule in policy.get("egress", [])]


def test_rules_and_dashboards_of_the_folders_reach_prometheus_and_grafana() -> None:
    objects = chart.render(chart.values_of("a100"))
    rules = [yaml.safe_load(path.read_text()) for path in sorted((chart.FOLDER / "rules").glob("*.yaml"))]
    boards = {path.name: json.loads(path.read_text()) for path in (chart.FOLDER / "dashboards").glob("*.json")}
    shown = [
        one["data"] for one in chart.of_kind(objects, "ConfigMap") if "grafana_dashboard" in one["metadata"]["labels"]
    ]

    assert [one["spec"] for one in chart.of_kind(objects, "PrometheusRule")] == rules
    assert {name: json.loads(text) for data in shown for name, text in data.items()} == boards
