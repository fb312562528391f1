"""The real transform on a real broker: chain, policy hook and metrics on, its state in memory, exactly once.

The time runs from the first committed batch (of every worker, where there are two) to the last, by the broker's own
timestamps of the heads, which are the last records of a transaction. CPU seconds are those of the processes between
the two; `cpu_s_per_million_with_start` takes in their start and all events, as the peers count themselves.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, TopicPartition

from pipeline.engines.assemble import codec
from pipeline.kafka_clients import consumer_config, topic_name
from pipeline.registry import FixedSchemas
from pipeline.settings import Settings
from tests.bench.load import PARTITIONS, ROOT, Input, drop_topics, make_topics, produce
from tests.bench.worker import COMPILED, Worker

SAMPLE_S = 0.05
SCRAPE_EVERY = 20
"""Metrics are scraped with every so many samples: once a second, oftener than Prometheus would."""
STALLED_S = 120.0


class Step(NamedTuple):
    """One head: when it was written, of which partition, how many ingest records are journaled by then."""

    at: float
    partition: int
    events: int


def bench(bootstrap: str, folder: Path, made: Input, processes: int, prefix: str, *, compiled: bool) -> dict[str, Any]:
    settings = make_topics(bootstrap, prefix)
    events = produce(settings, made)
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(settings, slot, folder, COMPILED if compiled else ROOT))
            for slot in range(processes)
        ]
        scraped = _follow(workers, events)
        peaks = [worker.peak_mb() for worker in workers]
    steps = _heads(settings, events)
    drop_topics(settings)
    owned = [
        {number for number in range(PARTITIONS) if f'{_ENTRIES}{{partition="{number}"}}' in one} for one in scraped
    ]
    began = max(min(step.at for step in steps if step.partition in mine) for mine in owned if mine)
    ended = steps[-1].at
    before = sum(
        max((s.events for s in steps if s.partition == n and s.at <= began), default=0) for n in range(PARTITIONS)
    )
    copies = sum(one.get(_COPIES, 0) for one in scraped)
    cpu = [worker.cpu_at(ended) - worker.cpu_at(began) for worker in workers]
    seconds, measured = ended - began, events - before
    return {
        "transform": processes,
        "compiled": compiled,
        "events": events,
        "events_per_s": round(measured / seconds),
        "copies_per_s": round(copies / events * measured / seconds),
        "cpu_s_per_million_events": round(sum(cpu) / measured * 1e6, 1),
        "cpu_s_per_million_with_start": round(sum(worker.cpu_at(ended) for worker in workers) / events * 1e6, 1),
        "cpus": round(sum(cpu) / seconds, 2),
        "rss_mb": round(max(peaks)),
        "seconds": round(seconds, 2),
        "batches": round(sum(one.get(_BATCHES, 0) for one in scraped)),
        "merged": round(sum(value for one in scraped for name, value in one.items() if name.startswith(_MERGED))),
        "partitions_of_each": [len(mine) for mine in owned],
        "policy": "empty",
        "metrics": True,
    }


_EVENTS = 'compliance_records_in_total{route="events"}'
_COPIES = 'compliance_records_out_total{route="copies"}'
_BATCHES = 'compliance_transactions_total{outcome="committed"}'
_MERGED = "compliance_merged_total"
_ENTRIES = "compliance_state_entries"


def _follow(workers: list[Worker], events: int) -> list[dict[str, float]]:
    """Watch until all events are committed; the last metrics of each worker."""
    done, changed = -1.0, time.monotonic()
    while True:
        for _ in range(SCRAPE_EVERY):
            for worker in workers:
                worker.sample()
            time.sleep(SAMPLE_S)
        scraped = [worker.metrics() for worker in workers]
        now = sum(one.get(_EVENTS, 0) for one in scraped)
        if now >= events:
            for worker in workers:
                worker.sample()
                worker.check()
            return scraped
        if now != done:
            done, changed = now, time.monotonic()
        elif time.monotonic() - changed > STALLED_S:
            raise TimeoutError(f"{done:.0f} of {events} events after {STALLED_S:.0f} s without progress")


def _heads(settings: Settings, events: int) -> list[Step]:
    """Every head that was written, in order of time."""
    read = codec(FixedSchemas(), "head").decode
    consumer = Consumer(consumer_config(settings, None))
    topic = topic_name(settings, "heads")
    consumer.assign([TopicPartition(topic, number, 0) for number in range(PARTITIONS)])
    steps: list[Step] = []
    last = dict.fromkeys(range(PARTITIONS), 0)
    deadline = time.monotonic() + STALLED_S
    while sum(last.values()) < events and time.monotonic() < deadline:
        for message in consumer.consume(1000, timeout=1):
            value = message.value()
            assert message.error() is None
            assert value is not None
            head = read(value)
            last[head["partition"]] = head["sequence"] + 1
            steps.append(Step(message.timestamp()[1] / 1000, head["partition"], head["sequence"] + 1))
    consumer.close()
    if sum(last.values()) != events:
        raise RuntimeError(f"the heads count {sum(last.values())} journal records of {events} events")
    return sorted(steps)
