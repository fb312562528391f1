"""Events to test with: how they are encoded by fastavro, and a strategy that makes all there can be."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import fastavro
from hypothesis import strategies as st

from pipeline.codec import EVENT, LATEST, AvroSchema, wire_header, without_logical_types
from pipeline.registry import load_schema

PARSED: Any = fastavro.parse_schema(without_logical_types(load_schema("event")))
EVENT_FIELDS: dict[str, Any] = {field["name"]: field["type"] for field in PARSED["fields"]}
KINDS: list[str] = EVENT_FIELDS["kind"]["symbols"]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def encode(event: dict[str, Any], schema: AvroSchema | None = None, schema_id: int = EVENT) -> bytes:
    """The event in wire format; times are microseconds."""
    out = BytesIO()
    out.write(wire_header(schema_id))
    parsed = PARSED if schema is None else fastavro.parse_schema(without_logical_types(schema))
    fastavro.schemaless_writer(out, parsed, event)
    return out.getvalue()


def attachments() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "name": TEXT,
            "display_name": st.none() | TEXT,
            "media_type": TEXT,
            "size": st.integers(-(1 << 63), (1 << 63) - 1),
            "sha256": st.none() | TEXT,
            "uri": st.none() | TEXT,
            "content": st.none() | st.binary(max_size=40),
        }
    )


def events() -> st.SearchStrategy[dict[str, Any]]:
    """Any valid event; times are microseconds, maps are in the order of their keys."""
    text_map = st.dictionaries(TEXT, TEXT, max_size=4).map(lambda made: dict(sorted(made.items())))
    times = st.integers(0, LATEST - 1)
    optional = st.none() | TEXT
    return st.fixed_dictionaries(
        {
            "event_id": TEXT,
            "kind": st.sampled_from(KINDS),
            "conversation": TEXT,
            "sender": TEXT,
            "sender_resource": optional,
            "origin_id": optional,
            "stanza_ids": text_map,
            "recipient_resource": optional,
            "sent_at": times,
            "captured_at": times,
            "cluster": TEXT,
            "body": st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
            "refers_to": optional,
            "thread": optional,
            "conversation_type": st.sampled_from(["direct", "group", "room", "broadcast"]),
            "conversation_name": optional,
            "attachments": st.lists(attachments(), max_size=3),
            "attributes": text_map,
            "phase": st.sampled_from(["sent", "delivered"]),
            "recipients": st.lists(TEXT, max_size=6),
        }
    )
