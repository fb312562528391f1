"""What the archive must hold, derived from the journal: pure functions from a journal row to the rows it stands for.

A journal datum is `hash, previous_hash, status, raw, tail`; the tail is all its further fields. From these bytes follow

    messages   accepted: the tail, then the event's own bytes
    merges     merged, but for a retry: the same
    copies     accepted, merged: for each recipient and database a header, then the event's bytes without recipients

so that a stored row, written out as Avro again, can be held against them byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, NamedTuple, cast

import fastavro

from pipeline.codec import (
    WIRE_HEADER,
    AvroSchema,
    delivered_files,
    long,
    optional_text,
    read_long,
    text,
    texts,
    without_logical_types,
)
from pipeline.errors import Poison
from pipeline.records import DECISIONS, DIRECTIONS, STATUSES, Capture, DeliveredFile, Direction, Status

HASH_SIZE: Final = 32
RAW_AT: Final = 2 * HASH_SIZE + 1
RETRY: Final = "retry"
UNKNOWN_SYMBOL: Final = 1000
"""The number of a symbol that an enum of ours does not have."""
SCHEMA_ID: Final = {"name": "schema_id", "type": "int"}
"""What stands before the fields of each stored datum."""
RENAMED: Final = {"event_id": "journal_event_id"}
"""Tail fields that have another name beside the event's fields."""

_DECISION_BYTE: Final = {decision: long(number) for number, decision in enumerate(DECISIONS)}
AS_SENT: Final = _DECISION_BYTE["ok"] + b"\0" + texts(()) + text("") + delivered_files(())
"""The outcome of a recipient who got the body as sent."""
EVERYWHERE: Final[frozenset[str]] = frozenset()
_DIRECTION_BYTE: Final = {direction: long(number) for number, direction in enumerate(DIRECTIONS)}


class JournalRow(NamedTuple):
    """One journal datum, taken apart."""

    schema_id: int
    hash: bytes
    previous_hash: bytes
    status: Status
    raw: bytes
    tail: bytes
    fields: dict[str, Any]
    """Of the tail, by their names in schemas/journal.avsc."""
    hashed: bytes
    """All that the hash is of."""

    @property
    def sequence(self) -> int:
        """Within lineage and partition."""
        return cast("int", self.fields["sequence"])

    @property
    def makes_row(self) -> bool:
        """Whether a row in messages or merges stands for it."""
        return self.status == "accepted" or (self.status == "merged" and self.fields["rule"] != RETRY)


class CopyRow(NamedTuple):
    """One expected row of copies."""

    database: str
    copy_index: int
    datum: bytes


@dataclass(frozen=True, slots=True)
class Schemas:
    """The Avro schemas that rows are read and derived with, as JSON; times and enums are plain numbers.

    `journal`, `row` (of messages and merges), `copy` and `dead_letter` begin with schema_id, as the tables do. `tail`
    is the journal's part behind `raw`, with its enums as symbols; `event` is schemas/event.avsc.
    """

    journal: Any
    tail: Any
    row: Any
    copy: Any
    dead_letter: Any
    event: Any

    @classmethod
    def of(cls, journal: AvroSchema, copy: AvroSchema, dead_letter: AvroSchema, event: AvroSchema) -> Schemas:
        """Make them of what schemas/*.avsc say."""
        symbolic = without_logical_types(journal)
        tail = symbolic["fields"][4:]
        renamed = [{**field, "name": RENAMED.get(field["name"], field["name"])} for field in tail]
        return cls(
            journal=_stored({**symbolic, "fields": [SCHEMA_ID, *journal["fields"]]}),
            tail=fastavro.parse_schema({**symbolic, "name": "Tail", "fields": tail}),
            row=_stored({**symbolic, "name": "Row", "fields": [SCHEMA_ID, *renamed, *event["fields"]]}),
            copy=_stored({**copy, "fields": [SCHEMA_ID, *copy["fields"]]}),
            dead_letter=_stored({**dead_letter, "fields": [SCHEMA_ID, *dead_letter["fields"]]}),
            event=without_logical_types(event),
        )


def _stored(schema: AvroSchema) -> Any:
    return fastavro.parse_schema(numbered(without_logical_types(schema), {}))


def numbered(schema: Any, symbols: dict[str, list[str]]) -> Any:
    """The schema with an int in place of each enum: the same bytes, and room for a symbol that it does not know.

    What it stands for, the symbols in their order, is kept as `stands_for`. Args: the schema; enums by name, which it fills.
    """
    if isinstance(schema, list):
        return [numbered(part, symbols) for part in schema]
    if isinstance(schema, str):
        return {"type": "int", "stands_for": symbols[schema]} if schema in symbols else schema
    if not isinstance(schema, Mapping):
        return schema
    if schema.get("type") == "enum":
        symbols[schema["name"]] = schema["symbols"]
        return {"type": "int", "stands_for": schema["symbols"]}
    parts = {"type", "items", "values"}
    plain = {name: numbered(part, symbols) if name in parts else part for name, part in schema.items()}
    plain.pop("default", None)
    if "fields" in plain:
        plain["fields"] = [{"name": one["name"], "type": numbered(one["type"], symbols)} for one in schema["fields"]]
    return plain


def field_names(schema: Any) -> list[str]:
    """Names of a parsed record schema's fields, in their order."""
    return [field["name"] for field in schema["fields"]]


