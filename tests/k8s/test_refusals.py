"""Values that are wrong or contradict each other are refused in words that name the key and the way out."""

from __future__ import annotations

import pytest
from helm_python import HelmError
from helm_python.chart import lint

from tests.k8s import chart
from tests.k8s.chart import Object

SHA = "0" * 40
CONTRADICTIONS: dict[str, tuple[str, Object, str]] = {
    "no store": ("laptop", {"store": {"trial": False}}, "store: there is none.*store.urlSecret.*store.trial: true"),
    "two stores": ("a100", {"store": {"trial": True}}, "store.urlSecret.*store.trial.*one store"),
    "no state of the head": ("laptop", {"ray": {"state": {"trial": False}}}, "ray.state.*ray.state.address"),
    "two states": ("a100", {"ray": {"state": {"trial": True}}}, "ray.state.address.*ray.state.trial"),
    "one password": (
        "laptop",
        {"store": {"trialSecret": "hermes-ray-state"}},
        "store.trialSecret and ray.state.secret",
    ),
    "no gpus in the pods": ("a100", {"workers": {"gpus": 0}}, "shards.gpus is 1.*workers.gpus 0.*Set workers.gpus"),
    "idle gpus": ("a100", {"shards": {"gpus": 0}}, "workers.gpus is 1.*shards.gpus is 0.*idle"),
    "a collector without a port": (
        "laptop",
        {"config": {"traces": {"endpoint": "http://collector"}}},
        "config.traces.endpoint is not http://HOST:PORT",
    ),
    "uneven gpus": ("a100", {"workers": {"gpus": 3}, "shards": {"gpus": 2}}, "multiple of shards.gpus"),
    "too few cpus for the gpus": ("a100-8", {"workers": {"cpus": 40}}, "give workers.cpus for all of them"),
    "no cpu": ("laptop", {"shards": {"cpus": 4}}, "no shard can start there"),
    "more shards than gpus": ("a100", {"shards": {"max": 9}}, "shards.max is 9.*room for 8.*raise workers.maxReplicas"),
    "more pods than shards": (
        "a100",
        {"workers": {"minReplicas": 8}, "shards": {"min": 1, "max": 4}},
        "workers.minReplicas",
    ),
    "min above max": ("a100", {"shards": {"min": 9}}, "shards.min is 9 and shards.max 8"),
    "spares": ("a100", {"shards": {"min": 1, "spares": 8}}, "shards.spares is 8 and shards.max 8"),
    "replicas": ("laptop", {"workers": {"minReplicas": 3}}, "workers.minReplicas is 3 and workers.maxReplicas 2"),
    "no groups": ("laptop", {"workerGroups": {"workers": None}}, "workerGroups: there is none"),
    "grace and drain": (
        "a100",
        {"workers": {"terminationGracePeriodSeconds": 130}},
        "terminationGracePeriodSeconds is 130 and workers.drainDeadlineSeconds 120.*at least 140",
    ),
    "clear text": ("a100", {"tls": {"secret": ""}}, "tls.secret is empty.*tls.insecure: true"),
    "clear text and tls": ("a100", {"tls": {"insecure": True}}, "tls.secret.*tls.insecure"),
    "clients of no authority": (
        "laptop",
        {"tls": {"requireClientCertificates": True}},
        "tls.requireClientCertificates is true and tls.secret is empty",
    ),
    "a key that the chart writes": (
        "laptop",
        {"config": {"shards": {"num_gpus": 1}}},
        "config.shards.num_gpus.*shards.gpus",
    ),
    "a section that the chart writes": ("laptop", {"config": {"store": "embedded"}}, "config.store"),
    "one port twice": (
        "laptop",
        {"routers": {"service": {"port": 9464}}},
        "routers.service.port is 9464.*metrics.*another port",
    ),
    "a store without room": (
        "laptop",
        {"trialStore": {"maxMemory": "2gb", "memory": "2Gi"}},
        "trialStore.maxMemory is 2gb and trialStore.memory 2Gi.*Let maxMemory be",
    ),
    "a password in a ConfigMap": (
        "laptop",
        {"config": {"cameras": [{"name": "gate", "url": "rtsp://host/1", "user": "u", "password": "c4n4ry"}]}},
        'config.cameras: camera "gate" has a password.*--password-file',
    ),
    "a password in a URL in a ConfigMap": (
        "laptop",
        {"config": {"cameras": [{"name": "gate", "url": "rtsp://u:c4n4ry@host/1"}]}},
        'config.cameras: camera "gate" has a password.*--password-file',
    ),
    "weights from nowhere": ("laptop", {"model": {"name": "llava-onevision-7b"}}, "no weights.*model.volumeClaim"),
    "weights elsewhere": ("a100", {"model": {"name": "tiny"}}, 'model.name is "tiny".*below /models'),
    "weights twice": (
        "a100",
        {"model": {"download": {"repository": "owner/name", "revision": SHA}}},
        "model.volumeClaim and model.download",
    ),
    "any revision": (
        "laptop",
        {"model": {"name": "/models/x", "download": {"repository": "owner/name"}}},
        "model.download.revision is empty",
    ),
    "latest": ("laptop", {"image": {"tag": "latest"}}, "image.tag is latest"),
    "latest of a group": (
        "laptop",
        {"workerGroups": {"workers": {"image": {"tag": "latest"}}}},
        "workerGroups.workers.image.tag is latest",
    ),
    "latest of a store": ("laptop", {"trialStore": {"image": "valkey/valkey"}}, "trialStore.image"),
}
TYPING_ERRORS: dict[str, tuple[Object, str]] = {
    "unknown key": ({"shrads": {"min": 1}}, "shrads"),
    "unknown key below": ({"routers": {"replica": 2}}, "replica"),
    "unknown key of a group": ({"workerGroups": {"workers": {"gpu": 1}}}, "workerGroups/workers"),
    "no unit": ({"workers": {"memory": "4"}}, "workers/memory"),
    "a branch": ({"model": {"download": {"revision": "main"}}}, "model/download/revision"),
    "no address": ({"ray": {"state": {"address": "hermes:secret@host"}}}, "ray/state/address"),
    "no routers": ({"routers": {"replicas": 0}}, "routers/replicas"),
    "no secret's name": ({"auth": {"secret": ""}}, "auth/secret"),
    "half a gpu of a pod": ({"workers": {"gpus": 0.5}}, "workers/gpus"),
}


