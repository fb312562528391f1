"""The time from produce to verdict, over Kafka: a producer, the real transform, a read_committed consumer of verdicts.

Producer and consumer are threads of this process, so that one clock measures both. The first seconds do not count.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import defaultdict, deque
from itertools import islice
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.codec import read_long
from pipeline.kafka_clients import consumer_config, producer_config, topic_name
from pipeline.settings import Settings
from tests.bench.load import PARTITIONS, Input, drop_topics, make_topics, read_pairs
from tests.bench.worker import Worker

SECONDS = 12
WARM_UP_S = 2.0
DRAIN_S = 30.0


def bench(bootstrap: str, folder: Path, made: Input, rate: int, prefix: str, seconds: int = SECONDS) -> dict[str, Any]:
    """Latencies at `rate` events/s, over `seconds` or as long as there are events."""
    settings = make_topics(bootstrap, prefix)
    pairs = list(islice(read_pairs(made.pairs), rate * seconds))
    meter = _Meter(settings, len(pairs))
    with Worker(settings, 0, folder) as worker:
        worker.wait_ready()
        reader = threading.Thread(target=meter.read, name="verdicts")
        reader.start()
        try:
            took = _produce(settings, pairs, rate, meter)
        finally:
            meter.deadline = time.monotonic() + DRAIN_S
            reader.join()
        worker.check()
    drop_topics(settings)
    late = [(done - sent) * 1000 for sent, done in meter.took if sent >= meter.began + WARM_UP_S]
    if meter.left or len(late) < 100:
        raise RuntimeError(f"{meter.left} of {len(pairs)} verdicts did not come, {len(late)} were measured")
    cuts = statistics.quantiles(late, n=1000, method="inclusive")
    return {
        "verdict_latency_ms": {"p50": round(cuts[499], 1), "p99": round(cuts[989], 1), "max": round(max(late), 1)},
        "events_per_s": rate,
        "produced_per_s": round(len(pairs) / took),
        "events": len(late),
    }


class _Meter:
    """Matches verdicts to events by event_id; of captures that a producer sent twice, the first verdict is the first's."""

    def __init__(self, settings: Settings, events: int) -> None:
        self.sent: defaultdict[bytes, deque[float]] = defaultdict(deque)
        self.took: list[tuple[float, float]] = []
        self.left = events
        self.began = 0.0
        self.deadline = float("inf")
        self._consumer = Consumer(consumer_config(settings, None, fetch_wait_max_ms=5))
        topic = topic_name(settings, "verdicts")
        self._consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])

    def read(self) -> None:
        while self.left and time.monotonic() < self.deadline:
            first = self._consumer.poll(0.1)
            if first is None:
                continue
            messages = [first, *self._consumer.consume(10_000, timeout=0)]
            now = time.monotonic()
            for message in messages:
                value = message.value()
                assert message.error() is None
                assert value is not None
                self.took.append((self.sent[event_id(value)].popleft(), now))
                self.left -= 1
        self._consumer.close()


def event_id(value: bytes) -> bytes:
    """The first field of a verdict as of an event."""
    length, start = read_long(value, 5)
    return value[start : start + length]


def _produce(settings: Settings, pairs: list[tuple[bytes, bytes]], rate: int, meter: _Meter) -> float:
    """Hand over each event when it is due, or as soon after as this process gets to it."""
    producer = Producer(producer_config(settings, linger_ms=0))
    producer.list_topics(timeout=10)
    topic = topic_name(settings, "events")
    began = meter.began = time.monotonic()
    for number, (key, value) in enumerate(pairs):
        due = began + number / rate
        while (now := time.monotonic()) < due:
            producer.poll(0)
            time.sleep(min(due - now, 0.001))
        meter.sent[event_id(value)].append(now)
        producer.produce(topic, value, key)
    took = time.monotonic() - began
    if producer.flush(30):
        raise TimeoutError("the broker did not take the events")
    return took
