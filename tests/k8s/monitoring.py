"""The alert rules and the dashboard of the chart, and the programs of Prometheus that try them."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "k8s/hermes/rules/hermes.yaml"
DASHBOARD = ROOT / "k8s/hermes/dashboards/hermes.json"

_MISSING = [name for name in ("prometheus", "promtool") if shutil.which(name) is None]
needs_prometheus = pytest.mark.skipif(bool(_MISSING), reason="the distribution's package prometheus is not installed")

_SELECTOR = re.compile(r"\b((?:hermes|process)_[a-z_]+)(\{[^}]*\})?")


def rules() -> list[dict[str, Any]]:
    """The alert rules."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def queries() -> dict[str, str]:
    """Each query of the dashboard, by panel and letter."""
    return {f"{panel['title']} {one['refId']}": one["expr"] for panel in panels() for one in panel.get("targets", ())}


def panels() -> list[dict[str, Any]]:
    """The panels and rows of the dashboard."""
    return list(json.loads(DASHBOARD.read_text())["panels"])


def selectors(expression: str) -> list[tuple[str, str]]:
    """Each metric in an expression with its label matchers, empty without."""
    return _SELECTOR.findall(expression)
