"""The transform worker on Kafka: consume, transform, produce, each batch one transaction.

A session is one consumer, one transactional producer and the state of the partitions that the group gave it. Whatever
goes wrong, or is in doubt, ends the session; the next one begins from the heads and the journal. That is the only way
back.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final, Self

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pipeline import metrics, topics
from pipeline.engines import assemble
from pipeline.engines.outbox import Outbox
from pipeline.engines.rebuild import Rebuilder, RebuildThread
from pipeline.errors import ComplianceError, Doubt, Misconfigured, Poison, Unavailable
from pipeline.health import Health
from pipeline.kafka_clients import (
    admin_config,
    consumer_config,
    group_name,
    log_error,
    producer_config,
    to_error,
    topic_name,
)
from pipeline.policy.api import Policy
from pipeline.policy.judge import RulePolicy
from pipeline.policy_groups import GroupsTopic
from pipeline.policy_source import Refused, Watch
from pipeline.records import Ingest
from pipeline.registry import open_schemas
from pipeline.settings import Policy as PolicySettings
from pipeline.settings import Settings
from pipeline.stages.transform import Partition

CALL_TIMEOUT_S: Final = 30.0
IDLE_POLL_S: Final = 0.1
PAUSE_S: Final = 0.003
"""From a commit to the next transaction. One that begins before the broker has written the last one's markers is refused,
and librdkafka then waits 20 ms: at 200 events/s that was the larger part of a verdict's latency."""
LONGEST_S: Final = 2.0
"""After so long a batch ends where it is, however slow its events are to judge: the broker aborts one of 10 s."""
BACKOFF_S: Final = 1.0
FENCED_AT_MOST: Final = 5
"""So many sessions in a row that ended at once because another producer took the slot: it has two workers."""
SHORT_SESSION_S: Final = 20.0
MOST_DETAIL: Final = 1_000
"""Characters of a finding's detail that say why a policy was refused."""
NO_POLICY: Final = PolicySettings()

log = structlog.get_logger(__name__)


def run_transform(
    settings: Settings, stop: threading.Event, health: Health | None = None, policy: Policy | None = None
) -> None:
    """Run one worker until `stop` is set.

    Args:
        settings: the settings; `worker.slot` must be this worker's alone.
        stop: ends the worker after the transaction that it is in.
        health: told of every turn of the loop, and of what is missing.
        policy: the policy in force; None for that of the settings.

    Raises:
        Misconfigured: topics, settings or the slot are not as they must be.
    """
    health = health or Health()
    groups = GroupsTopic(settings).read if settings.policy.groups_topic else None
    watch = Watch(
        settings.policy if policy is None else NO_POLICY, lambda ready: _check_routes(settings, ready), groups
    )
    if policy is not None:
        watch.policy = policy
    try:
        _run_sessions(settings, stop, health, watch)
    finally:
        watch.close()


def _run_sessions(settings: Settings, stop: threading.Event, health: Health, watch: Watch) -> None:
    fenced = 0
    gc.collect()
    gc.freeze()  # a million ids in the index make each full collection cost seconds, and there is no cycle to find
    gc.disable()
    while not stop.is_set():
        began = time.monotonic()
        health.beat()
        try:
            with Session(settings, stop, health, watch) as session:
                session.run()
            fenced = 0
        except (Doubt, Unavailable) as error:
            health.beat()
            metrics.RESTARTS.labels(type(error).__name__).inc()
            health.missing("session", str(error))
            log.warning("session ended, the next begins from the journal", why=str(error), cause=type(error).__name__)
            fenced = fenced + 1 if "FENCED" in str(error) and time.monotonic() - began < SHORT_SESSION_S else 0
            if fenced >= FENCED_AT_MOST:
                raise Misconfigured(f"another worker uses slot {settings.worker.slot}: each needs its own") from None
            gc.collect()
            stop.wait(BACKOFF_S)
        except Poison as error:
            raise Misconfigured(f"the journal cannot be read: {error}") from None