def journal_rows(data: bytes, tail_schema: Any) -> Iterator[JournalRow]:
    """The journal datums that stand one behind the other in `data`.

    Raises:
        Poison: the bytes are no journal datums.
    """
    source, at = BytesIO(data), 0
    read = fastavro.schemaless_reader
    while at < len(data):
        try:
            schema_id, at = read_long(data, at)
            size, raw_at = read_long(data, at + RAW_AT)
            tail_at = raw_at + size
            source.seek(tail_at)
            fields = cast("dict[str, Any]", read(source, tail_schema, None))
            number = read_long(data, at + 2 * HASH_SIZE)[0]
            status = STATUSES[number]
        except Exception as error:  # noqa: BLE001 - fastavro's answer to hostile bytes is any of a dozen exceptions
            raise Poison("verify", "not_a_journal_row", type(error).__name__) from None
        end = source.tell()
        yield JournalRow(
            schema_id=schema_id,
            hash=data[at : at + HASH_SIZE],
            previous_hash=data[at + HASH_SIZE : at + 2 * HASH_SIZE],
            status=status,
            raw=data[raw_at:tail_at],
            tail=data[tail_at:end],
            fields=fields,
            hashed=data[at + HASH_SIZE : end],
        )
        at = end


def event_bytes(capture: Capture, present: int, event_schema: Any) -> tuple[bytes, bytes]:
    """The event's datum under the present event schema: whole, and with an empty list of recipients.

    Args:
        capture: the event, of whatever schema.
        present: id of the present event schema.
        event_schema: that schema, with numbers for times.
    """
    if capture.schema_id == present:
        return capture.value[WIRE_HEADER:], capture.without_recipients()
    symbols: dict[str, list[str]] = {}
    schema: Any = fastavro.parse_schema(numbered(event_schema, symbols))
    event: dict[str, Any] = dict(capture.event)
    for field in schema["fields"]:
        known = field["type"].get("stands_for") if isinstance(field["type"], dict) else None
        if known is not None:
            symbol = event[field["name"]]
            event[field["name"]] = known.index(symbol) if symbol in known else UNKNOWN_SYMBOL
    whole, bare = BytesIO(), BytesIO()
    fastavro.schemaless_writer(whole, schema, event)
    fastavro.schemaless_writer(bare, schema, {**event, "recipients": []})
    return whole.getvalue(), bare.getvalue()


def direction(sender: str, recipient: str, domains: frozenset[str]) -> Direction:
    """The direction of a copy, seen from clusters whose domains are `domains`; empty: all domains are their own."""
    if not domains:
        return "internal"
    own_sender, own_recipient = _domain(sender) in domains, _domain(recipient) in domains
    if own_sender:
        return "internal" if own_recipient else "outbound"
    return "inbound" if own_recipient else "federated"


def _domain(address: str) -> str:
    return address.partition("/")[0].rpartition("@")[2].lower()


def served(row: JournalRow, recipients: Sequence[str]) -> list[str]:
    """Recipients that a journal record brought to its message, in the order in which the message got them."""
    brought = recipients if row.status == "accepted" else row.fields["new_recipients"]
    return list(dict.fromkeys(brought))


def outcomes_of(row: JournalRow, recipients: Sequence[str]) -> dict[str, bytes]:
    """By recipient: decision, delivered_body, rules, reason and delivered_files of the copies, in Avro.

    Args:
        row: accepted or merged.
        recipients: those whom it brought, as `served` gives them.
    """
    found = dict.fromkeys(recipients, AS_SENT)
    for outcome in row.fields["outcomes"]:
        encoded = b"".join(
            (
                _DECISION_BYTE[outcome["decision"]],
                optional_text(outcome["delivered_body"]),
                texts(outcome["rules"]),
                text(outcome["reason"]),
                delivered_files([DeliveredFile(**one) for one in outcome["delivered_files"]]),
            )
        )
        for number in outcome["recipients"]:
            found[recipients[number]] = encoded
    return found


def copy_rows(
    row: JournalRow,
    capture: Capture,
    bare: bytes,
    earlier: Mapping[str, bytes],
    domains: Mapping[str, frozenset[str]],
    schema_id: int,
) -> Iterator[CopyRow]:
    """The copies that a journal record stands for, in the order of their copy_index.

    Args:
        row: accepted or merged; others have none.
        capture: its event.
        bare: the event's bytes with an empty list of recipients.
        earlier: the outcomes of recipients whom the message had before; needed where the record has new databases.
        domains: of each database, by its name.
        schema_id: that copies of this event have.
    """
    if row.status not in ("accepted", "merged") or row.fields["rule"] == RETRY:
        return
    fields = row.fields
    new = outcomes_of(row, served(row, capture.event["recipients"]))
    of_message = text(fields["event_id"] if row.status == "accepted" else fields["into_event_id"])
    place = text(fields["lineage"]) + long(fields["partition"]) + long(fields["sequence"]) + long(fields["into"])
    place += of_message + (b"\1" if fields["taken"] else b"\0") + bare
    parts: list[tuple[str, Mapping[str, bytes]]] = [(database, new) for database in fields["databases"]]
    parts += [(database, earlier) for database in fields["new_databases"]]
    sender, schema, index = capture.event["sender"], long(schema_id), 0
    for database, outcomes in parts:
        behind, own = text(database) + place, domains.get(database, EVERYWHERE)
        for recipient, outcome in outcomes.items():
            way = _DIRECTION_BYTE[direction(sender, recipient, own)]
            yield CopyRow(database, index, b"".join((schema, text(recipient), long(index), way, outcome, behind)))
            index += 1
