"""The tables and views of the archive: what `migrations` creates, column by column.

docs/archive.md says why each sort key, codec and index is what it is, with the figures of tests/bench/archive_layout.py.
Common to all tables:

- ReplacingMergeTree: a row that comes twice is one row under FINAL, whatever became of the deduplication log.
- The sort key ends with the row's identity, so that no two different rows ever replace each other.
- No PARTITION BY: an insert, however many years its messages span, is one block and one part, which one
  deduplication token names whole.
- Column names are the Avro fields' names. Enums are strings: a symbol that a newer schema brings needs no migration.
"""

from __future__ import annotations

import json
from typing import Final, NamedTuple

from pipeline import resources
from pipeline.archive.reencode import encoded

DEDUPLICATION_WINDOW: Final = 10_000
"""Inserts whose tokens a table remembers; an archive worker repeats at most its last one for each partition."""

_NAME: Final = "LowCardinality(String)"  # what people search by; elsewhere it would halve the speed of inserts
_WORD: Final = "String"
_WORDS: Final = "Array(String)"
_ATTACHMENTS: Final = (
    "Array(Tuple(name String, display_name Nullable(String), media_type String, size Int64, "
    "sha256 Nullable(String), uri Nullable(String), content Nullable(String)))"
)
_FILES: Final = "Array(Tuple(place Int32, display_name Nullable(String), content Nullable(String)))"
_OUTCOMES: Final = (
    "Array(Tuple(recipients Array(Int32), decision String, delivered_body Nullable(String), rules Array(String), "
    f"reason String, delivered_files {_FILES}))"
)
_RISING: Final = "Delta, ZSTD(1)"  # neighbours in sort order differ by little
_TEXT: Final = "ZSTD(3)"
_FLAT: Final = "ZSTD(1)"


class Column(NamedTuple):
    """One column; `codec` as ClickHouse writes it, `default` with its kind (ALIAS ..., DEFAULT ...)."""

    name: str
    type: str
    codec: str = _FLAT
    default: str = ""

    def sql(self) -> str:
        """The column in a CREATE TABLE."""
        codec = "" if self.default.startswith("ALIAS") else f" CODEC({self.codec})"
        return f"`{self.name}` {self.type}{' ' + self.default if self.default else ''}{codec}"


class Table(NamedTuple):
    """One table; `indexes` as `name expression TYPE type GRANULARITY n`."""

    name: str
    columns: tuple[Column, ...]
    order_by: tuple[str, ...]
    indexes: tuple[str, ...] = ()

    def create(self, database: str) -> str:
        """The CREATE TABLE statement."""
        parts = [column.sql() for column in self.columns] + [f"INDEX {index}" for index in self.indexes]
        lines = ",\n    ".join(parts)
        return (
            f"CREATE TABLE IF NOT EXISTS `{database}`.`{self.name}`\n(\n    {lines}\n)\n"
            f"ENGINE = ReplacingMergeTree\nORDER BY ({', '.join(f'`{name}`' for name in self.order_by)})\n"
            f"SETTINGS non_replicated_deduplication_window = {DEDUPLICATION_WINDOW}"
        )


_IDENTITY: Final = ("lineage", "partition", "sequence")
_BY_WORD: Final = "by_word body TYPE text(tokenizer = splitByNonAlpha, preprocessor = lower(body))"

_EVENT: Final = (
    Column("event_id", "String", _FLAT),
    Column("kind", _WORD),
    Column("conversation", _NAME),
    Column("sender", _NAME),
    Column("sender_resource", "Nullable(String)"),
    Column("origin_id", "Nullable(String)"),
    Column("stanza_ids", "Map(String, String)"),
    Column("recipient_resource", "Nullable(String)"),
    Column("sent_at", "DateTime64(6, 'UTC')", _RISING),
    Column("captured_at", "DateTime64(6, 'UTC')", _RISING),
    Column("cluster", _WORD),
    Column("body", "String", _TEXT),
    Column("refers_to", "Nullable(String)"),
    Column("thread", "Nullable(String)"),
    Column("conversation_type", _WORD),
    Column("conversation_name", "Nullable(String)"),
    Column("attachments", _ATTACHMENTS, _TEXT),
    Column("attributes", "Map(String, String)"),
    Column("phase", _WORD),
    Column("recipients", _WORDS),
)

_TAIL: Final = (
    Column("databases", _WORDS),
    Column("new_databases", _WORDS),
    Column("lineage", _WORD),
    Column("partition", "Int32", _RISING),
    Column("sequence", "Int64", _RISING),
    Column("offset", "Int64", _RISING),
    Column("skipped", "Int64"),
    Column("arrival", "DateTime64(3, 'UTC')", _RISING),
    Column("floor", "Int64", _RISING),
    Column("event_id", "String"),
    Column("rule", _WORD),
    Column("into", "Int64", _RISING),
    Column("into_event_id", "String"),
    Column("taken", "Bool"),
    Column("also", "Array(Int64)"),
    Column("decision", _WORD),
    Column("reason", _WORD),
    Column("rules", _WORDS),
    Column("policy", _WORD),
    Column("outcomes", _OUTCOMES),
    Column("new_recipients", _WORDS),
    Column("copies", "Int64"),
    Column("to_partition", "Int32"),
)

_ROW: Final = (
    Column("schema_id", "Int32"),
    *(column for column in _TAIL if column.name != "event_id"),
    *_EVENT,
)

