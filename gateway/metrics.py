"""Numbers for Prometheus: counted in plain dictionaries, rendered when somebody looks.

With several workers each leaves its counts in a file once a second, and whoever is asked adds up the others'.
"""

from __future__ import annotations

import asyncio
import os
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Upper bounds of the histogram's buckets, in seconds; one more holds the rest."""
MOST = 8192
"""Most series that are kept apart; what comes later is counted as operation `other`."""
PERIOD = 1.0

Counts = dict[tuple[str, int], list[float]]
"""(operation, status) → how many in each bucket, then the sum of seconds."""


class Metrics:
    """What this process answered. `folder`: where workers leave their counts; None when there is only one."""

    def __init__(self, version: str, *, folder: Path | None = None, worker: int = 0) -> None:
        self.started = time.time()
        self._version, self._folder, self._worker = version, folder, worker
        self._counts: Counts = {}
        self._registry: CollectorRegistry | None = None

    def count(self, operation: str, status: int, seconds: float) -> None:
        """Count a request that was answered. Only from the event loop's thread."""
        key = (operation, status)
        row = self._counts.get(key)
        if row is None:
            if len(self._counts) >= MOST:
                key = ("other", status)
            row = self._counts.setdefault(key, [0] * (len(BOUNDS) + 2))
        row[bisect_left(BOUNDS, seconds)] += 1
        row[-1] += seconds

    def render(self) -> bytes:
        """The exposition text, all workers added up. (prometheus-client is loaded when somebody looks.)"""
        import prometheus_client

        if self._registry is None:
            registry = self._registry = prometheus_client.CollectorRegistry()
            registry.register(self)
            prometheus_client.ProcessCollector(registry=registry)
            prometheus_client.PlatformCollector(registry=registry)
        return prometheus_client.generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """The metric families (prometheus-client calls this)."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        yield GaugeMetricFamily("nephele_start_time_seconds", "When this worker started, since 1970.", self.started)
        about = GaugeMetricFamily("nephele_info", "What answers here.", labels=["version"])
        about.add_metric([self._version], 1)
        yield about
        requests = CounterMetricFamily(
            "nephele_requests", "Requests answered.", labels=["service", "operation", "status"]
        )
        took = HistogramMetricFamily("nephele_request_seconds", "Time to answer.", labels=["service", "operation"])
        merged: dict[str, list[float]] = {}
        for (operation, status), row in self._all().items():
            service, _, name = operation.rpartition(":")
            requests.add_metric([service, name, str(status)], sum(row[:-1]))
            total = merged.setdefault(operation, [0] * len(row))
            merged[operation] = [a + b for a, b in zip(total, row, strict=True)]
        for operation, row in merged.items():
            service, _, name = operation.rpartition(":")
            below, buckets = 0.0, []
            for bound, number in zip([*map(str, BOUNDS), "+Inf"], row, strict=False):
                below += number
                buckets.append((bound, below))
            took.add_metric([service, name], buckets, sum_value=row[-1])
        yield requests
        yield took

    async def share(self) -> None:
        """Leave this worker's counts for the others once a second, for ever. Returns at once where it is alone."""
        while self._folder is not None:
            self.save()
            await asyncio.sleep(PERIOD)

    def save(self) -> None:
        """Leave this worker's counts for the others, now."""
        if self._folder is not None:
            file = self._folder / f"{self._worker}.json"
            fresh = file.with_suffix(".new")
            fresh.write_bytes(orjson.dumps([[*key, row] for key, row in self._counts.items()]))
            os.replace(fresh, file)

    def _all(self) -> Counts:
        counts = {key: list(row) for key, row in self._counts.items()}
        for file in self._folder.glob("*.json") if self._folder is not None else ():
            if file.stem != str(self._worker):
                for operation, status, row in orjson.loads(file.read_bytes()):
                    mine = counts.setdefault((operation, status), [0] * len(row))
                    counts[operation, status] = [a + b for a, b in zip(mine, row, strict=True)]
        return counts
