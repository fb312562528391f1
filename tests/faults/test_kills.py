"""Workers and the broker killed or frozen while events flow; each run ends with the oracle."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.health import STUCK
from pipeline.local.kafka import LocalKafka
from tests.support import shared
from tests.support.pipeline import SAMPLE, Captures, Pipeline, settings_for
from tests.support.servers import Broker, Database

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.slow, pytest.mark.faults]
KILLS = 20
SESSION_S = 3.0
DRAIN_S = 180.0


def some_captures(directory: Path, lines: int, seed: int) -> Captures:
    """Captures of a corpus where there is one, else the sample."""
    if shared.missing() is not None:
        return SAMPLE.plain(directory)
    print(shared.simulate("ubuntu-irc", directory, seed=seed, limit=lines))
    return Captures(directory / "events.jsonl", directory / "truth.jsonl")


def test_twenty_kills_at_random_moments(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, tmp_path: Path, seed: int
) -> None:
    captures = some_captures(tmp_path, 5_000, seed)
    chance = random.Random(seed)
    settings = settings_for(kafka.bootstrap, clickhouse.url, prefix=prefix, database=database, session_s=SESSION_S)
    with Pipeline(settings, tmp_path / "run") as pipeline:
        for slot in range(2):
            pipeline.start("transform", slot)
            pipeline.start("archive", slot)
        with pipeline.feeding(captures, len(captures.records) / 80) as feeder:
            pipeline.follower.wait_for(1)
            kills = 0
            while kills < KILLS and feeder.is_alive():
                time.sleep(chance.uniform(1.0, 4.5))
                kills += pipeline.kill(chance.choice(("transform", "transform", "archive")), chance.randrange(2))
        took = pipeline.drain(captures, DRAIN_S)
        print(f"seed {seed}: {kills} kills, drained {took:.1f} s after the last event")
        assert kills == KILLS
        assert pipeline.faults(captures) == []


def test_zombies(kafka: Broker, clickhouse: Database, prefix: str, database: str, tmp_path: Path, seed: int) -> None:
    captures = some_captures(tmp_path, 2_000, seed)
    chance = random.Random(seed)
    settings = settings_for(kafka.bootstrap, clickhouse.url, prefix=prefix, database=database, session_s=SESSION_S)
    with Pipeline(settings, tmp_path / "run") as pipeline:
        for slot in range(2):
            pipeline.start("transform", slot)
            pipeline.start("archive", slot)
        with pipeline.feeding(captures, len(captures.records) / 30) as feeder:
            pipeline.follower.wait_for(100)
            frozen = 0
            while feeder.is_alive() and frozen < 3:
                pair = [pipeline.workers[stage, chance.randrange(2)] for stage in ("transform", "archive")]
                for worker in pair:
                    worker.pause()
                time.sleep(SESSION_S + chance.uniform(1.0, 5.0))
                for worker in pair:
                    worker.resume()
                frozen += 1
                time.sleep(chance.uniform(1.0, 4.0))
        took = pipeline.drain(captures, DRAIN_S)
        print(f"seed {seed}: {frozen} freezes of each, drained {took:.1f} s after the last event")
        assert frozen == 3
        assert pipeline.faults(captures) == []


def test_the_broker_dies(
    kafka_factory: Callable[..., LocalKafka], clickhouse: Database, database: str, tmp_path: Path, seed: int
) -> None:
    captures = some_captures(tmp_path, 2_000, seed)
    chance = random.Random(seed)
    broker = kafka_factory()
    settings = settings_for(broker.bootstrap, clickhouse.url, database=database)
    with Pipeline(settings, tmp_path / "run") as pipeline:
        for slot in range(2):
            pipeline.start("transform", slot)
        pipeline.start("archive", 0)
        with pipeline.feeding(captures, len(captures.records) / 30) as feeder:
            pipeline.follower.wait_for(100)
            for share in (chance.uniform(0.1, 0.4), chance.uniform(0.5, 0.9)):
                feeder.wait_for(int(share * len(captures.records)))
                assert feeder.is_alive()
                broker.kill()
                time.sleep(chance.uniform(0.0, 2.0))
                broker.start()
        took = pipeline.drain(captures, DRAIN_S)
        print(f"seed {seed}: two deaths of the broker, drained {took:.1f} s after the last event; {pipeline.deaths}")
        # Where a call to Kafka does not come back, the worker ends itself.
        assert pipeline.faults(captures, STUCK) == []