class Session:
    """One consumer, one producer, and the partitions that they work on; a context manager."""

    def __init__(self, settings: Settings, stop: threading.Event, health: Health, watch: Watch) -> None:
        self._settings, self._stop, self._health, self._watch = settings, stop, health, watch
        admin = AdminClient(admin_config(settings))
        topics.check(settings, admin, topics.WORKER_TIMEOUT_S)
        self._topic = topic_name(settings, "events")
        schemas = open_schemas(settings.kafka)
        tools = assemble.tools(settings, schemas, partitions=settings.kafka.partitions, topic=self._topic)
        self._heads = assemble.codec(schemas, "head")
        self._partitions: dict[int, Partition] = {}
        self._turns: dict[int, int] = {}
        self._turn = 0
        self._gaps: dict[int, int] = {}
        self._to_seek: dict[int, Partition] = {}
        self._pending: list[Message] = []
        self._committed = 0.0
        self._producer = self._make_producer()
        self._findings = assemble.codec(schemas, "finding")
        self._lineage = topics.lineage(admin, settings)
        rebuilder = Rebuilder(
            settings,
            self._lineage,
            self._heads,
            assemble.codec(schemas, "journal"),
            lambda head: assemble.partition(settings, tools, head),
        )
        self._rebuilds = RebuildThread(rebuilder)
        self._consumer = Consumer(
            consumer_config(
                settings,
                group_name(settings, "transform"),
                auto_offset_reset="error",
                fetch_wait_max_ms=100,
                queued_max_messages_kbytes=131_072,
                fetch_queue_backoff_ms=10,
                error_cb=self._on_error,
            )
        )
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rebuilds.__exit__()
        self._consumer.close()
        metrics.PARTITIONS.set(0)

    def run(self) -> None:
        """Work until told to stop.

        Raises:
            Doubt, Unavailable: the session is at its end; state in memory is worth nothing.
            Misconfigured: waiting does not help.
        """
        try:
            while not self._stop.is_set():
                self._health.beat()
                self._take_rebuilt()
                if (refused := self._watch.take()) is not None:
                    self._tell_refused(refused)
                messages = self._next_batch()
                if messages or self._gaps:
                    self._transact(messages)
        except KafkaException as error:
            metrics.TRANSACTIONS.labels("unknown").inc()
            raise _session_error(error) from None

    # -- the group -----------------------------------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """New partitions wait, paused, until their state is back."""
        # the lowest offset that is there: whatever is fetched before the pause was journaled, and is skipped
        consumer.incremental_assign(
            [TopicPartition(self._topic, one.partition, OFFSET_BEGINNING) for one in partitions]
        )
        consumer.pause(partitions)
        for one in partitions:
            self._turn += 1
            self._turns[one.partition] = self._turn
            self._rebuilds.want(one.partition, self._turn)
        self._show_assignment()

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """No transaction is open while the group is polled, so there is nothing to finish: forget."""
        gone = {one.partition for one in partitions}
        for number in gone:
            self._turns.pop(number, None)
            self._to_seek.pop(number, None)
            self._gaps.pop(number, None)
            if self._partitions.pop(number, None) is not None:
                for gauge in (metrics.STATE_ENTRIES, metrics.STATE_BYTES, metrics.SECONDS_BEHIND):
                    gauge.remove(str(number))
        self._pending = [message for message in self._pending if message.partition() not in gone]
        consumer.incremental_unassign(partitions)
        self._show_assignment()

    def _show_assignment(self) -> None:
        metrics.PARTITIONS.set(len(self._turns))
        missing = len(self._turns) - len(self._partitions)
        if not self._turns:
            self._health.missing("partitions", "none assigned")
        elif missing:
            self._health.missing("partitions", f"{missing} of {len(self._turns)} are being rebuilt")
        else:
            self._health.there("partitions", "session")

    def _take_rebuilt(self) -> None:
        while (done := self._rebuilds.done()) is not None:
            number, turn, rebuilt = done
            if self._turns.get(number) != turn:
                continue  # it was taken away meanwhile
            self._to_seek[number] = rebuilt.state
            if rebuilt.gone_until >= 0:
                log.error(
                    "ingest records are gone",
                    partition=number,
                    first=rebuilt.state.head.offset + 1,
                    last=rebuilt.gone_until,
                )
                self._gaps[number] = rebuilt.gone_until
        for number, state in list(self._to_seek.items()):
            following = max(state.head.offset, self._gaps.get(number, -1)) + 1
            try:
                self._consumer.seek(TopicPartition(self._topic, number, following))
            except KafkaException as error:
                if error.args[0].code() == KafkaError._STATE:  # noqa: SLF001 - its public name
                    continue  # not being fetched yet; the next turn tries again
                raise
            self._consumer.resume([TopicPartition(self._topic, number)])
            self._partitions[number] = self._to_seek.pop(number)
            log.info("partition is ready", partition=number, offset=following, entries=state.merge.entries)
            self._show_assignment()

    def _next_batch(self) -> list[Message]:
        """What is there, at once, up to a batch; an empty list after a short wait for nothing."""
        if self._pending:
            further = self._consumer.poll(0)  # serves the group, which may take pending ones away
            messages, self._pending = self._pending, []
            return [*messages, further] if further is not None and self._is_record(further) else messages
        first = self._consumer.poll(IDLE_POLL_S if not self._gaps else 0)
        if first is None:
            return []
        pause = max(0.0, self._committed + PAUSE_S - time.monotonic())
        more = self._consumer.consume(self._settings.transform.batch_events - 1, timeout=pause)
        return [message for message in (first, *more) if self._is_record(message)]

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            raise Doubt(f"partition {message.partition()}: its next record is gone")
        if error.fatal() or not error.retriable():
            raise to_error(error, "consume")
        return False

    # -- one transaction -----------------------------------------------------------------------------------------

    def _transact(self, messages: Sequence[Message]) -> None:
        began = time.monotonic()
        # 1. A transaction is only open from here to its commit, never while the group is polled.
        self._producer.begin_transaction()
        outbox = Outbox(self._producer, self._settings)
        self._suspect = False
        # 2. Everything that an event makes is in the same transaction.
        touched = self._put_gaps(outbox)
        taken = 0
        policy = self._watch.policy
        for message in messages:
            if outbox.bytes >= self._settings.transform.batch_bytes or time.monotonic() - began > LONGEST_S:
                break
            taken += 1
            number = message.partition()
            state = self._partitions.get(number)  # type: ignore[arg-type]
            if state is None or message.offset() <= state.journal.offset:  # type: ignore[operator]
                continue  # taken away meanwhile, or journaled already
            step = state.process(_ingest(message), policy)
            outbox.put(step, number)  # type: ignore[arg-type]
            touched[number] = state  # type: ignore[index]
        self._pending = [message for message in messages[taken:] if message.partition() in self._partitions]
        # 3. The heads say what is journaled: they, not the group's offsets, decide where a successor goes on.
        for number, state in touched.items():
            outbox.send("heads", str(number).encode(), self._heads.encode(asdict(state.head)), number)
        # 4. All must be acknowledged first: else step 5 waits some 50 ms for what is in flight.
        outbox.flush(CALL_TIMEOUT_S)
        # 5. The group refuses a zombie's offsets, and with them its transaction. Not if they name neither member nor
        #    generation: those a broker takes from anybody. Once lost, the member id stays lost until the next poll.
        group = self._consumer.consumer_group_metadata()
        if not self._consumer.memberid():
            raise Doubt("no longer a member of the group")
        self._producer.send_offsets_to_transaction(
            [TopicPartition(self._topic, number, state.journal.offset + 1) for number, state in touched.items()],
            group,
            CALL_TIMEOUT_S,
        )
        # 6. Now it counts, all of it or nothing.
        self._producer.commit_transaction(CALL_TIMEOUT_S)
        self._committed = time.monotonic()
        for number in touched:
            self._gaps.pop(number, None)
        self._measure(outbox, touched, began)
        # 7. A commit that was sent twice may arrive once more and end a later transaction: another epoch refuses it.
        self._renew_after_trouble()

    def _renew_after_trouble(self) -> None:
        self._producer.poll(0)  # has trouble during the commit itself reported
        if self._suspect:
            log.warning("connection trouble during a transaction that was committed: a new producer")
            self._producer = self._make_producer()

    def _tell_refused(self, refused: Refused) -> None:
        """Raise the alarm in a transaction of its own; it is about no event, and has no place in the journal."""
        slot, now = self._settings.worker.slot, int(time.time() * 1000)
        note = {
            "finding_id": f"policy_refused/{self._lineage}/{slot}/{refused.digest}/{self._watch.policy.digest}/{now}",
            "rule": "policy_refused",
            "severity": "high",
            "person": "pipeline",
            "event_id": "",
            "conversation": "",
            "spans": [],
            "detail": f"worker {slot}: {refused.why[:MOST_DETAIL]}",
            "lineage": self._lineage,
            "partition": -1,
            "sequence": -1,
            "found_at": now,
        }
        self._suspect = False
        self._producer.begin_transaction()
        outbox = Outbox(self._producer, self._settings)
        outbox.send("findings", b"pipeline", self._findings.encode(note))
        outbox.flush(CALL_TIMEOUT_S)
        self._producer.commit_transaction(CALL_TIMEOUT_S)
        self._watch.told(refused)
        outbox.count()
        self._renew_after_trouble()

    def _put_gaps(self, outbox: Outbox) -> dict[int, Partition]:
        touched: dict[int, Partition] = {}
        for number, until in self._gaps.items():
            state = self._partitions.get(number)
            if state is not None:
                outbox.put(state.gap(until, int(time.time() * 1000)), number)
                touched[number] = state
        return touched

    def _measure(self, outbox: Outbox, touched: dict[int, Partition], began: float) -> None:
        now = time.time()
        outbox.count()
        metrics.TRANSACTIONS.labels("committed").inc()
        metrics.BATCH_RECORDS.observe(outbox.steps)
        metrics.BATCH_SECONDS.observe(time.monotonic() - began)
        for number, state in touched.items():
            label = str(number)
            metrics.STATE_ENTRIES.labels(label).set(state.merge.entries)
            metrics.STATE_BYTES.labels(label).set(state.merge.bytes)
            metrics.SECONDS_BEHIND.labels(label).set(max(0.0, now - state.journal.arrival / 1000))
            if forgotten := state.merge.take_forgotten():
                metrics.FORGOTTEN.labels(label).inc(forgotten)
                log.warning("memory limit: messages forgotten early", partition=number, messages=forgotten)

    # -- the producer --------------------------------------------------------------------------------------------

    def _make_producer(self) -> Producer:
        """A producer with a new epoch: whatever an earlier one of this slot left open is aborted."""
        producer = Producer(
            producer_config(
                self._settings,
                transactional_id=f"{group_name(self._settings, 'transform')}-{self._settings.worker.slot}",
                transaction_timeout_ms=self._settings.transform.transaction_timeout_ms,
                queue_buffering_max_messages=500_000,
                queue_buffering_max_kbytes=262_144,
                linger_ms=5,
                batch_num_messages=100_000,
                error_cb=self._on_error,
            )
        )
        try:
            producer.init_transactions(CALL_TIMEOUT_S)
        except KafkaException as error:
            raise _session_error(error) from None
        self._suspect = False
        return producer

    def _on_error(self, error: KafkaError) -> None:
        self._suspect = True
        log_error(error)


def _check_routes(settings: Settings, policy: RulePolicy) -> None:
    """A policy that sends events to topics which are not there would abort every transaction."""
    routes = policy.routes
    if routes and (missing := topics.missing_routes(settings, routes)):
        raise Misconfigured(f"no topic {', '.join(missing)} for the policy's routes: run `compliance topics create`")


def _ingest(message: Message) -> Ingest:
    offset, timestamp = message.offset(), message.timestamp()[1]
    key, value = message.key(), message.value()
    return Ingest(offset, timestamp, key, value, message.headers())  # type: ignore[arg-type]


def _session_error(error: KafkaException) -> ComplianceError:
    """Whatever a transaction call raises leaves its outcome in doubt, unless a person has to mend something."""
    found = to_error(error.args[0], "transaction")
    return found if isinstance(found, Misconfigured) else Doubt(str(found))
