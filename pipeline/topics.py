"""Make, check and identify the topics of the pipeline.

All topics have LogAppendTime: under CreateTime a bulk import of old messages would be deleted by retention within
minutes, and the merge window would be measured by the senders' clocks. What the archive has yet to take (journal,
copies, findings, dead letters) has no time limit, so an outage of ClickHouse can be of any length.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType  # type: ignore[attr-defined] # not re-exported in its types

from pipeline.errors import Misconfigured, Unavailable
from pipeline.kafka_clients import admin_config, event_topic_bytes, to_error, topic_bytes, topic_name
from pipeline.topology import COMPACTED, ROUTES, UNTIL_ARCHIVED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Future

    from pipeline.settings import Settings

TIMEOUT_S: Final = 30.0
WORKER_TIMEOUT_S: Final = 5.0
"""A worker that is told to end waits no longer for brokers that are away: docker stop gives it 10 s."""

log = structlog.get_logger(__name__)


class MissingTopic(Misconfigured):
    """A topic is not there; right after its creation, a broker may not know of it yet."""


def topic_settings(settings: Settings, route: str) -> dict[str, str]:
    """The topic-level configuration that the topic of `route` is made with."""
    config = {
        "message.timestamp.type": "LogAppendTime",
        "cleanup.policy": "delete",
        "max.message.bytes": str(event_topic_bytes(settings) if _holds_events(route) else topic_bytes(settings)),
        "min.insync.replicas": str(settings.kafka.min_insync),
        "unclean.leader.election.enable": "false",
    }
    if route in COMPACTED:
        # Heads come with each transaction, and the last of each key counts: compact early, so that reading is quick.
        config |= {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1", "segment.ms": "3600000"}
    if route in UNTIL_ARCHIVED:
        config |= {"retention.ms": "-1", "retention.bytes": "-1"}
    return config


def missing_routes(settings: Settings, routes: Sequence[str]) -> list[str]:
    """Topics of compliance servers that are not there.

    Args:
        settings: the settings.
        routes: the servers' names, as a policy has them.

    Raises:
        Unavailable: the brokers do not answer.
    """
    present = _metadata(AdminClient(admin_config(settings)), WORKER_TIMEOUT_S)
    return [name for name in (topic_name(settings, f"route.{route}") for route in routes) if name not in present]


def _holds_events(route: str) -> bool:
    return route == "events" or route.startswith("route.")


def create(settings: Settings, routes: Sequence[str] = ()) -> list[str]:
    """Make the topics that are missing, check those that are there; the names of those made.

    `routes` are compliance servers that a policy sends events to.

    Returns once every topic has a leader for each partition.

    Raises:
        Misconfigured: an existing topic is not as it must be, or the cluster cannot make one (say, too few brokers).
        Unavailable: the brokers do not answer.
    """
    if settings.kafka.min_insync > settings.kafka.replication:
        raise Misconfigured("kafka.min_insync is larger than kafka.replication: nothing could ever be written")
    admin = AdminClient(admin_config(settings))
    present = _present(admin)
    wanted = [*ROUTES, *(f"route.{name}" for name in routes)]
    missing = [route for route in wanted if topic_name(settings, route) not in present]
    made = [topic_name(settings, route) for route in missing if _create_one(admin, settings, route)]
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            check(settings, admin)
        except (Unavailable, MissingTopic):  # what one broker has made, metadata may show a moment later
            if not missing or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            log.info("topics", made=made, checked=len(wanted) - len(made))
            return made


def check(settings: Settings, admin: AdminClient | None = None, timeout_s: float = TIMEOUT_S) -> None:
    """Check that every topic is there and as it must be; workers call this at their start.

    Args:
        settings: the settings.
        admin: a client to ask with; None: one of its own.
        timeout_s: how long to wait for the brokers; no signal is served meanwhile.

    Raises:
        Misconfigured: naming each topic that is missing or differs, and in what.
        Unavailable: the brokers do not answer, or a partition has no leader.
    """
    admin = admin or AdminClient(admin_config(settings))
    metadata = _metadata(admin, timeout_s)
    names = [topic_name(settings, route) for route in ROUTES]
    missing = [name for name in names if name not in metadata]
    if missing:
        raise MissingTopic(f"no topic {', '.join(missing)}: run `compliance topics create`")
    configs = _configs(admin, names)
    wrong: list[str] = []
    for route, name in zip(ROUTES, names, strict=True):
        partitions = metadata[name].partitions
        if len(partitions) != settings.kafka.partitions:
            wrong.append(f"{name} has {len(partitions)} partitions, not {settings.kafka.partitions}")
        elif any(partition.leader < 0 for partition in partitions.values()):
            raise Unavailable(f"{name} has a partition without a leader")
        wrong += [f"{name} has {difference}" for difference in _differences(settings, route, configs[name])]
    if wrong:
        raise Misconfigured("; ".join(wrong))


def lineage(admin: AdminClient, settings: Settings) -> str:
    """16 hex digits that name these very topics: recreated ones, whose offsets begin anew, have another lineage.

    Raises:
        Misconfigured: the topics are not there.
        Unavailable: the brokers do not answer.
    """
    names = [topic_name(settings, "events"), topic_name(settings, "journal")]
    futures = admin.describe_topics(TopicCollection(names), request_timeout=TIMEOUT_S)
    ids = [str(_result(futures[name], f"describe {name}").topic_id) for name in names]
    return hashlib.sha256("/".join(ids).encode()).hexdigest()[:16]


def _differences(settings: Settings, route: str, actual: Mapping[str, Any]) -> list[str]:
    """What would lose or distort records; what an operator may tune (segments, larger limits) is not looked at."""
    wanted = topic_settings(settings, route)
    exact = ["message.timestamp.type", "cleanup.policy", "unclean.leader.election.enable"]
    exact += [name for name in ("retention.ms", "retention.bytes") if name in wanted]
    found = [(name, actual[name].value) for name in exact if actual[name].value != wanted[name]]
    at_least = ("max.message.bytes", "min.insync.replicas")
    found += [(name, actual[name].value) for name in at_least if int(actual[name].value) < int(wanted[name])]
    return [f"{name} {value}, not {wanted[name]}" for name, value in found]


def _create_one(admin: AdminClient, settings: Settings, route: str) -> bool:
    """True: made; False: another process was quicker."""
    name = topic_name(settings, route)
    topic = NewTopic(
        name,
        num_partitions=settings.kafka.partitions,
        replication_factor=settings.kafka.replication,
        config=topic_settings(settings, route),
    )
    try:
        admin.create_topics([topic], operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S)[name].result()
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        if cause.code() in {
            KafkaError.INVALID_REPLICATION_FACTOR,
            KafkaError.INVALID_CONFIG,
            KafkaError.POLICY_VIOLATION,
        }:
            raise Misconfigured(f"create {name}: {cause.str()}") from None
        raise to_error(cause, f"create {name}") from None
    return True


def _present(admin: AdminClient) -> set[str]:
    return set(_metadata(admin))


def _metadata(admin: AdminClient, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    try:
        topics: dict[str, Any] = admin.list_topics(timeout=timeout_s).topics
    except KafkaException as error:
        raise to_error(error.args[0], "list topics") from None
    return topics


def _configs(admin: AdminClient, names: list[str]) -> dict[str, Any]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=TIMEOUT_S)
    return {resource.name: _result(future, f"describe {resource.name}") for resource, future in futures.items()}


def _result(future: Future[Any], doing: str) -> Any:
    try:
        return future.result()
    except KafkaException as error:
        cause = error.args[0]
        if cause.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise MissingTopic(f"{doing}: no such topic: run `compliance topics create`") from None
        raise to_error(cause, doing) from None
