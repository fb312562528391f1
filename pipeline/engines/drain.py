"""The archive worker: takes journal, copies, findings and dead letters from Kafka to the sink, each record once.

Several workers share one consumer group. For each cut of a topic partition:

    1. commit the plan: the offset of the cut's first record, with first and last offset as its metadata. A worker
       that has lost the partition is refused here, and drops what it holds. From here on the cut's bounds are known
       to whoever comes after, so that its rows get the same deduplication token.
    2. write the rows, then the batch record: the sink, in a thread of its own, as often as it takes.
    3. commit the offset behind the last record: the cut is done, and the plan is gone with the metadata.

Whoever is given a partition reads the committed offset and its metadata; a plan in it is repeated first, to the letter.
Steps 1 and 3 are repeated until they are answered; both only ever name records that are written or still to be written,
so a repeated or late one may have rows written again, which are the same rows, but never has any left out.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import ExitStack
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final, Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline import metrics, topics
from pipeline.engines.buffers import Buffer, Limits, Plan
from pipeline.engines.inserter import ArchiveSink, Inserter, Job, Outage
from pipeline.engines.notes import Notes
from pipeline.errors import Doubt, Misconfigured, Poison, Unavailable
from pipeline.health import Health
from pipeline.kafka_clients import consumer_config, group_name, to_error, topic_name
from pipeline.registry import open_schemas

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.settings import Settings

ROUTES: Final = ("journal", "copies", "findings", "dead-letters", "policies")
"""What is archived; names without the prefix."""
STAGE: Final = "archive"
CONSUME: Final = 10_000
"""Most records of one call to librdkafka."""
CUTS_UNDER_WAY: Final = 2
"""Cuts of different partitions that are planned or being written: the next is ready when one ends."""
BUFFERED_CUTS: Final = 4
"""Memory: so many times archive.batch_bytes are buffered or in flight, then partitions are paused."""
_BUSY_S, _IDLE_S, _PRESSED_S = 0.01, 0.1, 3.0
_COMMIT_AT_END_S = 15.0
_KAFKA_TIMEOUT_S = 30.0

log = structlog.get_logger(__name__)
_Key = tuple[str, int]


def run_archive(
    settings: Settings,
    stop: threading.Event,
    sink_factory: Callable[[Settings, str], ArchiveSink] | None = None,
    health: Health | None = None,
) -> None:
    """Archive until `stop` is set; then the insert in flight is finished and committed.

    Args:
        settings: the settings.
        stop: ends the worker.
        sink_factory: makes the sink from the settings and the worker's name; default: ClickHouse.
        health: told of every turn of the loop, and of what is missing (partitions, clickhouse).

    Raises:
        Misconfigured: topics, rights or tables are not as they must be.
    """
    worker = f"{socket.gethostname()}-{os.getpid()}-{settings.worker.slot}"
    make_sink = sink_factory or clickhouse_sink
    health = health or Health()
    with ExitStack() as stack:
        health.missing("partitions", "none assigned yet")
        health.missing("clickhouse", "has not answered yet")
        inserter = Inserter(lambda: make_sink(settings, worker), settings.archive.retry_max_s)
        stack.callback(inserter.close, 0.0)
        notes = stack.enter_context(Notes(settings, worker))
        log.info("archive worker begins", worker=worker, topics=ROUTES)
        pause = 0.1
        while not stop.is_set():
            begun = time.monotonic()
            try:
                health.beat()
                topics.check(settings, timeout_s=topics.WORKER_TIMEOUT_S)
                with _Session(settings, inserter, notes, health) as session:
                    session.run(stop)
            except Poison as error:
                raise Misconfigured(f"a record cannot be archived: {error}") from error
            except (Doubt, Unavailable, KafkaException) as error:
                cause = to_error(error.args[0], STAGE) if isinstance(error, KafkaException) else error
                if isinstance(cause, Misconfigured):
                    raise cause from None
                metrics.RESTARTS.labels(cause=type(cause).__name__).inc()
                log.warning("archive worker begins again", cause=str(cause))
                pause = 0.1 if time.monotonic() - begun > 60 else min(pause * 2, settings.archive.retry_max_s)
                stop.wait(pause)
        log.info("archive worker ends", worker=worker)


def clickhouse_sink(settings: Settings, worker: str) -> ArchiveSink:
    """The sink that writes to ClickHouse.

    Raises:
        Unavailable, Misconfigured: as the client says.
    """
    from pipeline.archive.client import connect  # noqa: PLC0415 - heavy, and not needed with another sink
    from pipeline.archive.sink import Sink  # noqa: PLC0415

    return Sink(connect(settings), settings, open_schemas(settings.kafka), worker)


class _Session:
    """One membership in the group, from joining it to leaving it; after a doubt another is begun."""

    def __init__(self, settings: Settings, inserter: Inserter, notes: Notes, health: Health) -> None:
        self._settings, self._inserter, self._notes, self._health = settings, inserter, notes, health
        archive = settings.archive
        self._limits = Limits(archive.batch_rows, archive.batch_bytes, archive.linger_ms / 1000)
        self._memory = archive.batch_bytes * BUFFERED_CUTS
        self._routes = {topic_name(settings, route): route for route in ROUTES}
        self._buffers: dict[_Key, Buffer] = {}
        self._planned: list[Job] = []
        """Cuts whose plan is to be committed (step 1)."""
        self._writing: set[Job] = set()
        """Cuts that the inserter has (step 2)."""
        self._written: list[Job] = []
        """Cuts whose end is to be committed (step 3)."""
        self._refused: dict[_Key, float] = {}
        """Partitions of which a commit was refused, and until when the group may take to tell us of their loss."""
        self._member: str | None = None
        """Our name in the group, as of the last assignment."""
        self._paused: set[_Key] = set()
        self._assigned: dict[_Key, int] = {}
        """Partitions assigned within the last call to consume, and where they begin."""
        self._consumer = Consumer(
            consumer_config(
                settings,
                group_name(settings, STAGE),
                fetch_queue_backoff_ms=20,  # the default, 1 s, starves a worker that empties the queue in less
                fetch_wait_max_ms=100,
                queued_min_messages=CONSUME * 10,
                socket_timeout_ms=10_000,  # a commit waits so long at most, and nothing is polled meanwhile
            )
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for buffer in self._buffers.values():
            buffer.drop()
        self._consumer.close()
        self._report_partitions()

    def run(self, stop: threading.Event) -> None:
        """Drain until `stop`.

        Raises:
            Doubt: the group has gone on without us; begin a new session.
            Unavailable: Kafka does not answer.
            Misconfigured: waiting does not help.
        """
        self._consumer.subscribe(
            list(self._routes), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )
        while not stop.is_set():
            self._health.beat()
            self._settle()
            self._begin_cuts()
            if self._wait_for_room():
                continue
            busy = (self._planned or self._writing or self._written) and not self._paused
            self._assigned.clear()
            messages = self._consumer.consume(CONSUME, _BUSY_S if busy else _IDLE_S)
            if messages:
                self._take(messages)
        self._finish()

    # --- step 1 and 3 ---

    def _begin_cuts(self) -> None:
        """Plan the cuts that are due, the one that has waited longest first."""
        room = CUTS_UNDER_WAY - len(self._planned) - len(self._writing) - len(self._written)
        if room <= 0:
            return
        now, pressed = time.monotonic(), self._pressed()
        due = [buffer for buffer in self._buffers.values() if buffer.ready(now, self._limits, pressed=pressed)]
        for buffer in sorted(due, key=lambda buffer: buffer.since)[:room]:
            cut, arrival = buffer.take(now, self._limits)
            self._planned.append(Job(buffer, cut, arrival))
        if due:
            self._settle()

    def _settle(self) -> None:
        """Collect what is written; commit plans and ends in one request; hand over the cuts whose plan stands."""
        done = self._inserter.done()
        for event in self._inserter.events():
            self._tell(event)
        self._written += [job for job in done if job in self._writing and job.written]
        self._writing.difference_update(done)
        wanted: list[tuple[Job, TopicPartition]] = []
        for job in self._planned:
            plan = Plan(job.cut.first, job.cut.last)
            wanted.append((job, self._offset(job, plan.first, plan.encode())))
        wanted += [(job, self._offset(job, job.cut.last + 1, "")) for job in self._written]
        accepted = self._commit([(job, offset) for job, offset in wanted if not job.buffer.dropped])
        for job in accepted.intersection(self._planned):
            self._writing.add(job)
            self._inserter.submit(job)
        for job in accepted.intersection(self._written):
            job.buffer.in_flight = 0
            behind = max(time.time() - job.arrival / 1000, 0)
            metrics.SINK_SECONDS_BEHIND.labels(job.cut.topic, str(job.cut.partition)).set(behind)
        self._planned, self._written = (
            [job for job in jobs if job not in accepted and not job.buffer.dropped]
            for jobs in (self._planned, self._written)
        )

    def _offset(self, job: Job, offset: int, metadata: str) -> TopicPartition:
        return TopicPartition(topic_name(self._settings, job.cut.topic), job.cut.partition, offset, metadata)

    def _commit(self, entries: list[tuple[Job, TopicPartition]]) -> set[Job]:
        """Commit offsets; the jobs whose offset stands. Those refused lose their buffer, others stay owed."""
        if not entries:
            return set()
        if self._consumer.memberid() != self._member:
            # Between losing its membership and telling us, librdkafka commits as nobody in particular, which the
            # broker takes if the group happens to be empty: a successor's progress would be set back.
            gone = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
            errors: dict[_Key, KafkaError | None] = {(offset.topic, offset.partition): gone for _, offset in entries}
        else:
            errors = self._ask_to_commit([offset for _, offset in entries])
        accepted: set[Job] = set()
        for job, offset in entries:
            key = offset.topic, offset.partition
            error = errors.get(key, KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's local codes
            if error is None:
                accepted.add(job)
            else:
                self._on_commit_error(key, job, error)
        return accepted

    def _ask_to_commit(self, offsets: list[TopicPartition]) -> dict[_Key, KafkaError | None]:
        try:
            results = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as failure:
            return {(offset.topic, offset.partition): failure.args[0] for offset in offsets}
        return {(result.topic, result.partition): result.error for result in results or ()}

    def _on_commit_error(self, key: _Key, job: Job, error: KafkaError) -> None:
        cause = to_error(error, f"commit {key[0]}/{key[1]}")
        if isinstance(cause, Misconfigured):
            raise cause
        if isinstance(cause, Unavailable) or error.code() == KafkaError.REBALANCE_IN_PROGRESS:
            return  # owed: asked again in the next round, unless the partition is revoked before
        log.warning("commit refused: partition dropped", topic=key[0], partition=key[1], error=error.name())
        job.buffer.drop()
        if self._buffers.get(key) is job.buffer:
            del self._buffers[key]
        self._refused.setdefault(key, time.monotonic() + 2 * self._settings.kafka.session_timeout_ms / 1000)

    # --- reading ---

    def _take(self, messages: list[Message]) -> None:
        """Put records into their partitions' buffers; they come in runs of one partition."""
        now = time.monotonic()
        stale: set[_Key] = set()
        if any(message.error() is not None for message in messages):
            messages = [message for message in messages if not self._is_error(message)]
        for key, group in groupby(messages, key=_key):
            buffer = self._buffers.get(key)
            if buffer is None:  # revoked or refused meanwhile
                continue
            if key in self._assigned:
                # These may have been fetched under an earlier assignment, from another offset: read them again.
                stale.add(key)
                continue
            run = list(group)
            values = [message.value() or b"" for message in run]
            buffer.append(values, [message.offset() or 0 for message in run], run[-1].timestamp()[1], now)
            metrics.RECORDS_IN.labels(buffer.topic).inc(len(run))
        for key in stale:
            self._consumer.seek(TopicPartition(*key, self._assigned[key]))

    def _is_error(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return False
        cause = to_error(error, f"read {message.topic()}")
        if not isinstance(cause, Unavailable):
            raise cause
        log.warning("kafka", error=error.name(), detail=error.str())
        return True

    def _pressed(self) -> bool:
        return sum(buffer.weight + buffer.in_flight for buffer in self._buffers.values()) >= self._memory

    def _wait_for_room(self) -> bool:
        """With memory full: wait for an insert to end; if none does, pause the partitions so that the group is polled.

        Whether an insert has ended, so that there may be room. Pausing at once would be simpler, but librdkafka throws
        away what it has fetched of a partition when that is paused.
        """
        deadlines = self._refused.values()
        if deadlines and min(deadlines) < time.monotonic():
            raise Doubt("commits are refused, yet the group says nothing of partitions lost")
        held = {key for key, buffer in self._buffers.items() if buffer.held_to_plan}
        if self._pressed():
            if not held and not self._paused and self._inserter.wait(_PRESSED_S):
                return True
            self._pause(set(self._buffers) - held - self._paused)
        elif self._paused:
            self._resume(set(self._paused))
        return False

    def _pause(self, keys: set[_Key]) -> None:
        if keys:
            self._consumer.pause([TopicPartition(*key) for key in keys])
            self._paused |= keys

    def _resume(self, keys: set[_Key]) -> None:
        self._paused -= keys
        self._consumer.resume([TopicPartition(*key) for key in keys])

    # --- the group ---

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Take partitions over where their committed offsets say, with the cut that was announced there."""
        start = []
        self._member = consumer.memberid()
        for found in consumer.committed(partitions, timeout=_KAFKA_TIMEOUT_S):
            if found.error is not None:
                raise KafkaException(found.error)
            key = found.topic, found.partition
            plan = Plan.decode(found.metadata, found.offset)
            self._buffers[key] = Buffer(self._routes[found.topic], found.partition, plan)
            self._refused.pop(key, None)
            if plan is not None:
                log.info("a planned cut is repeated", topic=key[0], partition=key[1], first=plan.first, last=plan.last)
            if found.offset >= 0:
                self._look_for_gap(consumer, found)
            self._assigned[key] = found.offset if found.offset >= 0 else OFFSET_BEGINNING
            start.append(TopicPartition(*key, self._assigned[key]))
        consumer.incremental_assign(start)
        self._report_partitions()

    def _look_for_gap(self, consumer: Consumer, committed: TopicPartition) -> None:
        """Records deleted before they were archived are gone, but not silently."""
        low, _ = consumer.get_watermark_offsets(
            TopicPartition(committed.topic, committed.partition), timeout=_KAFKA_TIMEOUT_S
        )
        if low > committed.offset:
            place = f"{committed.topic}/{committed.partition}"
            log.error("records deleted before they were archived", place=place, first=committed.offset, last=low - 1)
            self._notes.raise_finding(
                "archive_records_gone", "critical",
                f"{place}: offsets {committed.offset} to {low - 1} were deleted before they were archived",
                f"{place}/{committed.offset}",
            )  # fmt: skip

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Drop what is buffered; an insert in flight may end, but nothing is committed for it: its successor does."""
        for partition in partitions:
            key = partition.topic, partition.partition
            self._paused.discard(key)
            self._refused.pop(key, None)
            buffer = self._buffers.pop(key, None)
            if buffer is not None:
                buffer.drop()
        self._report_partitions()

    def _report_partitions(self) -> None:
        held = sum(not buffer.dropped for buffer in self._buffers.values())
        metrics.PARTITIONS.set(held)
        if held:
            self._health.there("partitions")
        else:
            self._health.missing("partitions", "none assigned")

    # --- the database, and the end ---

    def _tell(self, event: Outage | None) -> None:
        """Say once that the database is away, and once that it is back: log, metric, health, finding."""
        away = event is not None and event.end is None
        metrics.SINK_WAITING.set(int(away))
        if event is not None and away:
            log.warning("clickhouse is away: waiting", reason=event.reason)
            self._health.missing("clickhouse", event.reason)
        else:
            self._health.there("clickhouse")
        if event is not None and event.end is not None:
            log.info("clickhouse is back", seconds=(event.end - event.begin) / 1000)
        if event is not None:
            self._notes.outage(event)

    def _finish(self) -> None:
        """Let the insert in flight end and commit it; what is not committed, the next owner repeats."""
        deadline = time.monotonic() + self._settings.clickhouse.timeout_s
        while not self._inserter.close(_PRESSED_S) and time.monotonic() < deadline:
            self._health.beat()
        self._planned.clear()
        deadline = time.monotonic() + _COMMIT_AT_END_S
        self._settle()
        while self._written and time.monotonic() < deadline:
            self._consumer.poll(_IDLE_S)  # a rebalance may have to be gone through first
            self._settle()


def _key(message: Message) -> Any:
    return message.topic(), message.partition()
