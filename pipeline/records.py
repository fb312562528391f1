"""What flows, as records. Plain, frozen data; the bytes are in codec.py."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

Status = Literal["accepted", "merged", "rerouted", "rejected", "gap"]
Decision = Literal["ok", "modified", "blocked"]
Direction = Literal["internal", "inbound", "outbound", "federated"]
Severity = Literal["informational", "low", "medium", "high", "critical"]

STATUSES: tuple[Status, ...] = ("accepted", "merged", "rerouted", "rejected", "gap")
DECISIONS: tuple[Decision, ...] = ("ok", "modified", "blocked")
DIRECTIONS: tuple[Direction, ...] = ("internal", "inbound", "outbound", "federated")
SEVERITIES: tuple[Severity, ...] = ("informational", "low", "medium", "high", "critical")


class Attachment(TypedDict):
    """A file or card that hangs on an event; `size` in bytes."""

    name: str
    display_name: str | None
    media_type: str
    size: int
    sha256: str | None
    uri: str | None
    content: bytes | None


class Event(TypedDict):
    """One capture of one thing that happened in a messaging server; schemas/event.avsc says what each field means.

    Times are microseconds since 1970 in UTC. Treated as frozen: nobody writes to it.
    """

    event_id: str
    kind: str
    conversation: str
    sender: str
    sender_resource: str | None
    origin_id: str | None
    stanza_ids: dict[str, str]
    recipient_resource: str | None
    sent_at: int
    captured_at: int
    cluster: str
    body: str
    refers_to: str | None
    thread: str | None
    conversation_type: str
    conversation_name: str | None
    attachments: list[Attachment]
    attributes: dict[str, str]
    phase: str
    recipients: list[str]


class Capture(NamedTuple):
    """An event that decoded: its fields, its bytes, and where in them the recipients stand."""

    event: Event
    value: bytes
    """As it arrived, behind the five bytes of the schema id."""
    schema_id: int
    recipients_start: int
    recipients_end: int

    def without_recipients(self) -> bytes:
        """The event's Avro bytes as captured, with an empty list in the recipients' place."""
        return self.value[5 : self.recipients_start] + b"\0" + self.value[self.recipients_end :]


class Ingest(NamedTuple):
    """One record of the ingest topic, as the engine hands it to the core."""

    offset: int
    arrival: int
    """Milliseconds since 1970: the record's LogAppendTime."""
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]] | None = None


class Produced(NamedTuple):
    """One record that goes out. `topic` is without the prefix."""

    topic: str
    key: bytes | None
    value: bytes | None
    partition: int = -1
    """-1: murmur2 of the key."""


class Span(NamedTuple):
    """Where in a body, in code points; `end` is exclusive."""

    start: int
    end: int


class DeliveredFile(NamedTuple):
    """An attachment that was not given as sent."""

    place: int
    """Among the event's attachments, from 0."""
    display_name: str | None
    """None: the one it had."""
    content: bytes | None
    """What it was overwritten with; None: it was not."""


class Outcome(NamedTuple):
    """What a judge decided for some of a message's recipients."""

    recipients: tuple[int, ...]
    """Places in the list of recipients that was judged."""
    decision: Decision
    delivered_body: str | None
    """The text to deliver if it is not the body as sent; None if as sent or blocked."""
    rules: tuple[str, ...]
    reason: str
    files: tuple[DeliveredFile, ...] = ()


class FindingNote(NamedTuple):
    """A finding before it is given its place: the stages raise these."""

    rule: str
    severity: Severity
    person: str
    detail: str
    spans: tuple[Span, ...] = ()


class Judgement(NamedTuple):
    """What the policy says of one event and the recipients it is asked about."""

    decision: Decision
    reason: str
    rules: tuple[str, ...]
    outcomes: tuple[Outcome, ...]
    """What differs from ok, as sent; recipients in none are given the body as sent."""
    findings: tuple[FindingNote, ...] = ()
    routes: tuple[str, ...] = ()
    """Compliance servers that are sent the event."""


OK = Judgement("ok", "", (), ())
