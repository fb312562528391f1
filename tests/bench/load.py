"""What the benchmarks run on: captures of a real log, made once a run, and put into topics as fast as can be.

Where the maintainers' shared folder lies beside the checkout, the captures are those of the DuraSpace log; without it,
the sample that the package brings along, repeated. A repetition has ids and conversations of its own and is later in time.
"""

from __future__ import annotations

import gzip
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from pipeline import topics
from pipeline.jsonl import parse_line
from pipeline.kafka_clients import admin_config, producer_config, topic_name
from pipeline.settings import Kafka, Settings
from pipeline.topology import ROUTES

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "pipeline" / "local" / "sample" / "events.jsonl.gz"
FULL = 590_000
"""Events where no number is given: the DuraSpace captures four times."""
PARTITIONS = 4
PAIR = struct.Struct("<II")


@dataclass(frozen=True)
class Input:
    """A file of captures and how often it is run; `pairs` holds the keys and values of all that, encoded."""

    name: str
    file: Path
    repeat: int
    pairs: Path
    events: int


def make_input(folder: Path, events: int | None) -> Input:
    """`events`: about so many; None: the captures of the whole log, four times."""
    source, name = log_as_captures(folder, 8)
    lines = [line for line in source.read_bytes().splitlines(keepends=True) if not line.isspace()]
    if events is not None and events < len(lines):
        del lines[events:]
        source = folder / "some.jsonl"
        source.write_bytes(b"".join(lines))
    repeat = max(1, round((events or FULL) / len(lines)))
    pairs, count = folder / "pairs", 0
    with pairs.open("wb") as out:
        for key, value in captures(source, repeat):
            out.write(PAIR.pack(len(key), len(value)) + key + value)
            count += 1
    return Input(f"{name}, {len(lines):,} captures x {repeat}", source, repeat, pairs, count)


def log_as_captures(folder: Path, recipients: int) -> tuple[Path, str]:
    """A file of captures, of messages to at most so many `recipients`, and its name for a person."""
    if not SHARED.is_dir():
        sample = folder / "sample.jsonl"
        sample.write_bytes(gzip.decompress(SAMPLE.read_bytes()))
        return sample, "the sample in pipeline/local/sample (no shared folder here)"
    made = folder / f"max-recipients-{recipients}"
    log = SHARED / "corpora" / "duraspace-irc" / "chat.jsonl.gz"
    tool = [sys.executable, str(SHARED / "tools" / "simulate_captures.py"), str(log), str(made)]
    subprocess.run([*tool, "--max-recipients", str(recipients)], check=True, capture_output=True)
    return made / "events.jsonl", f"DuraSpace, max-recipients {recipients}"


def captures(source: Path, repeat: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of the captures in a file, `repeat` times over; it holds no more than one line."""
    span = _span(source)
    for turn in range(repeat):
        with source.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                parsed = parse_line(_again(line, turn, span) if turn else line, source=source.name, number=number)
                yield parsed.conversation.encode(), parsed.value


def _span(source: Path) -> timedelta:
    first = last = b""
    with source.open("rb") as lines:
        for line in lines:
            first, last = first or line, line
    at = [datetime.fromisoformat(orjson.loads(line)["captured_at"]) for line in (first, last)]
    return at[1] - at[0] + timedelta(hours=2)


def _again(line: bytes, turn: int, span: timedelta) -> bytes:
    event: dict[str, Any] = orjson.loads(line)
    for name in ("sent_at", "captured_at"):
        event[name] = (datetime.fromisoformat(event[name]) + turn % 40 * span).isoformat()  # no later than 2200
    for name in ("event_id", "conversation", "origin_id"):
        if event.get(name):
            event[name] += f"-{turn}"
    event["stanza_ids"] = {by: f"{one}-{turn}" for by, one in event.get("stanza_ids", {}).items()}
    return orjson.dumps(event)


def read_pairs(pairs: Path) -> Iterator[tuple[bytes, bytes]]:
    with pairs.open("rb", buffering=1 << 20) as file:
        while head := file.read(PAIR.size):
            key, value = PAIR.unpack(head)
            yield file.read(key), file.read(value)


def make_topics(bootstrap: str, prefix: str) -> Settings:
    """All topics of a pipeline under a prefix of its own, and the settings that name them."""
    settings = Settings(kafka=Kafka(bootstrap_servers=bootstrap, prefix=prefix, partitions=PARTITIONS))
    topics.create(settings)
    return settings


def drop_topics(settings: Settings) -> None:
    """The disk is for the next measurement."""
    names = [topic_name(settings, route) for route in ROUTES]
    admin = AdminClient(admin_config(settings))
    for done in admin.delete_topics(names).values():
        done.result()
    time.sleep(1)


def produce(settings: Settings, made: Input, limit: int | None = None) -> int:
    """Put the events into the ingest topic, all acknowledged; how many."""
    producer = Producer(producer_config(settings, linger_ms=20, queue_buffering_max_messages=1_000_000))
    topic, count = topic_name(settings, "events"), 0
    for key, value in islice(read_pairs(made.pairs), limit):
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    if producer.flush(120):
        raise TimeoutError("the broker did not take the events")
    return count
