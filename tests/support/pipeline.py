"""The pipeline as it is run: workers in processes of their own on a real Kafka and ClickHouse, events at a rate, the oracle.

with Pipeline(settings, directory) as pipeline:
    pipeline.prepare()
    pipeline.start("transform", 0)
    pipeline.start("archive", 0)
    with pipeline.feeding(captures, rate=1_000):
        pipeline.kill("transform", 0)          # comes back by itself
    pipeline.drain(captures, timeout_s=120)
    assert pipeline.faults(captures) == []
"""

from __future__ import annotations

import gzip
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from pipeline import topics
from pipeline.archive.client import connect
from pipeline.archive.migrations import migrate
from pipeline.codec import RecordCodec
from pipeline.errors import Unavailable
from pipeline.jsonl import parse_line, read_lines
from pipeline.kafka_clients import consumer_config, topic_name
from pipeline.kafka_read import read_to_end
from pipeline.local.process import LocalProcess
from pipeline.registry import load_schema, open_schemas
from pipeline.settings import ClickHouse, Kafka, Settings, Transform
from pipeline.status import Status, status
from tests.support import shared
from tests.support.truth import EXPORTS, Archive, Ingested, Row, faults, journal_faults, read_rows

ROOT = Path(__file__).parents[2]
KILLED = -9
LATE_S = 0.5
logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # hundreds of lines for each broker that is killed
Name = tuple[str, int]
"""Of a worker: its stage and its slot."""


@dataclass(frozen=True)
class Captures:
    """A file of events and the answer beside it."""

    events: Path
    truth: Path

    @cached_property
    def rows(self) -> list[Row]:
        """The events as JSON has them."""
        return read_rows(self.events)

    @cached_property
    def records(self) -> list[tuple[bytes, bytes]]:
        """Key and value of each, as a producer sends them."""
        lines = read_lines(str(self.events))
        parsed = [parse_line(line, source=self.events.name, number=number) for number, line in lines]
        return [(one.conversation.encode(), one.value) for one in parsed]

    def part(self, number: int, of: int) -> Captures:
        """One of so many parts of about the same length, to be fed alone."""
        made = Captures(self.events, self.truth)
        made.__dict__["records"] = self.records[
            number * len(self.records) // of : (number + 1) * len(self.records) // of
        ]
        return made

    def plain(self, directory: Path) -> Captures:
        """The same, not compressed."""
        made = Captures(directory / "events.jsonl", directory / "truth.jsonl")
        for packed, plain in ((self.events, made.events), (self.truth, made.truth)):
            plain.write_bytes(gzip.decompress(packed.read_bytes()))
        return made


SAMPLE = Captures(ROOT / "pipeline/local/sample/events.jsonl.gz", ROOT / "pipeline/local/sample/truth.jsonl.gz")
"""Always there; the corpora beside the checkout may not be."""


def settings_for(
    bootstrap: str,
    clickhouse: str,
    *,
    prefix: str = "im",
    database: str = "compliance",
    session_s: float = 6.0,
    transaction_s: float = 10.0,
) -> Settings:
    """Settings for a run on these servers: 8 partitions and small transactions; 6 s is what a broker allows by default."""
    url = urlsplit(clickhouse)._replace(path=f"/{database}").geturl()
    session_ms, transaction_ms = int(session_s * 1000), int(transaction_s * 1000)
    return Settings(
        kafka=Kafka(bootstrap_servers=bootstrap, prefix=prefix, partitions=8, session_timeout_ms=session_ms),
        clickhouse=ClickHouse(url=url),
        transform=Transform(batch_events=250, transaction_timeout_ms=transaction_ms),
    )


