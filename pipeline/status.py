"""What is still on its way: records that a stage has yet to take, and whether everything is in ClickHouse.

How the end of a partition is found: transaction markers take offsets but are no records, so a committed offset may stay
below the high watermark for ever though nothing is left. A few offsets are therefore read, as a reader of committed
records would, and records counted; many are taken as they are. What lies between the last stable offset and the high
watermark is in a transaction that is still open; it counts as on its way.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypedDict

from confluent_kafka import Consumer, KafkaException, TopicPartition

from pipeline.archive.client import connect, rows
from pipeline.engines.drain import ROUTES
from pipeline.errors import ComplianceError, Unavailable
from pipeline.kafka_clients import consumer_config, group_name, to_error, topic_name
from pipeline.kafka_read import TIMEOUT_S, bounds, partitions_of, read_to_end

if TYPE_CHECKING:
    from pipeline.settings import Settings

CLICKHOUSE_S: Final = 5.0
COUNTED: Final = 10_000
"""Up to so many offsets of a partition are read to tell records from markers; more are not worth it."""


class Status(TypedDict):
    """`lag`: records behind for each stage: transform, archive.journal, archive.copies ..."""

    drained: bool
    lag: dict[str, int]


def status(settings: Settings) -> Status:
    """How far the stages are behind; `drained` is exact, a large lag may count transaction markers as well.

    Stages are asked in the order of the data: what one has finished is then seen on the way to the next.

    Raises:
        Unavailable: the brokers do not answer, for 30 s.
        Misconfigured: a topic is missing, or the brokers refuse.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            return _status(settings)
        except Unavailable:  # a broker that has just started, say, and knows no coordinator yet
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def away(settings: Settings) -> str:
    """Why the archive cannot be read now; empty where it can. What was drained into it is there nevertheless."""
    quick = settings.clickhouse.model_copy(update={"timeout_s": min(settings.clickhouse.timeout_s, CLICKHOUSE_S)})
    try:
        client = connect(settings.model_copy(update={"clickhouse": quick}))
        try:
            rows(client, f"SELECT 1 FROM `{settings.clickhouse.control_database}`.journal LIMIT 0")
        finally:
            client.close()
    except ComplianceError as error:
        return str(error)
    return ""


def _status(settings: Settings) -> Status:
    lag = {"transform": _lag(settings, "transform", "events")}
    for route in ROUTES:
        lag[f"archive.{route}"] = _lag(settings, "archive", route)
    return Status(drained=not any(lag.values()), lag=lag)


def _lag(settings: Settings, stage: str, route: str) -> int:
    """Records of a topic that a stage's group has not committed."""
    topic = topic_name(settings, route)
    # Reads everything, so that its end is the high watermark, and never waits for a transaction's offsets to settle.
    asking = Consumer(consumer_config(settings, group_name(settings, stage), isolation_level="read_uncommitted"))
    try:
        partitions = [TopicPartition(topic, partition) for partition in partitions_of(asking, topic)]
        try:
            committed = asking.committed(partitions, timeout=TIMEOUT_S)
        except KafkaException as error:
            raise to_error(error.args[0], f"ask for the offsets of {group_name(settings, stage)}") from None
        many, few = 0, []
        for found in committed:
            if found.error is not None:
                raise to_error(found.error, f"ask for the offsets of {group_name(settings, stage)}")
            low, high = bounds(asking, topic, found.partition)
            start = max(found.offset, low)  # no offset is a negative one
            if high - start > COUNTED:
                many += high - start
            elif high > start:
                few.append((TopicPartition(topic, found.partition, start), high))
    finally:
        asking.close()
    return many + (_count(settings, few) if few else 0)


def _count(settings: Settings, spans: list[tuple[TopicPartition, int]]) -> int:
    """Records between an offset and the high watermark of each partition; unfinished transactions as their offsets."""
    reader = Consumer(consumer_config(settings, None))
    try:
        stable = [bounds(reader, span.topic, span.partition)[1] for span, _ in spans]
    finally:
        reader.close()
    unfinished = sum(max(high - max(end, span.offset), 0) for (span, high), end in zip(spans, stable, strict=True))
    return unfinished + sum(1 for _ in read_to_end(settings, [span for span, _ in spans]))
