"""The journal of one partition: its chain of hashes, its head, and the bytes of its records.

A record's hash is the SHA-256 of all its bytes behind the hash itself; the first of those are the hash of the record
before it. The first record builds on the lineage and the partition, so that no chain can be passed off as another.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.codec import array, delivered_files, long, optional_text, sha256, text, texts, wire_header
from pipeline.records import DECISIONS, STATUSES, Decision, Outcome, Status

HASH_SIZE: Final = 32
RAW_AT: Final = 2 * HASH_SIZE + 1
"""Where in a datum the raw event's length stands: behind hash, previous hash and status."""

_STATUS_BYTE: Final = {status: long(number) for number, status in enumerate(STATUSES)}
_DECISION_BYTE: Final = {decision: long(number) for number, decision in enumerate(DECISIONS)}
_EMPTY: Final = b"\0"
_FALSE: Final = b"\0"
_TRUE: Final = b"\1"


class Entry(NamedTuple):
    """What one journal record says, apart from its place in the chain; the fields are those of schemas/journal.avsc."""

    status: Status
    raw: bytes
    offset: int
    arrival: int
    floor: int
    event_id: str = ""
    rule: str = ""
    into: int = -1
    into_event_id: str = ""
    taken: bool = False
    also: tuple[int, ...] = ()
    decision: Decision = "ok"
    reason: str = ""
    rules: tuple[str, ...] = ()
    policy: str = ""
    outcomes: tuple[Outcome, ...] = ()
    databases: tuple[str, ...] = ()
    new_databases: tuple[str, ...] = ()
    new_recipients: tuple[str, ...] = ()
    copies: int = 0
    to_partition: int = -1


@dataclass(frozen=True, slots=True)
class Head:
    """Where a partition's journal stands. `sequence` and `offset` are -1 before the first record."""

    lineage: str
    partition: int
    sequence: int
    hash: bytes
    offset: int
    floor: int
    floor_arrival: int
    arrival: int
    policy: str = ""
    """Digest of the newest policy that was put on record in this partition."""


def genesis(lineage: str, partition: int) -> Head:
    """The head of a partition that has no journal record yet."""
    return Head(lineage, partition, -1, sha256(f"{lineage}/{partition}".encode()), -1, 0, 0, 0)


class Journal:
    """Makes the records of one partition, each built on the one before.

    Args:
        head: where the journal stands.
        schema_id: of the journal's schema, for the wire format.
    """

    def __init__(self, head: Head, schema_id: int) -> None:
        self._head = head
        self.sequence = head.sequence
        self.hash = head.hash
        self.offset = head.offset
        self.arrival = head.arrival
        self._wire = wire_header(schema_id)
        self._place = text(head.lineage) + long(head.partition)

    @property
    def lineage(self) -> str:
        """Of the topics."""
        return self._head.lineage

    @property
    def partition(self) -> int:
        """Of ingest and journal alike."""
        return self._head.partition

    def append(self, entry: Entry) -> bytes:
        """The next record, in wire format; the chain goes on from it."""
        self.sequence += 1
        raw = entry.raw
        body = b"".join(
            (
                self.hash,
                _STATUS_BYTE[entry.status],
                long(len(raw)),
                raw,
                _names(entry.databases) if entry.databases else _EMPTY,
                texts(entry.new_databases) if entry.new_databases else _EMPTY,
                self._place,
                long(self.sequence),
                long(entry.offset),
                long(entry.offset - self.offset - 1),
                long(entry.arrival),
                long(entry.floor),
                text(entry.event_id),
                text(entry.rule) if entry.rule else _EMPTY,
                long(entry.into),
                text(entry.into_event_id) if entry.into_event_id else _EMPTY,
                _TRUE if entry.taken else _FALSE,
                array([long(other) for other in entry.also]) if entry.also else _EMPTY,
                _DECISION_BYTE[entry.decision],
                text(entry.reason) if entry.reason else _EMPTY,
                texts(entry.rules) if entry.rules else _EMPTY,
                _name(entry.policy),
                array([_outcome(outcome) for outcome in entry.outcomes]) if entry.outcomes else _EMPTY,
                texts(entry.new_recipients) if entry.new_recipients else _EMPTY,
                long(entry.copies),
                long(entry.to_partition),
            )
        )
        self.hash = sha256(body)
        self.offset = entry.offset
        self.arrival = entry.arrival
        return self._wire + self.hash + body

    def head(self, floor: int, floor_arrival: int, policy: str) -> Head:
        """Where the journal stands now."""
        return replace(
            self._head,
            sequence=self.sequence,
            hash=self.hash,
            offset=self.offset,
            floor=floor,
            floor_arrival=floor_arrival,
            arrival=self.arrival,
            policy=policy,
        )


@lru_cache(maxsize=64)
def _names(names: tuple[str, ...]) -> bytes:
    return texts(names)


@lru_cache(maxsize=64)
def _name(name: str) -> bytes:
    return text(name)


def _outcome(outcome: Outcome) -> bytes:
    return b"".join(
        (
            array([long(place) for place in outcome.recipients]),
            _DECISION_BYTE[outcome.decision],
            optional_text(outcome.delivered_body),
            texts(outcome.rules),
            text(outcome.reason),
            delivered_files(outcome.files) if outcome.files else _EMPTY,
        )
    )