@pytest.mark.parametrize("contradiction", CONTRADICTIONS)
def test_a_contradiction_is_refused_with_the_keys_and_the_way_out(contradiction: str) -> None:
    name, changes, words = CONTRADICTIONS[contradiction]
    with pytest.raises(HelmError, match=f"(?s){words}"):
        chart.render(chart.merged(chart.values_of(name), changes))


@pytest.mark.parametrize("mistake", TYPING_ERRORS)
def test_a_mistake_is_refused_with_its_place(mistake: str) -> None:
    changes, place = TYPING_ERRORS[mistake]
    with pytest.raises(HelmError, match=f"(?s)schema.*{place}"):
        chart.render(chart.merged(chart.values_of("laptop"), changes))


@pytest.mark.parametrize("section", sorted(chart.defaults()))
def test_a_section_below_which_all_is_a_comment_is_named(section: str) -> None:
    """Helm takes the defaults of a key away whose value is null; templates then met a nil pointer."""
    with pytest.raises(HelmError, match=f"(?s)schema.*missing property '{section}'"):
        chart.render(chart.merged(chart.values_of("laptop"), {section: None}))


def test_a_value_that_is_left_empty_is_named() -> None:
    with pytest.raises(HelmError, match=r"(?s)schema.*/shards'.*missing property 'min'"):
        chart.render(chart.merged(chart.values_of("laptop"), {"shards": {"min": None}}))


def test_without_values_the_first_refusal_says_how_to_go_on() -> None:
    with pytest.raises(HelmError, match=r"store\.urlSecret"):
        chart.render({})


def test_the_defaults_need_no_more_than_stores() -> None:
    assert chart.render({"store": {"urlSecret": "hermes-store"}, "ray": {"state": {"address": "redis://state:6379"}}})


@pytest.mark.parametrize("name", sorted(chart.VALUES))
def test_helm_finds_nothing_to_complain_about(name: str) -> None:
    findings = lint(chart.FOLDER, chart.values_of(name))
    assert findings["errors"] == []
    assert [one["error"] for one in findings["messages"]] == ["icon is recommended"]


def test_every_key_of_the_values_is_in_the_schema_and_the_other_way_round() -> None:
    """So that the defaults document every key, and none is refused that the chart reads."""
    schema = chart.schema()
    assert keys_of_schema(schema) - {"global"} == keys_of(chart.defaults())


def keys_of(values: Object, prefix: str = "") -> set[str]:
    found = set()
    for key, value in values.items():
        found.add(prefix + key)
        if isinstance(value, dict) and key not in ("workerGroups", "config", "nodeSelector", "affinity", "annotations"):
            found |= keys_of(value, f"{prefix}{key}.")
    return found


def keys_of_schema(schema: Object, prefix: str = "") -> set[str]:
    found = set()
    for key, value in schema.get("properties", {}).items():
        found.add(prefix + key)
        found |= keys_of_schema(value, f"{prefix}{key}.")
    return found
