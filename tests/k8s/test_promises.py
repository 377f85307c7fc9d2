"""What an operator relies on: GPUs, graces, probes, images, rights, and the configuration of the routers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from actors import generation
from actors.config import loading
from actors.config.schema import HermesConfig
from tests.k8s import chart
from tests.k8s.chart import VALUES, Object


@pytest.fixture(params=sorted(VALUES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def objects(name: str) -> list[Object]:
    return chart.render(chart.values_of(name))


def configuration(objects: list[Object]) -> HermesConfig:
    """What the routers' ConfigMap says, read as `hermes serve` reads it, with the variables that the pod has."""
    (router,) = [pod for pod in chart.pods(objects) if pod.owner.startswith("Deployment")]
    (text,) = [one["data"]["hermes.yaml"] for one in objects if "hermes.yaml" in one.get("data", {})]
    variables = {variable["name"] for container in router.containers for variable in container["env"]}
    environment = {key: "redis://hermes:canary@store.example:6379" if "URL" in key else "canary" for key in variables}
    return loading.parse_config(text, origin="hermes.yaml", environment=environment)


def test_every_key_of_the_configuration_is_one_that_hermes_accepts(name: str, objects: list[Object]) -> None:
    config = configuration(objects)
    cluster = chart.ray_cluster(objects)
    values = chart.merged(chart.defaults(), chart.values_of(name))

    assert config.shards.ray == f"{cluster['metadata']['name']}-head-svc.{chart.NAMESPACE}.svc:6379"
    assert (config.shards.num_gpus, config.shards.spares) == (values["shards"]["gpus"], values["shards"]["spares"])
    assert (config.shards.fewest, config.shards.most) == (values["shards"]["min"], values["shards"]["max"])
    assert config.shards.placement.value == values["shards"]["placement"]
    labels = {group.get("labels", {}).get("ray.io/accelerator-type") for group in cluster["spec"]["workerGroupSpecs"]}
    assert labels == {config.shards.accelerator_type}
    assert "canary" in config.store
    assert config.model == values["model"]["name"]


def test_shards_start_where_the_code_of_the_routers_is(objects: list[Object]) -> None:
    config = configuration(objects)
    (router,) = [pod for pod in chart.pods(objects) if pod.owner.startswith("Deployment")]
    builds = [
        {"hermes-build": one["value"]} for one in router.spec["containers"][0]["env"] if one["name"] == "HERMES_BUILD"
    ]
    assert [config.shards.node_labels] == builds
    for group in chart.ray_cluster(objects)["spec"]["workerGroupSpecs"]:
        assert group["labels"]["hermes-build"] == config.shards.node_labels["hermes-build"]


def test_the_gpus_of_a_pod_are_those_that_ray_counts(objects: list[Object]) -> None:
    spec = chart.ray_cluster(objects)["spec"]
    config = configuration(objects)
    for group in spec["workerGroupSpecs"]:
        (shard,) = group["template"]["spec"]["containers"]
        for kind in ("limits", "requests"):
            assert str(shard["resources"][kind].get("nvidia.com/gpu", "0")) == group["rayStartParams"]["num-gpus"]
        assert bool(config.shards.num_gpus) == (group["rayStartParams"]["num-gpus"] != "0")
    head = spec["headGroupSpec"]
    assert (head["rayStartParams"]["num-cpus"], head["rayStartParams"]["num-gpus"]) == ("0", "0")


