"""Give a partition its state back: its head, and the journal's records since the oldest message that it remembers.

Read to the high watermark as a read_uncommitted client sees it, not to the last stable offset: behind an open
transaction there may be committed records, and the one that is open may yet be committed. So the reader waits until
its own position has passed the watermark, whatever becomes of the transaction.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

import structlog
from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline import metrics
from pipeline.codec import RecordCodec
from pipeline.errors import ComplianceError, Doubt, Misconfigured, Unavailable
from pipeline.kafka_clients import consumer_config, to_error, topic_name
from pipeline.settings import Settings
from pipeline.stages.journal import Head, genesis
from pipeline.stages.transform import Partition

CALL_TIMEOUT_S: Final = 20.0
HEADS_BACK: Final = 64
"""Where a head is looked for first: so many offsets before the end of its partition."""
CLOCK_SLACK_MS: Final = 300_000
"""How far the clocks of two brokers may differ: the journal is read from so much earlier than the floor's arrival."""
READ_AT_ONCE: Final = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A partition with its state, and what of the ingest topic is gone."""

    state: Partition
    gone_until: int
    """Last ingest offset that was deleted before it was journaled; -1 for none."""


class Rebuilder:
    """Rebuilds partitions. Used by one thread at a time.

    Args:
        settings: the settings.
        lineage: of the topics as they are now.
        heads: codec of head records.
        journal: codec of journal records.
        empty: makes an empty partition at a head.
    """

    def __init__(
        self,
        settings: Settings,
        lineage: str,
        heads: RecordCodec,
        journal: RecordCodec,
        empty: Callable[[Head], Partition],
    ) -> None:
        self._settings, self._lineage, self._empty = settings, lineage, empty
        self._heads, self._journal = heads, journal
        # An end is told only when a fetch that found nothing comes back: the default, 500 ms, would be waited out twice.
        self._reader = Consumer(consumer_config(settings, None, enable_partition_eof=True, fetch_wait_max_ms=10))
        self._uncommitted = Consumer(consumer_config(settings, None, isolation_level="read_uncommitted"))
        self._deadline = 0.0
        self._stop = threading.Event()

    def close(self) -> None:
        """Close the clients."""
        self._reader.close()
        self._uncommitted.close()

    def cancel(self) -> None:
        """Have a rebuild that is under way in another thread end with Doubt."""
        self._stop.set()

    def rebuild(self, partition: int) -> Rebuilt:
        """The partition as its head and journal have it.

        Raises:
            Doubt: head and journal do not agree (somebody else is still writing), or time ran out.
            Unavailable: a broker does not answer.
            Misconfigured: the ingest topic ends before what was journaled of it.
        """
        self._deadline = time.monotonic() + self._settings.transform.fold_timeout_s
        try:
            head = self._head(partition)
            state = self._empty(head)
            if head.sequence >= head.floor:
                self._fold(state, head)
            low, high = self._watermarks(TopicPartition(topic_name(self._settings, "events"), partition))
        except KafkaException as error:
            raise to_error(error.args[0], f"rebuild partition {partition}") from None
        if head.offset + 1 > high:
            raise Misconfigured(
                f"partition {partition}: the journal names ingest offset {head.offset}, but the topic ends at {high}: "
                "it was truncated, and new records would take offsets that are taken"
            )
        return Rebuilt(state, low - 1 if low > head.offset + 1 else -1)

    def _head(self, partition: int) -> Head:
        where = TopicPartition(topic_name(self._settings, "heads"), partition)
        low, high = self._watermarks(where)
        found: Head | None = None
        others = False
        start, back = high, HEADS_BACK
        while found is None and start > low:
            start, back = max(low, high - back), back * 16
            for message in self._read(where.topic, partition, start, high):
                value = message.value()
                if value is None:
                    continue
                record = self._heads.decode(value)
                if record["lineage"] == self._lineage:
                    found = Head(**record)
                else:
                    others = True
        if found is None:
            if others:  # not just what an aborted transaction left
                log.error("journal begins anew", partition=partition, lineage=self._lineage, why="the topics are new")
            return genesis(self._lineage, partition)
        return found

    def _fold(self, state: Partition, head: Head) -> None:
        topic = topic_name(self._settings, "journal")
        low, high = self._watermarks(TopicPartition(topic, head.partition))
        since = TopicPartition(topic, head.partition, max(0, head.floor_arrival - CLOCK_SLACK_MS))
        hint = self._reader.offsets_for_times([since], timeout=CALL_TIMEOUT_S)[0].offset
        for start in (low if hint in (OFFSET_END, -1) else max(low, hint), low):
            if self._fold_from(state, head, start, high):
                return
        raise Doubt(f"partition {head.partition}: head and journal do not agree")

    def _fold_from(self, state: Partition, head: Head, start: int, high: int) -> bool:
        expected, digest = head.floor, b""
        for message in self._read(topic_name(self._settings, "journal"), head.partition, start, high):
            record = self._journal.decode(message.value() or b"")
            if record["lineage"] != self._lineage or record["sequence"] < head.floor:
                continue
            if record["sequence"] != expected:
                if expected == head.floor:
                    return False  # the time was no good hint: from the beginning, then
                raise Doubt(f"partition {head.partition}: journal sequence {record['sequence']}, not {expected}")
            state.fold(record)
            expected, digest = expected + 1, record["hash"]
        if expected == head.floor:
            return False
        if expected != head.sequence + 1 or digest != head.hash:
            raise Doubt(f"partition {head.partition}: the journal ends at {expected - 1}, its head at {head.sequence}")
        state.merge.forget_below(head.floor)
        return True

    def _watermarks(self, where: TopicPartition) -> tuple[int, int]:
        answer = self._uncommitted.get_watermark_offsets(where, timeout=CALL_TIMEOUT_S, cached=False)
        if answer is None:
            raise Unavailable(f"no watermarks of {where.topic}/{where.partition}")
        return answer

    def _read(self, topic: str, partition: int, start: int, end: int) -> Iterator[Message]:
        """Committed records from `start` on, until the position has reached `end`."""
        if start >= end:
            return
        self._reader.assign([TopicPartition(topic, partition, start)])
        position = start
        while position < end:
            if self._stop.is_set() or time.monotonic() > self._deadline:
                raise Doubt(f"reading {topic}/{partition} back: stopped at {position} of {end}")
            for message in self._reader.consume(READ_AT_ONCE, timeout=0.1):
                error = message.error()
                if error is None:
                    position = _offset(message) + 1
                    if position <= end:
                        yield message
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name
                    position = max(position, _offset(message))
                elif error.fatal() or not error.retriable():
                    raise to_error(error, f"read {topic}/{partition}")
        self._reader.unassign()


def _offset(message: Message) -> int:
    offset = message.offset()
    return -1 if offset is None else offset


class RebuildThread:
    """Rebuilds partitions beside the loop that polls the group.

    Args:
        rebuilder: the one to use; closed with this.
    """

    def __init__(self, rebuilder: Rebuilder) -> None:
        self._rebuilder = rebuilder
        self._wanted: queue.SimpleQueue[tuple[int, int] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, int, Rebuilt | ComplianceError]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="rebuild", daemon=True)
        self._thread.start()

    def want(self, partition: int, turn: int) -> None:
        """Have a partition rebuilt; `turn` comes back with it."""
        self._wanted.put((partition, turn))

    def done(self) -> tuple[int, int, Rebuilt] | None:
        """One that is finished: partition, turn, state.

        Raises:
            ComplianceError: what its rebuild ended with.
        """
        try:
            partition, turn, result = self._done.get_nowait()
        except queue.Empty:
            return None
        if isinstance(result, ComplianceError):
            raise result
        return partition, turn, result

    def _run(self) -> None:
        while (job := self._wanted.get()) is not None:
            result: Any
            try:
                with metrics.REBUILD_SECONDS.time():
                    result = self._rebuilder.rebuild(job[0])
            except ComplianceError as error:
                result = error
            except Exception as error:
                result = Doubt(f"rebuild of partition {job[0]}: {type(error).__name__}")
                log.exception("rebuild failed", partition=job[0])
            self._done.put((*job, result))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rebuilder.cancel()
        self._wanted.put(None)
        self._thread.join(CALL_TIMEOUT_S)
        self._rebuilder.close()
