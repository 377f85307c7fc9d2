"""Turns the figures of a fleet into metrics whenever Prometheus reads them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from actors.fleet.figures import FleetFigures
from actors.metrics import definitions
from actors.metrics.definitions import Kind
from actors.shard.shard_counts import HistogramCounts


class FleetCollector(Collector):
    """Reads the figures in the event loop of the fleet, where a scrape runs."""

    def __init__(
        self, figures: Callable[[], FleetFigures | None], *, per_camera: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._figures = figures
        self._per_camera = per_camera
        self._clock = clock

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering the collector must not read the fleet."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The metrics of now; those of the fleet from the one router that reports it."""
        figures, now_s = self._figures() or FleetFigures(), self._clock()
        metrics: tuple[definitions.Metric, ...] = definitions.OF_A_ROUTER
        if figures.is_reporter:
            metrics += definitions.OF_THE_FLEET + (definitions.OF_CAMERAS if self._per_camera else ())
        return [_family(metric, metric.samples(figures, now_s)) for metric in metrics]


def _family(metric: definitions.Metric, samples: definitions.Samples) -> Metric:
    if metric.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
        for labels, counts in samples:
            assert isinstance(counts, HistogramCounts)
            bounds = (*map(str, counts.bounds), "+Inf")
            buckets = list(zip(bounds, itertools.accumulate(counts.counts), strict=True))
            histogram.add_metric(labels, buckets=buckets, sum_value=counts.total)
        return histogram
    kind = CounterMetricFamily if metric.kind is Kind.COUNTER else GaugeMetricFamily
    family = kind(metric.name, metric.meaning, labels=metric.labels)
    for labels, value in samples:
        assert isinstance(value, float | int)
        family.add_metric(labels, value)
    return family
