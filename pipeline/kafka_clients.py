"""Configurations of all Kafka clients, made from the settings in this one place.

Each function returns a plain dict for confluent_kafka: `Consumer(consumer_config(settings, "im-archive"))`. What a
caller passes as `more` wins over what is chosen here, and `kafka.extra` of the settings wins over both. In `more`,
`_` stands for `.`, except in the names of callbacks: `consumer_config(settings, None, fetch_wait_max_ms=5)`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaError

from pipeline.errors import ComplianceError, Doubt, Misconfigured, Unavailable

if TYPE_CHECKING:
    from pipeline.settings import Kafka, Settings

SELDOM_S: Final = 10.0
MIB: Final = 1024 * 1024
FETCH_BYTES: Final = 16 * MIB
"""Most bytes of one fetch, compressed: what it unpacks to, ten times as much or more, is all in memory at once."""
_CALLBACKS: Final = frozenset({"error_cb", "stats_cb", "throttle_cb", "oauth_cb", "on_commit", "on_delivery", "logger"})
# No wait mends these: a person has to change a setting, a right or the broker.
_CONFIGURATION: Final = frozenset(
    {
        KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's local error codes have such names
        KafkaError._SSL,  # noqa: SLF001
        KafkaError._INVALID_ARG,  # noqa: SLF001
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError.UNSUPPORTED_SASL_MECHANISM,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        KafkaError.INCONSISTENT_GROUP_PROTOCOL,
        KafkaError.INVALID_TRANSACTION_TIMEOUT,
    }
)
# Somebody else has taken over, or the group has moved on: what is in memory is worth nothing.
_TAKEN_OVER: Final = frozenset(
    {
        KafkaError._FENCED,  # noqa: SLF001
        KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001
        KafkaError._MAX_POLL_EXCEEDED,  # noqa: SLF001
        KafkaError.PRODUCER_FENCED,
        KafkaError.INVALID_PRODUCER_EPOCH,
        KafkaError.FENCED_INSTANCE_ID,
        KafkaError.ILLEGAL_GENERATION,
        KafkaError.UNKNOWN_MEMBER_ID,
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.STALE_MEMBER_EPOCH,
    }
)

log = structlog.get_logger(__name__)
_LIBRDKAFKA: Final = logging.getLogger("librdkafka")
_LIBRDKAFKA.addHandler(logging.NullHandler())  # else Python writes its warnings to stderr where logging is not set up


def topic_name(settings: Settings, route: str) -> str:
    """Full name of the topic of a route (events, journal, dead-letters ...): PREFIX.ROUTE."""
    return f"{settings.kafka.prefix}.{route}"


def group_name(settings: Settings, stage: str) -> str:
    """Name of the consumer group of a stage (transform, archive ...): PREFIX-STAGE."""
    return f"{settings.kafka.prefix}-{stage}"


def event_topic_bytes(settings: Settings) -> int:
    """max.message.bytes of the ingest topic: the largest event and room for key, headers and the batch around it."""
    return settings.limits.event_bytes + 2 * MIB


def topic_bytes(settings: Settings) -> int:
    """max.message.bytes of all other topics: a dead letter must hold whatever ingest accepts, key and headers too."""
    return settings.limits.event_bytes * 2 + 16 * MIB


def consumer_config(settings: Settings, group: str | None, **more: Any) -> dict[str, Any]:
    """Configuration of a consumer: read_committed, cooperative, manual commits, from the earliest record.

    Args:
        settings: the settings.
        group: its consumer group; None for a reader that assigns partitions itself and never commits.
        more: further librdkafka properties, `_` for `.`; they win.

    Raises:
        Misconfigured: a file that the settings name cannot be read.
    """
    largest = topic_bytes(settings)
    chosen: dict[str, Any] = {
        # librdkafka wants a group even where there is none to join; this one is never committed to.
        "group.id": group if group is not None else group_name(settings, "reader"),
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": settings.kafka.session_timeout_ms,
        "heartbeat.interval.ms": max(settings.kafka.session_timeout_ms // 5, 1),
        # At least session.timeout.ms, or librdkafka refuses; all loops poll far oftener than that.
        "max.poll.interval.ms": max(300_000, settings.kafka.session_timeout_ms),
        "fetch.max.bytes": FETCH_BYTES,
        # A batch larger than that comes nevertheless, alone; librdkafka refuses what is larger than it was told.
        "receive.message.max.bytes": max(100_000_000, FETCH_BYTES + largest + MIB),
    }
    return _config(settings, group or "reader", chosen, more)


def producer_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """Configuration of a producer: idempotent, acks=all, lz4, the Java clients' partitioner.

    `more`: further librdkafka properties, `_` for `.`; they win.

    Raises:
        Misconfigured: a file that the settings name cannot be read.
    """
    chosen: dict[str, Any] = {
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "lz4",
        # murmur2 of the key as Java's default partitioner has it; librdkafka's own default differs on most keys.
        "partitioner": "murmur2_random",
        "message.max.bytes": topic_bytes(settings),
        "linger.ms": 5,
    }
    return _config(settings, "producer", chosen, more)


def admin_config(settings: Settings, **more: Any) -> dict[str, Any]:
    """Configuration of an AdminClient; `more` as in `consumer_config`.

    Raises:
        Misconfigured: a file that the settings name cannot be read.
    """
    return _config(settings, "admin", {}, more)


def to_error(error: KafkaError, doing: str) -> ComplianceError:
    """The error to raise for what librdkafka reports: Misconfigured, Doubt (taken over, or fatal), else Unavailable.

    `doing` says in a few words what was tried, for the person who reads it.
    """
    text = f"{doing}: {error.str()} ({error.name()})"
    if error.code() in _CONFIGURATION:
        return Misconfigured(text)
    if error.code() in _TAKEN_OVER or error.fatal():
        return Doubt(text)
    return Unavailable(text)


def _config(settings: Settings, role: str, chosen: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    common: dict[str, Any] = {
        "bootstrap.servers": settings.kafka.bootstrap_servers,
        "client.id": f"compliance-{role}-{settings.worker.slot}",
        "socket.keepalive.enable": True,
        "socket.connection.setup.timeout.ms": 10_000,
        # The default waits up to 10 s before it tries a broker again that has just come back.
        "reconnect.backoff.max.ms": 1_000,
        "error_cb": log_error,
        "logger": _LIBRDKAFKA,
    }
    named = {name if name in _CALLBACKS else name.replace("_", "."): value for name, value in more.items()}
    return {**common, **_security(settings.kafka), **chosen, **named, **settings.kafka.extra}


def _security(kafka: Kafka) -> dict[str, Any]:
    config: dict[str, Any] = {"security.protocol": kafka.security_protocol}
    if kafka.security_protocol.startswith("SASL"):
        if not kafka.sasl_username or kafka.sasl_password_file is None:
            raise Misconfigured("kafka: a SASL protocol needs sasl_username and sasl_password_file")
        try:
            password = kafka.sasl_password_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Misconfigured(f"kafka.sasl_password_file: {kafka.sasl_password_file}: {error}") from None
        config["sasl.mechanism"] = kafka.sasl_mechanism
        config["sasl.username"] = kafka.sasl_username
        config["sasl.password"] = password
    if kafka.security_protocol.endswith("SSL"):
        files = {
            "ssl.ca.location": ("ca_file", kafka.ca_file),
            "ssl.certificate.location": ("certificate_file", kafka.certificate_file),
            "ssl.key.location": ("key_file", kafka.key_file),
        }
        for name, (setting, path) in files.items():
            if path is None:
                continue
            if not path.is_file():
                raise Misconfigured(f"kafka.{setting}: {path}: no such file")
            config[name] = str(path)
    return config


def log_error(error: KafkaError) -> None:
    """Say what librdkafka reports on its own (brokers away, authentication); calls raise what concerns them."""
    if _SAID.may_say(error.name()):
        log.warning("kafka", error=error.name(), fatal=error.fatal(), detail=error.str())


class _Seldom(logging.Filter):
    """Lets a line of one sort pass every SELDOM_S: a broker that is away makes each client say so many times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, float] = {}

    def may_say(self, sort: str) -> bool:
        now = time.monotonic()
        if now - self._last.get(sort, -SELDOM_S) < SELDOM_S:
            return False
        self._last[sort] = now
        return True

    def filter(self, record: logging.LogRecord) -> bool:
        return self.may_say(record.getMessage().partition(" ")[0])


_SAID: Final = _Seldom()
_LIBRDKAFKA.addFilter(_SAID)