class Pipeline:
    """Workers on one Kafka and one ClickHouse; a context manager that ends them all.

    Args:
        settings: for every worker; slots and the metrics' port are set here.
        directory: for logs and exports.
        routes: compliance servers that a policy will send events to.
    """

    def __init__(self, settings: Settings, directory: Path, routes: Sequence[str] = ()) -> None:
        self.settings, self.directory, self._routes = settings, directory, routes
        self.workers: dict[Name, LocalProcess] = {}
        self.deaths: list[tuple[Name, int]] = []
        """Workers that ended without being told to, and their exit status."""
        self._commands: dict[Name, tuple[list[str], dict[str, str]]] = {}
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self.follower = Follower(settings)
        directory.mkdir(parents=True, exist_ok=True)

    def prepare(self) -> None:
        """Make topics and tables."""
        topics.create(self.settings, self._routes)
        client = connect(self.settings)
        migrate(client, self.settings)
        client.close()

    def __enter__(self) -> Self:
        self.prepare()
        self._supervisor.start()
        self.follower.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end.set()
        self._supervisor.join()
        for worker in self.workers.values():
            if worker.running:
                worker.resume()
            worker.kill()
        self.follower.end()

    # -- workers -------------------------------------------------------------------------------------------------

    def start(self, stage: str, slot: int, *, module: str = "pipeline.cli", env: dict[str, str] | None = None) -> None:
        """Start a worker; whenever it dies, it is started again.

        Args:
            stage: transform or archive.
            slot: of its own in its stage.
            module: what to run in place of the command line, with the same arguments.
            env: for that module.
        """
        name = stage, slot
        command = [sys.executable, "-m", module, "run", stage]
        variables = environment(self.settings) | {"COMPLIANCE_WORKER__SLOT": str(slot), **(env or {})}
        with self._lock:
            self._commands[name] = command, variables
            if name not in self.workers:
                self.workers[name] = LocalProcess(f"{stage}-{slot}", self.directory / f"{stage}-{slot}.log")
            self._run(name)

    def stop(self, stage: str, slot: int) -> None:
        """SIGTERM: the worker leaves cleanly and stays away.

        Raises:
            AssertionError: it did not end with status 0 in time.
        """
        with self._lock:
            self._commands.pop((stage, slot))
        worker = self.workers[stage, slot]
        process = worker._process
        assert process is not None
        worker.stop(60.0)
        assert process.returncode == 0, f"{stage}-{slot} ended with status {process.returncode}: {worker._log_tail()}"

    def kill(self, stage: str, slot: int, *, again: bool = True) -> bool:
        """SIGKILL; `again`: it comes back. Whether it was there to be killed."""
        with self._lock:
            if not again:
                self._commands.pop((stage, slot))
            worker = self.workers[stage, slot]
            was_there = worker.running
            worker.kill()
        return was_there

    def log_of(self, stage: str, slot: int) -> str:
        """What a worker has logged so far, over all its lives."""
        return (self.directory / f"{stage}-{slot}.log").read_text(encoding="utf-8", errors="replace")

    def _run(self, name: Name) -> None:
        command, variables = self._commands[name]
        worker = self.workers[name]
        worker.start(command, lambda: worker.running, timeout_s=5.0, env=variables)

    def _supervise(self) -> None:
        while not self._end.wait(0.2):
            with self._lock:
                for name in self._commands:
                    worker = self.workers[name]
                    if worker.running:
                        continue
                    if worker._process is not None:
                        self.deaths.append((name, worker._process.returncode))
                    worker.kill()  # clears what is left of it
                    self._run(name)

    # -- events --------------------------------------------------------------------------------------------------

    @contextmanager
    def feeding(self, captures: Captures, rate: float) -> Iterator[Feeder]:
        """Feed events at a rate (events/s) while the block runs, and wait for the last of them."""
        feeder = Feeder(self.settings, captures.records, rate)
        feeder.start()
        try:
            yield feeder
        except BaseException:
            feeder.end()
            raise
        feeder.join()
        assert feeder.failed == [], f"not produced: {feeder.failed[:3]}"

    def count(self, route: str) -> int:
        """Committed records of a topic."""
        topic = topic_name(self.settings, route)
        starts = [TopicPartition(topic, number, 0) for number in range(self.settings.kafka.partitions)]
        return sum(1 for _ in read_to_end(self.settings, starts))

    def ingested(self) -> list[Ingested]:
        """All that stands in the ingest topic."""
        codec = RecordCodec(load_schema("event"), open_schemas(self.settings.kafka).id_of("event"))
        topic = topic_name(self.settings, "events")
        starts = [TopicPartition(topic, number, 0) for number in range(self.settings.kafka.partitions)]
        return [
            Ingested(
                _number(message.partition()),
                _number(message.offset()),
                codec.decode(message.value() or b"")["event_id"],
            )
            for message in read_to_end(self.settings, starts)
        ]

    # -- the end of a run ----------------------------------------------------------------------------------------

    def drain(self, captures: Captures, timeout_s: float) -> float:
        """Wait until all is in ClickHouse; the seconds that it took.

        Raises:
            AssertionError: it is not, in time.
        """
        began = time.monotonic()
        now: Status | None = None
        while time.monotonic() < began + timeout_s:
            try:
                now = status(self.settings)
            except (Unavailable, KafkaException):
                continue
            if now["drained"] and self.follower.count >= len(captures.records):
                return time.monotonic() - began
            time.sleep(0.5)
        logs = "\n".join(f"-- {worker.name}\n{worker._log_tail()}" for worker in self.workers.values())
        raise AssertionError(f"not drained after {timeout_s:.0f} s: {now}, {self.follower.count} followed\n{logs}")

    def faults(self, captures: Captures, *allowed: int) -> list[str]:
        """The oracle over all that came of it; empty where everything is as it must be.

        Args:
            captures: what was fed.
            allowed: exit statuses that workers may have had, beside being killed.
        """
        exports = self.directory / "exports"
        export_all(exports, "--clickhouse", self.settings.clickhouse.url)
        archive = Archive.read(exports)
        truth = read_rows(captures.truth)
        found = faults(truth, captures.rows, archive)
        found += journal_faults(self.ingested(), archive.journal)
        found += shared.check_archive(captures.truth, captures.events, exports)
        found += verify("--clickhouse", self.settings.clickhouse.url)
        found += self.follower.faults(len(captures.records))
        found += [
            f"{name} ended by itself with status {code}" for name, code in self.deaths if code not in (KILLED, *allowed)
        ]
        return found


