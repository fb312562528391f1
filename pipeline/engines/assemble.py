"""Build the core from the settings; the same for every engine."""

from __future__ import annotations

from pipeline.codec import EventCodec, RecordCodec
from pipeline.registry import Schemas, load_schema
from pipeline.settings import Settings
from pipeline.stages.decode import Bounds
from pipeline.stages.dedup import MergeState
from pipeline.stages.fanout import FanOut, Keeper
from pipeline.stages.journal import Head
from pipeline.stages.partitioner import Partitioner
from pipeline.stages.transform import Partition, Tools


def tools(settings: Settings, schemas: Schemas, *, partitions: int, topic: str) -> Tools:
    """What all partitions of a worker share.

    Args:
        settings: the settings.
        schemas: where schemas and their ids come from.
        partitions: of the ingest topic; 0 for a file.
        topic: the ingest topic's name, or the file's, for dead letters.
    """
    limits = settings.limits
    return Tools(
        events=EventCodec(schemas.event_schema, load_schema("event")),
        findings=codec(schemas, "finding"),
        dead_letters=codec(schemas, "dead_letter"),
        policies=codec(schemas, "policy"),
        journal_schema_id=schemas.id_of("journal"),
        verdict_schema_id=schemas.id_of("verdict"),
        fan_out=FanOut(keepers(settings), schemas.copy_schema_ids),
        partitioner=Partitioner(partitions),
        bounds=Bounds(
            limits.event_bytes, limits.recipients, limits.id_bytes, limits.fan_out_bytes, settings.merge.window_s * 1000
        ),
        topic=topic,
    )


def codec(schemas: Schemas, name: str) -> RecordCodec:
    """The codec of one of our own schemas."""
    return RecordCodec(load_schema(name), schemas.id_of(name))


def keepers(settings: Settings) -> list[Keeper]:
    """The archive databases, as the fan-out sees them."""
    return [
        Keeper(
            database.name,
            frozenset(domain.lower() for domain in database.domains),
            database.keeps == "inbound",
            frozenset(database.conversations),
        )
        for database in settings.clickhouse.archives
    ]


def partition(settings: Settings, shared: Tools, head: Head) -> Partition:
    """An empty partition that goes on at `head`."""
    return Partition(head, MergeState(settings.merge.max_entries, settings.merge.max_bytes), shared)
