"""Kafka and ClickHouse for a developer's machine, both real, neither in Docker, until Ctrl-C."""

from __future__ import annotations

import fcntl
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import Misconfigured
from pipeline.local import kafka
from pipeline.local.clickhouse import LocalClickHouse
from pipeline.local.kafka import LocalKafka


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the local parts answer."""

    kafka: str | None
    """Kafka, host:port; None: none could be started, see `no_kafka`."""
    no_kafka: str | None
    """Why there is no Kafka."""
    clickhouse: str
    """ClickHouse, http://user@host:port/database."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings that send every command to these servers."""
        found = {"COMPLIANCE_CLICKHOUSE__URL": self.clickhouse}
        if self.kafka is not None:
            found["COMPLIANCE_KAFKA__BOOTSTRAP_SERVERS"] = self.kafka
        return found

    @property
    def exports(self) -> str:
        """The same as lines for a shell."""
        return "\n".join(f"export {name}='{value}'" for name, value in self.environment.items())


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(f"{directory}: already up, by another `local up`") from None
        yield


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def up(
    directory: Path,
    *,
    kafka_port: int | None = None,
    clickhouse_port: int | None = None,
    on_ready: Callable[[Addresses], None],
) -> None:
    """Start both, Kafka only where there is Java and Maven, call `on_ready`, and stop both at SIGINT or SIGTERM.

    What was in `directory` is still there at the next start. Must be called on the main thread.

    Raises:
        Misconfigured: no ClickHouse can be started.
        Unavailable: a server did not become ready.
    """
    ended = threading.Event()
    for port in (kafka_port, clickhouse_port):
        if port is not None and not _is_free(port):
            raise Misconfigured(f"port {port} is taken")
    with ExitStack() as stack:
        stack.enter_context(_alone(directory))
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.signal(number, lambda *_: ended.set())
            stack.callback(signal.signal, number, before)
        clickhouse = LocalClickHouse(directory / "clickhouse", clickhouse_port)
        stack.callback(clickhouse.stop)
        clickhouse.start()
        no_kafka = kafka.available()
        broker = None
        if no_kafka is None:
            broker = LocalKafka(directory / "kafka", kafka_port)
            stack.callback(broker.stop)
            broker.start()
        on_ready(Addresses(broker.bootstrap if broker else None, no_kafka, clickhouse.url))
        ended.wait()