MESSAGES: Final = Table(
    "messages",
    _ROW,
    ("conversation", "sent_at", *_IDENTITY),
    (
        _BY_WORD,
        "by_sender sender TYPE bloom_filter(0.01) GRANULARITY 1",
        "by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1",
        "by_sequence sequence TYPE minmax GRANULARITY 1",
        "by_time sent_at TYPE minmax GRANULARITY 1",
    ),
)

MERGES: Final = Table(
    "merges",
    _ROW,
    ("lineage", "partition", "into", "sequence"),
    ("by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1",),
)

COPIES: Final = Table(
    "copies",
    (
        Column("schema_id", "Int32"),
        Column("recipient", _NAME),
        Column("copy_index", "Int32", _RISING),
        Column("direction", _WORD),
        Column("decision", _WORD),
        Column("delivered_body", "Nullable(String)", _TEXT),
        Column("rules", _WORDS),
        Column("reason", _WORD),
        Column("delivered_files", _FILES),
        Column("database", _WORD),
        Column("lineage", _WORD),
        Column("partition", "Int32", _RISING),
        Column("sequence", "Int64", _RISING),
        Column("into", "Int64", _RISING),
        Column("message_event_id", "String"),
        Column("taken", "Bool"),
        *_EVENT,
    ),
    ("conversation", "sent_at", *_IDENTITY, "copy_index"),
    (
        "by_recipient recipient TYPE bloom_filter(0.01) GRANULARITY 1",
        "by_sequence sequence TYPE minmax GRANULARITY 1",
        "by_time sent_at TYPE minmax GRANULARITY 1",
    ),
)

_JOURNAL_SCHEMA: Final = json.loads((resources.schemas() / "journal.avsc").read_text(encoding="utf-8"))
ENCODED: Final = encoded(_JOURNAL_SCHEMA, leave_out=("hash",))
"""SQL for what a journal record's hash is taken of: its datum behind the hash."""

JOURNAL: Final = Table(
    "journal",
    (
        Column("schema_id", "Int32"),
        Column("hash", "FixedString(32)", "NONE"),
        Column("previous_hash", "FixedString(32)", "NONE"),
        Column("status", _WORD),
        Column("raw", "String", _TEXT),
        *_TAIL,
        Column("encoded", "String", default=f"ALIAS {ENCODED}"),
        Column("recomputed_hash", "FixedString(32)", default="ALIAS SHA256(encoded)"),
    ),
    _IDENTITY,
    ("by_event_id event_id TYPE bloom_filter(0.01) GRANULARITY 1",),
)

FINDINGS: Final = Table(
    "findings",
    (
        Column("schema_id", "Int32"),
        Column("finding_id", "String"),
        Column("rule", _WORD),
        Column("severity", _WORD),
        Column("person", _NAME),
        Column("event_id", "String"),
        Column("conversation", _NAME),
        Column("spans", "Array(Tuple(start Int32, end Int32))"),
        Column("detail", "String"),
        Column("lineage", _WORD),
        Column("partition", "Int32", _RISING),
        Column("sequence", "Int64", _RISING),
        Column("found_at", "DateTime64(3, 'UTC')", _RISING),
    ),
    (*_IDENTITY, "finding_id"),
    ("by_person person TYPE bloom_filter(0.01) GRANULARITY 1",),
)

DEAD_LETTERS: Final = Table(
    "dead_letters",
    (
        Column("schema_id", "Int32"),
        Column("value", "Nullable(String)", _TEXT),
        Column("key", "Nullable(String)", _TEXT),
        Column("headers", "Array(Tuple(name String, value Nullable(String)))", _TEXT),
        Column("topic", _WORD),
        Column("partition", "Int32", _RISING),
        Column("offset", "Int64", _RISING),
        Column("stage", _WORD),
        Column("reason", "String"),
        Column("lineage", _WORD),
        Column("sequence", "Int64", _RISING),
        Column("at", "DateTime64(3, 'UTC')", _RISING),
    ),
    ("lineage", "topic", "partition", "offset"),
)

BATCHES: Final = Table(
    "batches",
    (
        Column("schema_id", "Int32"),
        Column("topic", _WORD),
        Column("lineage", _WORD),
        Column("partition", "Int32"),
        Column("first_offset", "Int64"),
        Column("last_offset", "Int64"),
        Column("rows", "Int64"),
        Column("first_sequence", "Int64"),
        Column("last_sequence", "Int64"),
        Column("last_hash", "FixedString(32)"),
        Column("digest", "String"),
        Column("worker", _WORD),
        Column("inserted_at", "DateTime64(6, 'UTC')"),
    ),
    # digest: the topics may have been made anew, and offsets begin at 0 again
    ("topic", "lineage", "partition", "first_offset", "last_offset", "digest"),
)

OUTAGES: Final = Table(
    "outages",
    (
        Column("worker", _WORD),
        Column("began", "DateTime64(3, 'UTC')"),
        Column("ended", "DateTime64(3, 'UTC')"),
        Column("error", _WORD),
    ),
    ("worker", "began"),
)

POLICIES: Final = Table(
    "policies",
    (
        Column("schema_id", "Int32"),
        Column("digest", "String"),
        Column("content", "String", _TEXT),
        Column("groups", "String", _TEXT),
        Column("approved_by", _WORDS),
        Column("lineage", _WORD),
        Column("partition", "Int32"),
        Column("sequence", "Int64"),
        Column("at", "DateTime64(3, 'UTC')"),
    ),
    (*_IDENTITY, "digest"),
)

CONTROL: Final = (JOURNAL, DEAD_LETTERS, FINDINGS, POLICIES, BATCHES, OUTAGES)
"""Tables of the control database."""
ARCHIVE: Final = (MESSAGES, COPIES, MERGES)
"""Tables of each archive database."""
