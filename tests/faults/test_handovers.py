"""A transaction that is open while its partitions move on: the zombie that wakes up must change nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.pipeline import SAMPLE, Pipeline, settings_for, until
from tests.support.servers import Broker, Database

pytestmark = [pytest.mark.kafka, pytest.mark.clickhouse, pytest.mark.slow, pytest.mark.faults]
RATE = 120.0
SESSION_S = 3.0
NOTICED_S = SESSION_S + 2
"""So long after a worker's freeze or death its partitions are somebody else's."""
POINTS = (
    "begin_transaction",  # nothing of the transaction has reached the broker: its successor goes on at once
    "flush",  # journal and heads have its records: its successor has to wait for what becomes of them
    "commit_transaction",  # its offsets were accepted while it was still the owner: nothing refuses it any more
)


@pytest.mark.parametrize("point", POINTS)
def test_an_open_transaction_and_two_handovers(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, tmp_path: Path, point: str
) -> None:
    captures = SAMPLE.plain(tmp_path)
    # Longer than the freeze: it is fencing that has to save us, not the coordinator that ends an old transaction.
    settings = settings_for(
        kafka.bootstrap, clickhouse.url, prefix=prefix, database=database, session_s=SESSION_S, transaction_s=30
    )
    with Pipeline(settings, tmp_path / "run") as pipeline:
        pipeline.start("archive", 0)
        pipeline.start(
            "transform", 0, module="tests.support.held_worker", env={"HELD_AT": point, "HELD_BY": str(tmp_path)}
        )
        with pipeline.feeding(captures, RATE):
            pipeline.follower.wait_for(100)
            pipeline.start("transform", 1)
            until(lambda: "partition is ready" in pipeline.log_of("transform", 1), 60, "partition of the second worker")
            (tmp_path / "hold").touch()
            until((tmp_path / "held").exists, 60, "transaction to hold")
            zombie = pipeline.workers["transform", 0]
            zombie.pause()
            time.sleep(NOTICED_S)  # its partitions go to the second worker, ...
            pipeline.start("transform", 2)
            pipeline.kill("transform", 1, again=False)
            time.sleep(NOTICED_S)  # ... and then to the third
            zombie.resume()
            time.sleep(2)  # it hears that it was thrown out
            (tmp_path / "go").touch()
            pipeline.start("transform", 1)  # which ends what its slot had left open
        took = pipeline.drain(captures, 150)
        print(f"{point}: drained {took:.1f} s after the last event")
        assert pipeline.faults(captures) == []
        if point != "commit_transaction":
            assert "session ended" in pipeline.log_of("transform", 0), "the zombie was not refused"
