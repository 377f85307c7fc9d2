"""Each alert fires in its fault and not before, by promtool; each has a section in the runbook."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml

from actors.metrics import definitions
from actors.metrics.call_metrics import CallMetrics
from actors.server import status_codes
from tests.k8s import monitoring
from tests.k8s.monitoring import ROOT, RULES, needs_prometheus

FAULT_MINUTES = 20  # after the beginning


@dataclass(frozen=True)
class Fault:
    """series: name and values, one a minute, of which 20 are well. within_minutes: of the fault the alert fires."""

    series: dict[str, str]
    within_minutes: int = 0


def turns(name: str, well: float, ill: float) -> dict[str, str]:
    """A series that has another value from the fault on."""
    return {name: f"{well}x{FAULT_MINUTES - 1} {ill}x60"}


def grows(name: str, per_minute: int) -> dict[str, str]:
    """A counter that stands still until the fault."""
    return {name: f"0x{FAULT_MINUTES - 1} 0+{per_minute}x60"}


ROUTER = '{instance="router-0"}'
BUCKET = "hermes_time_to_first_token_seconds_bucket"
FAULTS = {
    "HermesDown": Fault({f"hermes_ready{ROUTER}": f"1x{FAULT_MINUTES - 1} _x60"}, within_minutes=8),
    "HermesNotReady": Fault(turns(f"hermes_ready{ROUTER}", 1, 0)),
    "HermesNoLeader": Fault(turns(f"hermes_leader{ROUTER}", 1, 0)),
    "HermesShardDown": Fault(turns('hermes_shards{state="down"}', 0, 1)),
    "HermesCamerasRecovering": Fault(turns('hermes_cameras{state="recovering"}', 0, 2)),
    "HermesCamerasWaiting": Fault(turns('hermes_cameras{state="waiting"}', 0, 2)),
    "HermesCamerasNotWatched": Fault(turns('hermes_cameras{state="stalled"}', 0, 1)),
    "HermesPicturesNoted": Fault(turns('hermes_cameras_noted{note="picture_black"}', 0, 1)),
    "HermesMemoryBehind": Fault(turns('hermes_memory_lag_seconds{shard="0"}', 1, 45)),
    "HermesFramesDropped": Fault(
        grows('hermes_frames_dropped_total{state="live"}', 30) | {"hermes_frames_read_total": "0+300x80"}
    ),
    "HermesAnswersSlow": Fault(
        {
            f'{BUCKET}{{le="2"}}': f"0+60x{FAULT_MINUTES} 1200x60",
            f'{BUCKET}{{le="5"}}': "0+60x80",
            f'{BUCKET}{{le="+Inf"}}': "0+60x80",
        }
    ),
    "HermesQuestionsRefused": Fault(grows('hermes_refusals_total{reason="TOO_MANY_QUESTIONS"}', 60)),
    "HermesErrors": Fault(grows('hermes_calls_total{code="INTERNAL"}', 6)),
    "HermesCheckpointsLate": Fault(turns('hermes_checkpoint_age_seconds{shard="0"}', 15, 300)),
    "HermesMemoryLost": Fault(turns('hermes_restores_total{result="unreadable"}', 0, 1), within_minutes=2),
    "HermesEpochsLost": Fault(turns('hermes_epochs_lost_total{shard="0"}', 0, 1), within_minutes=2),
    "HermesMovesFail": Fault(grows('hermes_moves_total{result="failed"}', 1)),
    "HermesNoHeadroom": Fault(
        turns(f"hermes_headroom_cameras{ROUTER}", 3, -2) | {'hermes_shards{instance="router-0",state="up"}': "2x80"}
    ),
    "HermesShardsBusy": Fault(turns('hermes_shard_busy_ratio{shard="0"}', 0.5, 0.97)),
    # The clock of these tests begins at 0; a week has 604,800 s.
    "HermesCertificateExpires": Fault(turns(f"hermes_certificate_expiry_timestamp_seconds{ROUTER}", 700_000, 600_000)),
}


def test_every_alert_has_its_fault_here() -> None:
    assert [rule["alert"] for rule in monitoring.rules()] == list(FAULTS)


@needs_prometheus
def test_each_alert_fires_in_its_fault_and_not_before(tmp_path: Path) -> None:
    groups = []
    for rule in monitoring.rules():
        fault = FAULTS[rule["alert"]]
        wait = int(rule["for"].removesuffix("m"))
        quiet, loud = (0, FAULT_MINUTES - 1), FAULT_MINUTES + (fault.within_minutes or wait + 12)
        moments = [*quiet, *([FAULT_MINUTES + wait - 1] if wait > 1 else [])]
        expression = f'count(ALERTS{{alertname="{rule["alert"]}", alertstate="firing"}})'
        checks = [{"expr": expression, "eval_time": f"{minute}m", "exp_samples": []} for minute in moments]
        checks.append({"expr": expression, "eval_time": f"{loud}m", "exp_samples": [{"labels": "{}", "value": 1}]})
        series = [{"series": name, "values": values} for name, values in fault.series.items()]
        groups.append({"interval": "1m", "input_series": series, "promql_expr_test": checks})
    file = tmp_path / "alerts.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": groups}))

    found = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)

    assert found.returncode == 0, found.stdout + found.stderr


@needs_prometheus
def test_the_alert_of_headroom_says_how_many_cameras_would_find_no_slot(tmp_path: Path) -> None:
    """It said that -2 would find none."""
    (rule,) = [rule for rule in monitoring.rules() if rule["alert"] == "HermesNoHeadroom"]
    summary = "If the fullest shard were lost, 2 cameras would find no slot."
    alert = {"exp_labels": {"severity": "warning", "instance": "router-0"}}
    alert["exp_annotations"] = {"summary": summary, "runbook": rule["annotations"]["runbook"]}
    series = [{"series": name, "values": values} for name, values in FAULTS["HermesNoHeadroom"].series.items()]
    checks = [{"alertname": "HermesNoHeadroom", "eval_time": "60m", "exp_alerts": [alert]}]
    group = {"interval": "1m", "input_series": series, "alert_rule_test": checks}
    file = tmp_path / "headroom.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [group]}))

    found = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)

    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_has_a_severity_and_a_section_in_the_runbook() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.M)

    assert sections == [rule["alert"] for rule in monitoring.rules()]
    for rule in monitoring.rules():
        assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_every_panel_says_what_it_shows_in_which_unit_and_tells_its_lines_apart() -> None:
    panels = [panel for panel in monitoring.panels() if panel["type"] != "row"]

    for panel in panels:
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
        assert panel["type"] != "stat" or panel["title"] == "Cameras" or len(steps) > 1, panel["title"]
        legends = [target.get("legendFormat") for target in panel["targets"]]
        assert panel["type"] == "stat" or (all(legends) and len(set(legends)) == len(legends)), panel["title"]


@needs_prometheus
def test_a_quotient_of_nothing_is_no_value_and_its_panel_says_what_there_was_none_of(tmp_path: Path) -> None:
    """A quantile of no questions is NaN, which a panel shows as a number."""
    panels = [(panel, target["expr"]) for panel in monitoring.panels() for target in panel.get("targets", ())]
    quotients = [(panel, one) for panel, one in panels if "histogram_quantile" in one or " / " in one]
    counters = {name for _, one in quotients for name, _ in monitoring.selectors(one)}
    series = [
        {"series": f'{name}{{le="{bound}"}}' if name.endswith("_bucket") else name, "values": "5x20"}
        for name in sorted(counters)
        for bound in ("1", "+Inf")[: 1 + name.endswith("_bucket")]
    ]
    checks = [{"expr": one, "eval_time": "15m", "exp_samples": []} for _, one in quotients]
    file = tmp_path / "quotients.yaml"
    group = {"interval": "1m", "input_series": series, "promql_expr_test": checks}
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [group]}))

    found = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True, timeout=60)

    assert found.returncode == 0, found.stdout + found.stderr
    assert len(quotients) >= 10
    silent = {panel["title"] for panel, _ in quotients if not panel["fieldConfig"]["defaults"].get("noValue")}
    assert silent == set()


def test_every_section_of_the_runbook_names_a_command() -> None:
    _, *sections = (ROOT / "docs/runbook.md").read_text().split("\n## ")

    assert [part.split()[0] for part in sections if not re.search(r"`(hermes|kubectl)\s\w", part)] == []


@pytest.mark.parametrize(
    "expression", [rule["expr"] for rule in monitoring.rules()] + list(monitoring.queries().values())
)
def test_a_query_asks_for_metrics_that_exist(expression: str) -> None:
    families = (*definitions.OF_THE_FLEET, *definitions.OF_A_ROUTER, *CallMetrics().registry.collect())
    known = {family.name for family in families} | {"hermes_build_info", "process_resident_memory_bytes"}
    known.add(definitions.CERTIFICATE_EXPIRY[0])

    for name, _ in monitoring.selectors(expression):
        assert name.removesuffix("_total").removesuffix("_bucket") in known, name


def test_the_codes_and_reasons_of_alerts_are_those_of_the_server() -> None:
    reasons, codes = {reason for _, _, reason in status_codes.ROWS}, {code.name for code in grpc.StatusCode}
    expressions = " ".join(rule["expr"] for rule in monitoring.rules())

    for label, known in (("reason", reasons), ("code", codes)):
        values = "|".join(re.findall(rf'{label}=~?"([^"]*)"', expressions)).split("|")
        assert set(values) <= known
