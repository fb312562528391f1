"""What all tests share: the run's seed, and a real Kafka and ClickHouse where they can be had."""

from __future__ import annotations

import os
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from pipeline.local import clickhouse as local_clickhouse
from pipeline.local import kafka as local_kafka
from pipeline.local.clickhouse import LocalClickHouse
from pipeline.local.kafka import LocalKafka
from tests.support.servers import Broker, Choice, Database, choose_clickhouse, choose_kafka, run_clickhouse, run_kafka

CHOICES: dict[str, Callable[[], Choice]] = {"kafka": choose_kafka, "clickhouse": choose_clickhouse}


@pytest.hookimpl(tryfirst=True)  # before Hypothesis reads its own option
def pytest_configure(config: pytest.Config) -> None:
    # In the environment, so that the workers of pytest-xdist and processes that tests start have the same.
    os.environ.setdefault("TEST_SEED", str(random.SystemRandom().randrange(2**32)))
    if config.getoption("hypothesis_seed", None) is None:
        config.option.hypothesis_seed = os.environ["TEST_SEED"]


def pytest_report_header() -> list[str]:
    return [f"seed: {os.environ['TEST_SEED']} (TEST_SEED repeats it)", *_servers()]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for marker, choose in CHOICES.items():
        for item in items:
            if item.get_closest_marker(marker) and choose().how == "none":
                item.add_marker(pytest.mark.skip(reason=f"no {marker}: {choose().name}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = [str(report.longrepr) for report in terminalreporter.getreports("skipped")]
    terminalreporter.section("servers")
    for name, line in zip(CHOICES, _servers(), strict=True):
        missed = sum(f"no {name}: " in reason for reason in skipped)
        terminalreporter.line(f"{line}; {missed} tests skipped for lack of it" if missed else line)


def _servers() -> list[str]:
    return [
        f"{name}: none: {choice.name}" if choice.how == "none" else f"{name}: {choice.name}"
        for name, choice in ((name, choose()) for name, choose in CHOICES.items())
    ]


@pytest.fixture(scope="session")
def seed() -> int:
    """Of all that is random in the run; it stands at the head of the output."""
    return int(os.environ["TEST_SEED"])


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The run's Kafka. Who kills or stops one takes `kafka_factory`."""
    if choose_kafka().how == "none":
        pytest.skip(f"no kafka: {choose_kafka().name}")
    directory = tmp_path_factory.mktemp("kafka")
    with run_kafka(directory) as broker:
        yield broker
    shutil.rmtree(directory / "log", ignore_errors=True)


@pytest.fixture
def kafka_factory(tmp_path: Path) -> Iterator[Callable[..., LocalKafka]]:
    """Started brokers of the test's own, made with LocalKafka's keyword arguments."""
    if reason := local_kafka.available():
        pytest.skip(f"no kafka: {reason}")
    started: list[LocalKafka] = []

    def start(**arguments: Any) -> LocalKafka:
        broker = LocalKafka(**{"directory": tmp_path / f"kafka{len(started)}", **arguments})
        started.append(broker)
        broker.start()
        return broker

    yield start
    for broker in started:
        broker.kill()
        shutil.rmtree(broker.directory / "log", ignore_errors=True)


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """The run's ClickHouse over HTTP. Who kills or stops one takes `clickhouse_server_factory`."""
    if choose_clickhouse().how == "none":
        pytest.skip(f"no clickhouse: {choose_clickhouse().name}")
    directory = tmp_path_factory.mktemp("clickhouse")
    with run_clickhouse(directory) as server:
        yield server
    shutil.rmtree(directory / "data", ignore_errors=True)


@pytest.fixture
def clickhouse_server_factory(tmp_path: Path) -> Iterator[Callable[[], LocalClickHouse]]:
    """Started servers of the test's own."""
    if reason := local_clickhouse.available():
        pytest.skip(f"no clickhouse: {reason}")
    started: list[LocalClickHouse] = []

    def start() -> LocalClickHouse:
        server = LocalClickHouse(tmp_path / f"clickhouse{len(started)}")
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        server.kill()
        shutil.rmtree(server.directory / "data", ignore_errors=True)


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> Iterator[str]:
    """A topic prefix that no other test has; its topics on the run's Kafka are deleted after the test."""
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    if "kafka" in request.fixturenames:
        admin = AdminClient({"bootstrap.servers": request.getfixturevalue("kafka").bootstrap, "log_level": 0})
        if topics := [topic for topic in admin.list_topics(timeout=10).topics if topic.startswith(f"{name}.")]:
            for deleted in admin.delete_topics(topics).values():
                deleted.result()


@pytest.fixture
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of a database that no other test has; on the run's ClickHouse it is dropped after the test."""
    import clickhouse_connect

    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    if "clickhouse" in request.fixturenames:
        with clickhouse_connect.get_client(dsn=request.getfixturevalue("clickhouse").url) as client:
            client.command(f"DROP DATABASE IF EXISTS {name}")
