"""Archive workers in threads and processes, with sinks that write down what they are given, on a real Kafka."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, Producer, TopicPartition

from pipeline.archive.sink import Cut
from pipeline.engines.drain import run_archive
from pipeline.engines.inserter import ArchiveSink
from pipeline.health import Health
from pipeline.kafka_clients import consumer_config, group_name, producer_config, topic_name
from pipeline.settings import Settings
from pipeline.status import status

ROOT = Path(__file__).resolve().parents[2]


def settings_for(bootstrap: str, prefix: str, partitions: int = 4, **sections: dict[str, Any]) -> Settings:
    """Settings of a worker that makes small cuts soon, and whose loss is noticed soon."""
    kafka = {"bootstrap_servers": bootstrap, "prefix": prefix, "partitions": partitions, "session_timeout_ms": 2000}
    archive = {"batch_rows": 50, "linger_ms": 50, "retry_max_s": 0.2}
    given = {**sections, "kafka": kafka | sections.get("kafka", {}), "archive": archive | sections.get("archive", {})}
    return Settings(**given)  # type: ignore[arg-type]


def fill(settings: Settings, route: str, values: Sequence[tuple[int, bytes]], transaction: int = 37) -> None:
    """Produce (partition, value) in transactions of so many records: markers stand between, and at the ends."""
    topic = topic_name(settings, route)
    producer = Producer(producer_config(settings, transactional_id=f"fill-{topic}-{time.time_ns()}"))
    producer.init_transactions(30)
    for at in range(0, len(values), transaction):
        producer.begin_transaction()
        for partition, value in values[at : at + transaction]:
            producer.produce(topic, value, partition=partition)
        producer.commit_transaction(30)


def numbered(count: int, partitions: int, start: int = 0) -> list[tuple[int, bytes]]:
    """Values whose number within the partition is in them."""
    return [
        (number % partitions, b"%d/%d" % (number % partitions, number // partitions))
        for number in range(start, start + count)
    ]


class Notebook:
    """A sink that keeps cuts in memory, for several workers at once; `before` is called with each cut."""

    def __init__(self, before: Callable[[Cut], None] | None = None) -> None:
        self.cuts: list[Cut] = []
        self.outages: list[tuple[datetime, datetime, str]] = []
        self.before = before

    def __call__(self, _settings: Settings, _worker: str) -> ArchiveSink:
        return self

    def write(self, cut: Cut) -> int:
        if self.before is not None:
            self.before(cut)
        self.cuts.append(cut)
        return len(cut.values)

    def outage(self, began: datetime, ended: datetime, error: str) -> None:
        self.outages.append((began, ended, error))


class Worker:
    """An archive worker in a thread; a context manager that stops it, and raises what it raised."""

    def __init__(self, settings: Settings, sink: Callable[[Settings, str], ArchiveSink] | None) -> None:
        self._stop = threading.Event()
        self.health = Health()
        self.error: BaseException | None = None

        def run() -> None:
            try:
                run_archive(settings, self._stop, sink, self.health)
            except BaseException as error:  # noqa: BLE001 - it is raised again in the test
                self.error = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def ended(self) -> bool:
        return not self._thread.is_alive()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.error is not None and kind is None:
            raise self.error


_PROCESS = """
import json, os, signal, sys, threading, time
from pathlib import Path
from pipeline.engines.drain import run_archive
from pipeline.health import Health
from pipeline.settings import Settings

settings, folder, die_at, die_before, hold = Settings(**json.loads(sys.argv[1])), Path(sys.argv[2]), *json.loads(sys.argv[3])

class Sink:
    cuts = 0
    def write(self, cut):
        Sink.cuts += 1
        die = Sink.cuts == die_at
        if die and die_before:
            note(cut, "begun")
            os.kill(os.getpid(), signal.SIGKILL)
        if hold:
            note(cut, "begun")
            while not (folder / "go").exists():
                time.sleep(0.01)
        note(cut, "written")
        if die:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(cut.values)
    def outage(self, *_):
        pass

def note(cut, what):
    line = {"what": what, "topic": cut.topic, "partition": cut.partition, "first": cut.first, "last": cut.last,
            "values": [value.decode() for value in cut.values]}
    with (folder / "cuts.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\\n")

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
run_archive(settings, stop, lambda *_: Sink(), Health())
"""


class Process:
    """An archive worker in a process of its own, which kills itself at its n-th cut, before or after writing it.

    `hold`: each write waits for the file `go` in the folder.
    """

    def __init__(
        self, settings: Settings, folder: Path, *, die_at: int = 0, die_before: bool = True, hold: bool = False
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._errors = (folder / "stderr").open("ab")
        arguments = [settings.model_dump_json(), str(folder), json.dumps([die_at, die_before, hold])]
        self.process = subprocess.Popen(
            [sys.executable, "-c", _PROCESS, *arguments], cwd=ROOT, stderr=self._errors, env=os.environ
        )

    def noted(self, what: str) -> list[Cut]:
        """Cuts that it has begun or written, from its file."""
        file = self.folder / "cuts.jsonl"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        return [
            Cut(one["topic"], one["partition"], one["first"], one["last"], [value.encode() for value in one["values"]])
            for one in lines
            if one["what"] == what
        ]

    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Stop it, if it still runs; its exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        status = self.process.wait(60)
        self._errors.close()
        return status


def eventually(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.05)


def drained(settings: Settings, timeout_s: float = 60.0) -> None:
    """Wait until all topics of the archive are archived."""
    eventually(
        lambda: not any(lag for stage, lag in status(settings)["lag"].items() if stage != "transform"), timeout_s
    )


def committed(settings: Settings, route: str, partition: int) -> tuple[int, str]:
    """The archive group's offset and its metadata."""
    consumer = Consumer(consumer_config(settings, group_name(settings, "archive")))
    try:
        (found,) = consumer.committed([TopicPartition(topic_name(settings, route), partition)], timeout=30)
        return found.offset, found.metadata or ""
    finally:
        consumer.close()


def distinct(cuts: Sequence[Cut]) -> list[Cut]:
    """Each cut once, in the order of partition and offset: a sink writes a repeated one only once."""
    found = {(cut.topic, cut.partition, cut.first, cut.last): cut for cut in cuts}
    return [found[key] for key in sorted(found)]


def check_exact(cuts: Sequence[Cut], route: str, produced: Sequence[tuple[int, bytes]]) -> None:
    """Every record is in exactly one cut, in order; a cut that was repeated had the same bounds and records."""
    seen: dict[tuple[str, int, int, int], list[bytes]] = {}
    for cut in cuts:
        assert seen.setdefault((cut.topic, cut.partition, cut.first, cut.last), list(cut.values)) == list(cut.values)
    archived: dict[int, list[bytes]] = {}
    for cut in distinct([cut for cut in cuts if cut.topic == route]):
        archived.setdefault(cut.partition, []).extend(cut.values)
    expected: dict[int, list[bytes]] = {}
    for partition, value in produced:
        expected.setdefault(partition, []).append(value)
    assert {partition: len(values) for partition, values in archived.items()} == {
        partition: len(values) for partition, values in expected.items()
    }
    assert archived == expected
