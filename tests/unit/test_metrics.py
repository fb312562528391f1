"""Metrics and health, as a scraper and a keeper see them."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from pipeline import metrics
from pipeline.errors import Misconfigured
from pipeline.health import STUCK, Health, HealthServer, StuckGuard

ALL = [one for one in vars(metrics).values() if isinstance(one, MetricWrapperBase)]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> Health:
    return Health(stuck_after_s=10, clock=clock)


@pytest.fixture
def server(health: Health) -> Iterator[HealthServer]:
    with HealthServer(health, "127.0.0.1", 0) as server:
        yield server


def _get(server: HealthServer, path: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_every_metric_has_its_meaning_and_a_name_of_ours() -> None:
    for metric in ALL:
        (family,) = metric.describe()
        assert family.name.startswith("compliance_")
        assert family.documentation.endswith(".")


def test_every_metric_is_set_somewhere() -> None:
    code = "".join(file.read_text() for file in (Path(metrics.__file__).parent).rglob("*.py"))
    names = [name for name, one in vars(metrics).items() if isinstance(one, MetricWrapperBase)]
    assert [name for name in names if not re.search(rf"\bmetrics\.{name}\b", code)] == []


def test_metrics_are_served(server: HealthServer) -> None:
    metrics.SINK_ROWS.labels(table="test_metrics").inc(3)
    status, text = _get(server, "/metrics")
    assert status == 200
    assert 'compliance_sink_rows_total{table="test_metrics"} 3.0' in text
    for metric in ALL:
        assert f"# TYPE {next(iter(metric.describe())).name}" in text


def test_live_while_the_loop_advances(server: HealthServer, health: Health, clock: Clock) -> None:
    assert _get(server, "/live")[0] == 200
    clock.now += 11
    assert _get(server, "/live")[0] == 503
    health.beat()
    assert _get(server, "/live")[0] == 200


def test_ready_once_nothing_is_missing(server: HealthServer, health: Health) -> None:
    assert _get(server, "/ready") == (503, "start: starting\n")
    health.missing("partitions", "none assigned yet")
    health.missing("clickhouse", "connection refused")
    health.there("clickhouse")
    assert _get(server, "/ready") == (503, "partitions: none assigned yet\n")
    health.there("partitions")
    assert _get(server, "/ready") == (200, "ready\n")
    health.missing("clickhouse", "timeout")
    assert _get(server, "/ready") == (503, "clickhouse: timeout\n")


def test_other_paths_are_not_found(server: HealthServer) -> None:
    assert _get(server, "/")[0] == 404


def test_a_taken_port_is_a_setting_to_mend(server: HealthServer, health: Health) -> None:
    with pytest.raises(Misconfigured, match=r"metrics\.port"):
        HealthServer(health, "127.0.0.1", server.port)


def test_a_stuck_loop_ends_the_process_and_a_live_one_does_not() -> None:
    ended: list[int] = []
    health = Health()
    with StuckGuard(health, 0.4, ended.append):
        for _ in range(20):
            health.beat()
            time.sleep(0.05)
        assert ended == []
        time.sleep(1.0)
    assert ended == [STUCK]