class Feeder(threading.Thread):
    """Produces records in their order, at a rate, until they are all acknowledged."""

    def __init__(self, settings: Settings, records: Sequence[tuple[bytes, bytes]], rate: float) -> None:
        super().__init__(name="feeder")
        self._topic, self._records, self._rate = topic_name(settings, "events"), records, rate
        self._ended = threading.Event()
        self.sent = 0
        self.failed: list[str] = []
        self._producer = Producer(
            {
                "bootstrap.servers": settings.kafka.bootstrap_servers,
                "enable.idempotence": True,  # what a broker's death makes it send again stands there once, in order
                "acks": "all",
                "partitioner": "murmur2_random",
                "delivery.timeout.ms": 300_000,
                "linger.ms": 5,
                "queue.buffering.max.messages": 500,  # while the broker is away the events wait, too
                "log_level": 0,
            }
        )

    def run(self) -> None:
        due = time.monotonic()
        for key, value in self._records:
            due = max(due + 1 / self._rate, time.monotonic() - LATE_S)  # what a dead broker held up is no burst later
            while (ahead := due - time.monotonic()) > 0 and not self._ended.is_set():
                self._producer.poll(min(ahead, 0.05))
            while not self._ended.is_set():
                try:
                    self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
                    break
                except BufferError:
                    self._producer.poll(0.05)
            if self._ended.is_set():
                break
            self.sent += 1
        if left := self._producer.flush(0.0 if self._ended.is_set() else 300.0):
            self.failed.append(f"{left} left")

    def end(self) -> None:
        """Stop early."""
        self._ended.set()
        self.join()

    def wait_for(self, sent: int) -> None:
        """Wait until so many have been handed to the producer."""
        while self.is_alive() and self.sent < sent:
            time.sleep(0.02)

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self.failed.append(error.str())


