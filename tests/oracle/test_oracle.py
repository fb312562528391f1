"""Captures with a known answer through the whole pipeline: embedded, and on a real Kafka and ClickHouse over HTTP."""

from __future__ import annotations

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.oracle.__main__ import Run, check_file, simulated
from tests.support import shared
from tests.support.pipeline import SAMPLE, Captures, Pipeline, settings_for
from tests.support.servers import Broker, Database

LINES = 20_000
FEWEST = 0.05
"""Share of the events that each partition has at least; the sample has too few conversations for more than some."""
RATE = 1_200.0
CHANGES = (("leave", "transform", 2), ("leave", "archive", 1), ("join", "transform", 2), ("leave", "transform", 0),
           ("join", "archive", 1), ("join", "transform", 3), ("leave", "archive", 0), ("join", "transform", 0),
           ("join", "archive", 0), ("leave", "transform", 1))  # fmt: skip


@pytest.mark.clickhouse
def test_the_sample_embedded(tmp_path: Path) -> None:
    said, found = check_file(SAMPLE.plain(tmp_path), tmp_path)
    print(said)
    assert found == []


@pytest.mark.clickhouse
@pytest.mark.slow
@pytest.mark.skipif(shared.missing() is not None, reason=str(shared.missing()))
@pytest.mark.parametrize("seed", [1, 2])
def test_a_corpus_embedded(seed: int) -> None:
    said, found = simulated(Run("ubuntu-irc", seed, 12, LINES))
    print(said)
    assert found == []


@pytest.mark.kafka
@pytest.mark.clickhouse
@pytest.mark.slow
def test_on_kafka_while_workers_come_and_go(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, tmp_path: Path, seed: int
) -> None:
    captures, share = SAMPLE.plain(tmp_path), 0.0
    if shared.missing() is None:
        print(shared.simulate("ubuntu-irc", tmp_path, seed=seed, limit=LINES))
        captures, share = Captures(tmp_path / "events.jsonl", tmp_path / "truth.jsonl"), FEWEST
    settings = settings_for(kafka.bootstrap, clickhouse.url, prefix=prefix, database=database)
    pauses = random.Random(seed)
    with Pipeline(settings, tmp_path / "run") as pipeline:
        for slot in range(3):
            pipeline.start("transform", slot)
        for slot in range(2):
            pipeline.start("archive", slot)
        with pipeline.feeding(captures, min(RATE, len(captures.records) / 30)) as feeder:
            pipeline.follower.wait_for(1)
            made = 0
            for change, stage, slot in CHANGES:
                time.sleep(pauses.uniform(0.5, 3.0))
                if not feeder.is_alive():
                    break
                (pipeline.start if change == "join" else pipeline.stop)(stage, slot)
                made += 1
        took = pipeline.drain(captures, 180)
        assert made >= 5, f"only {made} joins and leaves while events flowed"
        shares = Counter(one.partition for one in pipeline.ingested())
        fewest = min(shares[number] for number in range(settings.kafka.partitions))
        assert fewest >= max(1, share * len(captures.records)), shares
        print(
            f"{made} joins and leaves; drained {took:.1f} s after the last event; partitions {sorted(shares.values())}"
        )
        assert pipeline.faults(captures) == []
