"""What a capture is recognised by: its ids and its content, as hashes of this process.

An id is remembered as a 60-bit SipHash of it with conversation, sender and content (Python's own `hash`, keyed afresh
in each process, so that nobody can prepare two that meet). A hit counts only if the message's content agrees by another
64 bits.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.records import Capture, Event

KEY_BITS: Final = (1 << 60) - 1
"""Ints below it take 32 bytes each in CPython, larger ones 48."""


class Identity(NamedTuple):
    """What a capture is recognised by; all hashes of this process."""

    event: int
    bytes_digest: int
    content: int
    origin: int | None
    stanzas: tuple[int, ...]
    delivered: tuple[int, ...]
    """Phase delivered: the same ids, for messages that the pipeline had delivered with this text."""
    body: str
    timed: int | None
    """No ids: content and sent_at."""
    path: int


def identify(capture: Capture) -> Identity:
    """What a capture is recognised by."""
    event = capture.event
    content = content_hash(event, event["body"])
    origin, stanzas = event["origin_id"], event["stanza_ids"]
    has_ids = bool(origin or stanzas)
    return Identity(
        event=hash(("event", event["event_id"])) & KEY_BITS,
        bytes_digest=hash(capture.value),
        content=content,
        origin=hash((content, origin)) & KEY_BITS if origin else None,
        stanzas=tuple([hash((content, by, of)) & KEY_BITS for by, of in stanzas.items()]) if stanzas else (),
        delivered=delivered_keys(event, content) if event["phase"] == "delivered" else (),
        body=event["body"],
        timed=None if has_ids else hash((content, event["sent_at"])) & KEY_BITS,
        path=0 if has_ids else hash((event["cluster"], event["recipient_resource"], *sorted(set(event["recipients"])))),
    )


def content_hash(event: Event, body: str) -> int:
    """Conversation, sender and content (kind, body, refers_to, thread, attachments) as 64 bits."""
    files = event["attachments"]
    return hash(
        (
            event["conversation"],
            event["sender"],
            event["kind"],
            body,
            event["refers_to"],
            event["thread"],
            # size as text: Python's hashes of -1 and -2 are one, and so are those of 0 and 2^61 - 1
            tuple([(*file.values(), str(file["size"])) for file in files]) if files else None,
        )
    )


def delivered_keys(event: Event, content: int) -> tuple[int, ...]:
    """The event's ids, as keys of messages that were delivered with this content."""
    ids: list[tuple[str | None, str]] = [(None, event["origin_id"])] if event["origin_id"] else []
    ids += event["stanza_ids"].items()
    return tuple([hash((content, "delivered", by, of)) & KEY_BITS for by, of in ids])


def altered_keys(event: Event) -> tuple[int, ...]:
    """The event's ids, whatever its content, as keys of messages that somebody was to be given otherwise than sent."""
    ids: list[tuple[str | None, str]] = [(None, event["origin_id"])] if event["origin_id"] else []
    ids += event["stanza_ids"].items()
    where = event["conversation"], event["sender"]
    return tuple([hash((where, "altered", by, of)) & KEY_BITS for by, of in ids])


def again(identity: Identity) -> int:
    """The key of a capture whose event_id was taken, by its bytes."""
    return hash((identity.event, identity.bytes_digest)) & KEY_BITS


def of_message(bytes_digest: int, number: int) -> int:
    """The digest of a capture's bytes, among those of one message."""
    return hash((bytes_digest, number))
