"""Kafka and ClickHouse for a developer's machine, both real, neither in Docker, until Ctrl-C."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

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
    with ExitStack() as stack:
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