def test_a_pod_lives_longer_than_its_drain_may_take(objects: list[Object]) -> None:
    for group in chart.ray_cluster(objects)["spec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:4] == ["hermes", "node", "drain", "--deadline"]
        assert pod["terminationGracePeriodSeconds"] >= float(command[4]) + 20
    (router,) = [pod for pod in chart.pods(objects) if pod.owner.startswith("Deployment")]
    (container,) = router.spec["containers"]
    pause_s = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert router.spec["terminationGracePeriodSeconds"] >= pause_s + configuration(objects).router.grace_s + 10


def test_every_container_has_probes_and_those_of_routers_need_no_tls(objects: list[Object]) -> None:
    config = configuration(objects)
    for pod in chart.pods(objects):
        for container in pod.spec["containers"]:
            probes = [container[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
            if container["name"] == "router":
                assert [probe["grpc"]["service"] for probe in probes] == ["live", "live", "ready"]
                assert {probe["grpc"]["port"] for probe in probes} == {config.router.health_port}
                assert config.router.port in pod.port_numbers
            else:
                assert all("httpGet" in probe or "tcpSocket" in probe for probe in probes)


def test_every_image_has_a_version(objects: list[Object]) -> None:
    for pod in chart.pods(objects):
        for container in pod.containers:
            assert re.search(r":[^/:]+$|@sha256:", container["image"]), container["image"]
            assert not container["image"].endswith(":latest")


def test_nothing_is_privileged_and_no_root_is_writable(objects: list[Object]) -> None:
    contexts = [container["securityContext"] for pod in chart.pods(objects) for container in pod.containers]
    contexts += [options["securityContext"] for options in chart.values_named(objects, "autoscalerOptions")]
    for context in contexts:
        assert context["runAsNonRoot"] is True
        assert context["readOnlyRootFilesystem"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not context.get("privileged")
    for pod in chart.pods(objects):
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert not pod.spec.keys() & {"hostNetwork", "hostPID", "hostIPC"}
        assert list(chart.values_named(pod.spec["volumes"], "hostPath")) == []


def test_no_pod_gets_a_token_of_kubernetes_but_the_autoscaler(objects: list[Object]) -> None:
    assert all(account["automountServiceAccountToken"] is False for account in chart.of_kind(objects, "ServiceAccount"))
    for pod in chart.pods(objects):
        assert pod.spec["automountServiceAccountToken"] is False
        mounts = [mount["mountPath"] for container in pod.containers for mount in container["volumeMounts"]]
        assert not [path for path in mounts if path.startswith("/var/run/secrets")], pod.owner


def test_the_head_can_restart_and_the_cluster_asks_for_its_token(objects: list[Object]) -> None:
    spec = chart.ray_cluster(objects)["spec"]
    stores = {service["metadata"]["name"] for service in chart.of_kind(objects, "Service")}
    state = spec["gcsFaultToleranceOptions"]

    assert spec["authOptions"]["mode"] == "token"
    assert "secretKeyRef" in state["redisPassword"]["valueFrom"]
    assert state["redisAddress"] != configuration(objects).store
    if chart.RELEASE + "-ray-state" in stores:
        assert state["redisAddress"] == f"redis://{chart.RELEASE}-ray-state.{chart.NAMESPACE}.svc:6379"
    assert spec["enableInTreeAutoscaling"] is True
    assert spec["autoscalerOptions"]["version"] == "v2"


def test_two_releases_have_names_of_their_own_by_which_a_store_tells_them_apart() -> None:
    names = {
        configuration(chart.render(chart.values_of("a100"), release)).shards.cluster for release in ("east", "west")
    }
    assert names == {"cameras/east-hermes", "cameras/west-hermes"}


def test_two_releases_share_no_state_of_ray() -> None:
    namespaces = {
        chart.ray_cluster(chart.render(chart.values_of("a100"), release))["spec"]["gcsFaultToleranceOptions"][
            "externalStorageNamespace"
        ]
        for release in ("east", "west")
    }
    assert len(namespaces) == 2


def test_shards_have_shared_memory_two_arenas_and_the_decoder(objects: list[Object]) -> None:
    for group in chart.ray_cluster(objects)["spec"]["workerGroupSpecs"]:
        pod = group["template"]["spec"]
        environment = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
        assert environment["MALLOC_ARENA_MAX"] == "2"
        assert "video" in environment["NVIDIA_DRIVER_CAPABILITIES"].split(",")
        (volume,) = [one for one in pod["volumes"] if one["name"] == "shm"]
        assert volume["emptyDir"]["medium"] == "Memory"
        assert {"name": "shm", "mountPath": "/dev/shm"} in pod["containers"][0]["volumeMounts"]


def test_a_group_with_another_image_stands_beside_the_first() -> None:
    groups = {"workers": {"maxReplicas": 4}, "next": {"image": {"tag": "0.2.0"}, "minReplicas": 1, "maxReplicas": 4}}
    objects = chart.render(chart.merged(chart.values_of("a100"), {"workerGroups": groups}))
    images = {
        group["groupName"]: group["template"]["spec"]["containers"][0]["image"]
        for group in chart.ray_cluster(objects)["spec"]["workerGroupSpecs"]
    }
    builds = {
        group["groupName"]: group["labels"]["hermes-build"]
        for group in chart.ray_cluster(objects)["spec"]["workerGroupSpecs"]
    }
    assert builds == {"workers": "0.1.0", "next": "0.2.0"}
    assert images == {"workers": "registry.example/hermes:0.1.0", "next": "registry.example/hermes:0.2.0"}


def test_an_upgrade_changes_the_image_and_the_name_of_the_code_alone() -> None:
    """By HERMES_BUILD routers and shards know their generation; each must differ, and nothing else may."""
    old, new = (chart.render(chart.merged(chart.values_of("a100"), {"image": {"tag": tag}})) for tag in ("1.0", "1.1"))

    changed = dict(differences(old, new))
    config, checksum = "hermes.yaml", "checksum/config"
    assert {place.split(" ")[-1] for place in changed} == {"image", "HERMES_BUILD", "hermes-build", config, checksum}
    for place, (before, after) in changed.items():
        if not place.endswith(checksum):
            assert before.replace("1.0", "1.1") == after, place
    settings = [configuration(objects) for objects in (old, new)]
    assert [one.shards.node_labels for one in settings] == [{"hermes-build": "1.0"}, {"hermes-build": "1.1"}]
    assert settings[0] == replace(settings[1], shards=settings[0].shards)
    generations = {generation_of(one, objects) for one, objects in zip(settings, (old, new), strict=True)}
    assert len(generations) == 2


def generation_of(settings: HermesConfig, objects: list[Object]) -> str:
    """What a router of these objects takes for the generation of the shards that it starts."""
    (router,) = [pod for pod in chart.pods(objects) if pod.owner.startswith("Deployment")]
    environment = {one["name"]: one.get("value", "") for one in router.spec["containers"][0]["env"]}
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("HERMES_BUILD", environment["HERMES_BUILD"])
        same_labels = replace(settings, shards=replace(settings.shards, node_labels={}))
        return generation.of(same_labels)


def differences(old: Any, new: Any, place: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Where two values differ, and how; an item of a list that has a name is placed by it."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in old.keys() | new.keys():
            name = old.get("name", key) if key == "value" else key
            yield from differences(old.get(key), new.get(key), f"{place} {name}")
    elif isinstance(old, list) and isinstance(new, list):
        assert len(old) == len(new), place
        for before, after in zip(old, new, strict=True):
            yield from differences(before, after, place)
    elif old != new:
        yield place, (old, new)
