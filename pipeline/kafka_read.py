"""Read topic partitions up to where they end now, without joining a group."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline.errors import Misconfigured, Unavailable
from pipeline.kafka_clients import consumer_config, to_error

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pipeline.settings import Settings

TIMEOUT_S: Final = 30.0
"""How long a broker may take to answer, in seconds."""
_AT_ONCE: Final = 1000


def partitions_of(consumer: Consumer, topic: str) -> list[int]:
    """The partitions of a topic.

    Raises:
        Misconfigured: there is no such topic.
        Unavailable: the brokers do not answer.
    """
    try:
        metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise to_error(error.args[0], f"look for {topic}") from None
    if metadata.error is not None and metadata.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
        raise Misconfigured(f"no topic {topic}: run `compliance topics create`")
    if metadata.error is not None:
        raise to_error(metadata.error, f"look for {topic}")
    return sorted(metadata.partitions)


def bounds(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """Offsets of the first record that is there and of the end, which is the last stable offset for a reader of
    committed records, and the high watermark for one of all.

    Raises:
        Unavailable: the brokers do not answer.
    """
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=TIMEOUT_S)
    except KafkaException as error:
        raise to_error(error.args[0], f"ask for the end of {topic}/{partition}") from None
    return low, high


def read_to_end(settings: Settings, starts: Sequence[TopicPartition], **more: Any) -> Iterator[Message]:
    """All committed records from `starts` (an offset each) to the ends as they are at the call.

    Where a partition ends is told by librdkafka's end-of-partition event: transaction markers take offsets but are no
    records, so that nobody can count down to an offset.

    Args:
        settings: the settings.
        starts: topic partitions with the offset to begin at.
        more: further consumer properties, as `consumer_config` takes them.

    Raises:
        Unavailable: the brokers do not answer.
        Misconfigured: they refuse.
    """
    consumer = Consumer(consumer_config(settings, None, enable_partition_eof=True, fetch_wait_max_ms=10, **more))
    try:
        ends = {(start.topic, start.partition): bounds(consumer, start.topic, start.partition)[1] for start in starts}
        left = {(start.topic, start.partition) for start in starts}
        consumer.assign(list(starts))
        heard = time.monotonic()
        while left:
            messages = consumer.consume(_AT_ONCE, 0.05)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > TIMEOUT_S:
                raise Unavailable(f"read {starts[0].topic}: nothing came for {TIMEOUT_S:.0f} s")
            for message in messages:
                key = message.topic() or "", message.partition() or 0
                error, offset = message.error(), message.offset() or 0
                if error is None and offset < ends[key]:
                    yield message
                elif error is not None and error.code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's name
                    cause = to_error(error, f"read {key[0]}/{key[1]}")
                    if isinstance(cause, Unavailable):
                        continue  # it is tried again behind the scenes, until nothing has come for too long
                    raise cause
                if offset >= ends[key] - 1 or error is not None:
                    left.discard(key)
    finally:
        consumer.close()
