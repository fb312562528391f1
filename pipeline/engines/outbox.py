"""What one transaction sends, counted as it goes."""

from __future__ import annotations

from collections import Counter
from typing import Final

from confluent_kafka import Producer

from pipeline import metrics
from pipeline.errors import Doubt
from pipeline.kafka_clients import topic_name
from pipeline.settings import Settings
from pipeline.stages.transform import Step
from pipeline.topology import ROUTES

FULL_QUEUE_POLL_S: Final = 0.05


class Outbox:
    """Hands records to the producer in pieces, so that its buffer stays bounded whatever one event fans out to."""

    def __init__(self, producer: Producer, settings: Settings) -> None:
        self._producer = producer
        self._settings = settings
        self._names = {route: topic_name(settings, route) for route in ROUTES}
        self.bytes = 0
        self.steps = 0
        self._sent: Counter[str] = Counter()
        self._merged: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()

    def put(self, step: Step, partition: int) -> None:
        """Send all that became of one ingest record; its journal record goes to the partition of the same number."""
        self.steps += 1
        self.send("journal", None, step.journal, partition)
        if step.verdict is not None:
            self.send("verdicts", step.verdict.key, step.verdict.value)
        if step.copies.count:
            topic, send = self._names["copies"], self._send
            for key, value in step.copies.records:
                send(topic, key, value, -1)
            self.bytes += step.copies.size
            self._sent["copies"] += step.copies.count
        for record in step.others:
            self.send(record.topic, record.key, record.value, record.partition)
        if step.status == "merged":
            self._merged[step.rule] += 1
        elif step.status == "rejected":
            self._rejected[step.rule] += 1

    def send(self, route: str, key: bytes | None, value: bytes | None, partition: int = -1) -> None:
        """Send one record."""
        name = self._names.get(route) or topic_name(self._settings, route)  # a compliance server's: route.NAME
        self._send(name, key, value, partition)
        self.bytes += len(value or b"")
        self._sent[route] += 1

    def _send(self, topic: str, key: bytes | None, value: bytes | None, partition: int) -> None:
        while True:
            try:
                self._producer.produce(topic, value, key, partition)
            except BufferError:
                self._producer.poll(FULL_QUEUE_POLL_S)
            else:
                return

    def flush(self, timeout_s: float) -> None:
        """Wait until the broker has acknowledged all.

        Raises:
            Doubt: it has not, in time.
        """
        if left := self._producer.flush(timeout_s):
            raise Doubt(f"{left} records were not acknowledged within {timeout_s:.0f} s")

    def count(self) -> None:
        """Add what was sent to the metrics; called once the transaction is committed."""
        metrics.RECORDS_IN.labels("events").inc(self.steps)
        for route, number in self._sent.items():
            metrics.RECORDS_OUT.labels(route).inc(number)
        for rule, number in self._merged.items():
            metrics.MERGED.labels(rule).inc(number)
        for reason, number in self._rejected.items():
            metrics.REJECTED.labels(reason).inc(number)
