"""Prints docs/metrics.md: every metric with its type, unit, labels and meaning.

Run as `python -m actors.metrics.reference`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

from actors.metrics import definitions
from actors.metrics.call_metrics import CallMetrics

_UNITS = {"seconds": "s", "bytes": "bytes", "ratio": "0 to 1"}

_INTRODUCTION = """# Metrics

<!-- Generated from the definitions of the metrics by `make docs`. -->

`metrics: {}` in the configuration opens http://127.0.0.1:9464/metrics for Prometheus
([configuration.md](configuration.md#metrics)). A router reports its own calls. What all routers see alike, the fleet
and its shards, is reported by the one that leads, so that sums count it once; when another router leads, its series go
on from the same values. While the store is away no router can prove to lead, and the last leader goes on reporting
(`hermes_leader` is 0 then). A shard counts from the start of its process. No label has an unbounded number of values. A
camera's name is a label only with `metrics.per_camera: true`.

The port has neither TLS nor a token, so it is on loopback only. For a Prometheus on another machine set `metrics.host`
and `metrics.insecure: true`, and let a NetworkPolicy or a firewall admit Prometheus alone. No question, URL or secret
is in it.

- Dashboard for Grafana: `k8s/hermes/dashboards/hermes.json`
- Alert rules: `k8s/hermes/rules/hermes.yaml`, each with its section in [runbook.md](runbook.md)

Beside the following there are `process_*` (memory, processor time and open files of the router) and Ray's own metrics
of each node (`ray_*`, port 8080 of each pod of KubeRay).
"""


def main() -> None:
    """Prints the page."""
    sys.stdout.write(page())


def page() -> str:
    """The page as Markdown."""
    sections = (
        ("The calls of a router", _of_calls()),
        ("Every router", definitions.OF_A_ROUTER),
        ("The fleet, from one router: the leader", definitions.OF_THE_FLEET),
        ("One series for each camera, with `metrics.per_camera`", definitions.OF_CAMERAS),
    )
    tables = ("\n".join((f"## {title}", "", *_table(metrics))) for title, metrics in sections)
    return "\n".join((_INTRODUCTION, "\n\n".join(tables))) + "\n"


def _of_calls() -> Iterator[definitions.Metric]:
    labels = {"hermes_calls": ("method", "code"), "hermes_refusals": ("reason",)}
    labels["hermes_call_duration_seconds"] = ("method",)
    for family in CallMetrics().registry.collect():
        kind = definitions.Kind(family.type)
        yield definitions.Metric(family.name, kind, labels.get(family.name, ()), family.documentation, lambda *_: ())
    kind, meaning = definitions.Kind.GAUGE, "What runs here, as labels; always 1."
    yield definitions.Metric("hermes_build_info", kind, ("version", "model"), meaning, lambda *_: ())
    name, meaning = definitions.CERTIFICATE_EXPIRY
    yield definitions.Metric(name, kind, (), meaning, lambda *_: ())


def _table(metrics: Iterable[definitions.Metric]) -> Iterator[str]:
    yield from ("| metric | type | unit | labels | meaning |", "|---|---|---|---|---|")
    for metric in metrics:
        name = f"{metric.name}_total" if metric.kind is definitions.Kind.COUNTER else metric.name
        unit = _UNITS.get(metric.name.rpartition("_")[2], "")
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        yield f"| `{name}` | {metric.kind.value} | {unit} | {labels} | {metric.meaning} |"


if __name__ == "__main__":
    main()
