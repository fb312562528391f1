"""The Kafka and the ClickHouse of a run: given by the environment, in Docker, or started here; or why there is none."""

from __future__ import annotations

import functools
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from pipeline.local import clickhouse, kafka
from pipeline.local.clickhouse import LocalClickHouse
from pipeline.local.kafka import LocalKafka
from pipeline.local.process import free_port

KAFKA_IMAGE = f"apache/kafka:{kafka.VERSION}"
CLICKHOUSE_IMAGE = "clickhouse/clickhouse-server:latest"
READY_S = 120.0


class Broker(Protocol):
    """What every test of a real Kafka may count on; a `LocalKafka` can be stopped and killed as well."""

    bootstrap: str


class Database(Protocol):
    """What every test of ClickHouse over HTTP may count on; a `LocalClickHouse` can be stopped and killed as well."""

    url: str


@dataclass(frozen=True)
class Choice:
    """Which one a run uses: `how` is env, docker, local or none; `name` is for a person, for none it is the reason."""

    how: str
    name: str


@dataclass
class Given:
    """A server that is not ours to stop."""

    bootstrap: str = ""
    url: str = ""


@functools.cache
def choose_kafka() -> Choice:
    return _choose("KAFKA_BOOTSTRAP", KAFKA_IMAGE, kafka.available(), f"Apache Kafka {kafka.VERSION} by Java and Maven")


@functools.cache
def choose_clickhouse() -> Choice:
    return _choose("CLICKHOUSE_URL", CLICKHOUSE_IMAGE, clickhouse.available(), "chDB behind an HTTP server of ours")


def _choose(variable: str, image: str, missing: str | None, local: str) -> Choice:
    if address := os.environ.get(variable):
        return Choice("env", f"{address} from {variable}")
    no_docker = docker_missing()
    if no_docker is None:
        return Choice("docker", f"{image} in Docker")
    if missing is None:
        return Choice("local", local)
    return Choice("none", f"{variable} is not set, {no_docker}, {missing}")


@functools.cache
def docker_missing() -> str | None:
    try:
        import docker  # type: ignore[import-untyped]

        docker.from_env(timeout=2).ping()
    except Exception as error:  # noqa: BLE001 - whatever is wrong with Docker, the next choice is taken
        return f"no Docker ({type(error).__name__})"
    return None


@contextmanager
def run_kafka(directory: Path) -> Iterator[Broker]:
    how = choose_kafka().how
    if how == "env":
        yield Given(bootstrap=os.environ["KAFKA_BOOTSTRAP"])
    elif how == "docker":
        with _kafka_in_docker() as given:
            yield given
    else:
        local = LocalKafka(directory)
        try:
            local.start()
            yield local
        finally:
            local.stop()


@contextmanager
def run_clickhouse(directory: Path) -> Iterator[Database]:
    how = choose_clickhouse().how
    if how == "env":
        yield Given(url=os.environ["CLICKHOUSE_URL"])
    elif how == "docker":
        with _clickhouse_in_docker() as given:
            yield given
    else:
        local = LocalClickHouse(directory)
        try:
            local.start()
            yield local
        finally:
            local.stop()


@contextmanager
def _kafka_in_docker() -> Iterator[Given]:
    from testcontainers.core.container import DockerContainer

    port = free_port()  # bound to the same port inside and out, since the broker tells clients where it is
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:29093",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://localhost:29093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://localhost:{port}",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }.items():
        container.with_env(name, value)
    with container:
        bootstrap = f"localhost:{port}"
        _wait(
            lambda: bool(AdminClient({"bootstrap.servers": bootstrap, "log_level": 0}).list_topics(timeout=2).brokers)
        )
        yield Given(bootstrap=bootstrap)


@contextmanager
def _clickhouse_in_docker() -> Iterator[Given]:
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(CLICKHOUSE_IMAGE).with_exposed_ports(8123).with_env("CLICKHOUSE_SKIP_USER_SETUP", "1")
    with container:
        address = f"{container.get_container_host_ip()}:{container.get_exposed_port(8123)}"
        _wait(lambda: urllib.request.urlopen(f"http://{address}/ping", timeout=2).status == 200)
        yield Given(url=f"http://default@{address}/default")


def _wait(is_ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_S
    while True:
        try:
            if is_ready():
                return
        except (OSError, KafkaException):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.2)