class Follower(threading.Thread):
    """A read_committed reader of the journal, from before the first record to the end of the run."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(name="follower")
        self._settings = settings
        self._ended = threading.Event()
        self._seen: dict[int, list[int]] = defaultdict(list)
        self.count = 0
        self.error: str | None = None

    def run(self) -> None:
        codec = RecordCodec(load_schema("journal"), open_schemas(self._settings.kafka).id_of("journal"))
        topic = topic_name(self._settings, "journal")
        consumer = Consumer(
            consumer_config(
                self._settings, None, auto_offset_reset="error", fetch_wait_max_ms=100, error_cb=lambda _: None
            )
        )
        consumer.assign([TopicPartition(topic, number, 0) for number in range(self._settings.kafka.partitions)])
        try:
            while not self._ended.is_set():
                for message in consumer.consume(1_000, 0.2):
                    error = message.error()
                    if error is not None:
                        if error.fatal() or not error.retriable():
                            self.error = error.str()
                        continue
                    record = codec.decode(message.value() or b"")
                    self._seen[_number(message.partition())].append(record["sequence"])
                    self.count += 1
        finally:
            consumer.close()

    def end(self) -> None:
        """Stop following."""
        self._ended.set()
        self.join()

    def progress(self, partition: int) -> int:
        """Records seen of a partition."""
        return len(self._seen[partition])

    def wait_for(self, count: int, timeout_s: float = 60.0) -> None:
        """Wait until so many records are committed."""
        until(lambda: self.count >= count, timeout_s, f"{count} journal records")

    def faults(self, records: int) -> list[str]:
        """What the reader saw that it should not have, or did not see."""
        found = [] if self.error is None else [f"the follower was refused: {self.error}"]
        if self.count != records:
            found.append(f"the follower saw {self.count} journal records, not {records}")
        for partition, sequences in sorted(self._seen.items()):
            if sequences != list(range(len(sequences))):
                twice = [one for one, times in Counter(sequences).items() if times > 1]
                jumps = [pair for pair in itertools.pairwise(sequences) if pair[1] != pair[0] + 1]
                found.append(f"the follower saw in partition {partition} twice: {twice[:5]}, out of order: {jumps[:5]}")
        return found


def environment(settings: Settings) -> dict[str, str]:
    """The settings as variables, for a process of its own."""
    found = {}
    given = settings.model_dump(mode="json", exclude_unset=True)
    for section, values in given.items():
        for field, value in values.items():
            text = value if isinstance(value, str) else orjson.dumps(value).decode()
            found[f"COMPLIANCE_{section}__{field}".upper()] = text
    return found | {"COMPLIANCE_METRICS__PORT": "0", "COMPLIANCE_METRICS__HOST": "127.0.0.1"}


def compliance(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line, without settings from this environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COMPLIANCE_")}
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=env,
    )


def export_all(into: Path, *where: str) -> None:
    """Every export into a directory, from --from DIR or --clickhouse URL.

    Raises:
        AssertionError: one of them failed.
    """
    into.mkdir(parents=True, exist_ok=True)
    for what in EXPORTS:
        done = compliance("export", what, *where, "--output", str(into / f"{what}.jsonl"))
        assert done.returncode == 0, f"export {what}: {done.stderr}"


def verify(*where: str) -> list[str]:
    """What `compliance verify` found, a line each; empty: whole."""
    done = compliance("verify", *where)
    return [] if done.returncode == 0 else [f"verify ended with status {done.returncode}: {done.stdout}{done.stderr}"]


def until(holds: Callable[[], Any], timeout_s: float, what: str) -> None:
    """Wait until something holds.

    Raises:
        AssertionError: it does not, in time.
    """
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, f"no {what} within {timeout_s:.0f} s"
        time.sleep(0.05)


def _number(value: int | None) -> int:
    assert value is not None
    return value
