"""What the chart makes for Prometheus' operator has the shape that the operator documents.

The operator's CRDs come with no package, so the fields that the chart may use are written here by hand, with the types
that they have in the operator's CRDs of PrometheusRule (0.82.2) and ServiceMonitor and in its Go type of PodMonitor.
Some are required here that are optional there: without them there is nothing to scrape or to check. Any other field is
refused, as the API server drops it in silence.
"""

from __future__ import annotations

import copy
from typing import Any

import jsonschema
import pytest

from tests.k8s import chart
from tests.k8s.chart import Object

TEXT = {"type": "string", "minLength": 1}
TEXTS = {"type": "object", "additionalProperties": TEXT}
DURATION = {
    "type": "string",
    "pattern": "^(0|([0-9]+y)?([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?)$",
    "minLength": 1,
}


def closed(required: list[str], **properties: Any) -> Object:
    """An object with these fields and no other."""
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


def several(item: Object) -> Object:
    return {"type": "array", "items": item, "minItems": 1}


REQUIREMENT = closed(
    ["key", "operator"], key=TEXT, operator={"enum": ["In", "NotIn", "Exists", "DoesNotExist"]}, values=several(TEXT)
)
SELECTOR = closed([], matchLabels=TEXTS, matchExpressions=several(REQUIREMENT))
ENDPOINT = closed(
    ["port"], port=TEXT, path={"type": "string", "pattern": "^/"}, interval=DURATION, scrapeTimeout=DURATION,
    scheme={"enum": ["http", "https"]}, honorLabels={"type": "boolean"},
)  # fmt: skip
RULE = closed(["alert", "expr"], alert=TEXT, expr=TEXT, labels=TEXTS, annotations=TEXTS, **{"for": DURATION})
SPECS = {
    "ServiceMonitor": closed(["selector", "endpoints"], selector=SELECTOR, endpoints=several(ENDPOINT), jobLabel=TEXT),
    "PodMonitor": closed(["selector"], selector=SELECTOR, podMetricsEndpoints=several(ENDPOINT), jobLabel=TEXT),
    "PrometheusRule": closed(
        ["groups"], groups=several(closed(["name", "rules"], name=TEXT, interval=DURATION, rules=several(RULE)))
    ),
}
METADATA = {"type": "object", "required": ["name"], "properties": {"name": TEXT, "labels": TEXTS}}


@pytest.fixture
def objects() -> list[Object]:
    rendered = chart.render(chart.values_of("a100"))
    return [one for one in rendered if one["apiVersion"].startswith("monitoring.coreos.com/")]


def validate(one: Object) -> None:
    version = {"const": "monitoring.coreos.com/v1"}
    fields = closed(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion=version, kind={"enum": sorted(SPECS)}, metadata=METADATA, spec=SPECS[one["kind"]],
    )  # fmt: skip
    jsonschema.Draft7Validator(fields).validate(one)


def test_every_monitor_and_rule_has_the_documented_shape(objects: list[Object]) -> None:
    assert {one["kind"] for one in objects} == SPECS.keys()
    for one in objects:
        validate(one)


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("ServiceMonitor", ("endpoints", 0, "targetport"), "metrics"),
        ("ServiceMonitor", ("endpoints", 0, "interval"), "15 seconds"),
        ("PodMonitor", ("podMetricsEndpoint",), []),
        ("PrometheusRule", ("groups", 0, "rules", 0, "labels"), {"severity": 1}),
        ("PrometheusRule", ("groups", 0, "rules", 0, "expression"), "up == 0"),
    ],
)
def test_a_mistake_in_the_shape_is_found(objects: list[Object], kind: str, path: tuple[Any, ...], value: Any) -> None:
    one = copy.deepcopy(next(one for one in objects if one["kind"] == kind))
    place: Any = one["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value

    with pytest.raises(jsonschema.ValidationError):
        validate(one)
