"""A real Prometheus with the alert rules of the chart, which scrapes one address twice a second."""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests import servers
from tests.actors.waiting import until
from tests.k8s.monitoring import RULES

_FOR = "2s"
_FOR_SCRAPES = "6s"  # on a busy machine some scrapes in a row may take too long
# What an alert needs as long as a checkpoint or a queue of this test is short, in place of what the rule says.
_LIMITS = {"HermesCheckpointsLate": ("> 120", "> 8"), "HermesMemoryBehind": ("> 30", "> 5")}


def hasty_rules(folder: Path, unchanged: Collection[str]) -> Path:
    """A file with the rules of the chart: all but the unchanged ones with a short `for`, two with a lower limit."""
    rules = yaml.safe_load(RULES.read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        if rule["alert"] not in unchanged:
            limit, lower = _LIMITS.get(rule["alert"], ("", ""))
            assert limit in rule["expr"]
            rule["expr"] = rule["expr"].replace(limit, lower) if limit else rule["expr"]
            if rule["for"] != "0m":
                rule["for"] = _FOR_SCRAPES if rule["alert"] == "HermesDown" else _FOR
    (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
    return folder / "rules.yaml"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running one."""

    url: str

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of one call of its API."""

        def read() -> Any:
            with urllib.request.urlopen(f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as reply:
                return json.load(reply)["data"]

        return await asyncio.to_thread(read)

    async def values(self, expression: str) -> list[float]:
        """The value of each series now."""
        found = (await self.get("/api/v1/query", query=expression))["result"]
        return [float(series["value"][1]) for series in found]

    async def has_numbers(self, expression: str) -> bool:
        """Whether the expression has a value now, and none that is not a number."""
        found = await self.values(expression)
        return bool(found) and not any(math.isnan(value) for value in found)

    async def is_true(self, expression: str) -> bool:
        """Whether a comparison holds now."""
        return bool(await self.values(expression))

    async def has_scraped(self) -> bool:
        """Whether it has scraped the metrics of a leader often enough for rates."""
        try:
            return await self.has_numbers("rate(hermes_frames_read_total[1m])") and await self.has_numbers(
                "count_over_time(hermes_leader[1m]) > 2"
            )
        except OSError:
            return False

    async def fired(self, since_s: float) -> set[str]:
        """Every alert that has fired since this Unix time."""
        seconds = max(1, int(time.time() - since_s))
        expression = f'count by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{seconds}s]))'
        found = (await self.get("/api/v1/query", query=expression))["result"]
        return {series["metric"]["alertname"] for series in found}

    async def is_quiet(self) -> bool:
        """Whether no alert fires."""
        return not await self.firing()

    async def firing(self) -> set[str]:
        """The alerts that fire now."""
        alerts = (await self.get("/api/v1/alerts"))["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}


class Watch:
    """Follows which alerts have fired since it was made."""

    def __init__(self, prometheus: Prometheus) -> None:
        self.prometheus = prometheus
        self._began_s = time.time()
        self.fired: set[str] = set()
        self._allowed: set[str] = set()

    def allow(self, *alerts: str) -> None:
        """From now on these alerts may fire and need not."""
        self._allowed |= set(alerts)

    async def expect(self, *alerts: str) -> None:
        """Waits until each of these alerts fires, from now on. None but them, and those before, may have fired."""
        missing, since_s = set(alerts), time.time()
        self._allowed |= missing

        async def have_fired() -> bool:
            found = await self.prometheus.fired(self._began_s)
            assert found <= self._allowed, found - self._allowed
            missing.difference_update(await self.prometheus.firing())
            return not missing

        try:
            await until(have_fired, 90.0)
        except TimeoutError:
            raise AssertionError(f"not fired in {time.time() - since_s:.0f} s: {sorted(missing)}") from None
        self.fired |= set(alerts)


@contextmanager
def running(folder: Path, target: str, rules: Path) -> Iterator[Prometheus]:
    """A Prometheus for the time of the block, perhaps before it answers."""
    port = servers.free_port()
    config = {
        "global": {"scrape_interval": "500ms", "evaluation_interval": "500ms"},
        "rule_files": [str(rules)],
        "scrape_configs": [{"job_name": "hermes", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()
