"""Decode: an ingest record becomes a capture, within the limits, or Poison."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.codec import WIRE_HEADER, EventCodec, read_long
from pipeline.errors import Poison
from pipeline.records import Capture, Event, Ingest


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits of the core; over them an event is rejected."""

    event_bytes: int
    recipients: int
    id_bytes: int
    fan_out_bytes: int
    window_ms: int


def read(record: Ingest, events: EventCodec, bounds: Bounds) -> Capture:
    """The capture in a record.

    Raises:
        Poison: it does not decode, or is over a limit.
    """
    value = record.value
    if value is not None and len(value) > bounds.event_bytes:
        raise Poison("limits", "too_large", f"{len(value)} bytes, at most {bounds.event_bytes}")
    capture = events.decode(value)
    event = capture.event
    if len(event["recipients"]) > bounds.recipients:
        raise Poison(
            "limits",
            "too_many_recipients",
            f"{len(event['recipients'])}, at most {bounds.recipients}",
            event_id=event["event_id"],
        )
    if len(capture.value) > bounds.id_bytes:
        _check_ids(event, bounds.id_bytes)
    return capture


def event_id_of(record: Ingest, poison: Poison, bounds: Bounds) -> str:
    """The event_id of a record that cannot be taken, where it can still be read; else ''."""
    if poison.event_id or poison.reason.endswith("_schema"):
        return poison.event_id
    return _peek_event_id(record.value, bounds.id_bytes)


def _check_ids(event: Event, limit: int) -> None:
    """Only called for events that are longer than one id may be."""
    single = (
        event["event_id"],
        event["conversation"],
        event["sender"],
        event["sender_resource"],
        event["origin_id"],
        event["recipient_resource"],
        event["cluster"],
        event["refers_to"],
        event["thread"],
    )
    stanzas = event["stanza_ids"]
    for value in (*single, *stanzas.keys(), *stanzas.values(), *event["recipients"]):
        if value is not None and len(value) * 4 > limit and len(value.encode()) > limit:
            event_id = event["event_id"] if len(event["event_id"].encode()) <= limit else ""
            raise Poison("limits", "id_too_long", f"{len(value.encode())} bytes, at most {limit}", event_id=event_id)


def _peek_event_id(value: bytes | None, limit: int) -> str:
    """The event_id of an event that cannot be taken, where its first field can still be read; else ''."""
    if not value or value[0]:
        return ""
    try:
        length, start = read_long(value[:15], WIRE_HEADER)
        if not 0 < length <= min(limit, len(value) - start):
            return ""
        return value[start : start + length].decode()
    except (IndexError, UnicodeDecodeError):
        return ""
