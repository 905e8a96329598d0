"""What a replica does as an operator, in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from dragoman.operator.election import Election
from dragoman.operator.replicas import Replicas
from dragoman.operator.status_writer import StatusWriter


class OperatorMetrics(Collector):
    """Collected at scrapes."""

    def __init__(self, election: Election, replicas: Replicas, writers: Sequence[StatusWriter]) -> None:
        self._election = election
        self._replicas = replicas
        self._writers = writers

    def collect(self) -> Iterator[Metric]:
        leads = "Whether this replica writes what one writes for all."
        yield GaugeMetricFamily("dragoman_leads", leads, value=self._election.leads)
        others = "Other replicas that live, as far as this one knows."
        yield GaugeMetricFamily("dragoman_other_replicas", others, value=self._replicas.living)
        written = sum(writer.written for writer in self._writers)
        yield CounterMetricFamily("dragoman_status_writes", "Statuses of objects written.", value=written)
        failed = sum(writer.failed for writer in self._writers)
        yield CounterMetricFamily("dragoman_status_write_failures", "Statuses that could not be written.", value=failed)
