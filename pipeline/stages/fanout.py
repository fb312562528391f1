"""Fan-out: which databases keep a message, and a copy for each recipient in each of them.

A copy is a small header and then the event's own bytes with an empty list in the recipients' place, so that nothing is
encoded again for each recipient and no recipient list is repeated in each copy.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.codec import delivered_files, long, optional_text, text, texts, wire_header
from pipeline.records import DECISIONS, DIRECTIONS, Capture, Direction, Event, Outcome
from pipeline.stages.delivered import delivered_bytes

_DIRECTION_BYTE: Final = {direction: long(number) for number, direction in enumerate(DIRECTIONS)}
_DECISION_BYTE: Final = {decision: long(number) for number, decision in enumerate(DECISIONS)}
_INTERNAL: Final = _DIRECTION_BYTE["internal"]
_NO_FILES: Final = b"\0"
_AS_SENT: Final = Outcome((), "ok", None, (), "")
CACHED_NAMES: Final = 200_000


@dataclass(frozen=True, slots=True)
class Keeper:
    """A database, and what it keeps.

    `domains` are its clusters' own, empty for all; `inbound_only` leaves out what none of its own receives;
    `conversations` are the conversation types that it takes.
    """

    name: str
    domains: frozenset[str] = frozenset()
    inbound_only: bool = False
    conversations: frozenset[str] = frozenset(("direct", "group", "room", "broadcast"))

    def direction(self, sender: str, recipient: str) -> Direction:
        """How a copy looks from this database's clusters."""
        if not self.domains:
            return "internal"
        if domain_of(sender) in self.domains:
            return "internal" if domain_of(recipient) in self.domains else "outbound"
        return "inbound" if domain_of(recipient) in self.domains else "federated"

    def keeps(self, event: Event, recipients: Collection[str]) -> bool:
        """Whether it keeps a message, whole."""
        if event["conversation_type"] not in self.conversations:
            return False
        if not self.domains:
            return not self.inbound_only or bool(recipients)
        if not self.inbound_only and domain_of(event["sender"]) in self.domains:
            return True
        return any(domain_of(recipient) in self.domains for recipient in recipients)


def domain_of(address: str) -> str:
    """The domain of a bare address, in lower case (RFC 7622, section 3.2: domains do not differ by case)."""
    return address.partition("/")[0].rpartition("@")[2].lower()


@dataclass(slots=True)
class Copies:
    """The copies of one journal record, made one at a time as they are asked for."""

    count: int
    size: int
    """Bytes of all their values, at least."""
    records: Iterator[tuple[bytes, bytes]]
    """Key and value of each."""


class Place(NamedTuple):
    """Where a record stands and which message it is about; the same for all its copies."""

    lineage: str
    partition: int
    sequence: int
    into: int
    message_event_id: str
    taken: bool


class FanOut:
    """Makes copies.

    Args:
        keepers: the databases, in the order in which copies are made for them.
        copy_schema_ids: the copies' schema id for each event schema id.
    """

    def __init__(self, keepers: Sequence[Keeper], copy_schema_ids: Mapping[int, int]) -> None:
        self.keepers = {keeper.name: keeper for keeper in keepers}
        self._copy_schema_ids = copy_schema_ids
        self._one_for_all: tuple[str, ...] | None = None
        if len(keepers) == 1 and keepers[0] == Keeper(keepers[0].name):
            self._one_for_all = (keepers[0].name,)
        self._encoded: dict[str, tuple[bytes, bytes]] = {}

    def databases(self, event: Event, recipients: Collection[str]) -> tuple[str, ...]:
        """Which databases keep a message with these recipients."""
        if self._one_for_all is not None:
            return self._one_for_all
        return tuple([name for name, keeper in self.keepers.items() if keeper.keeps(event, recipients)])

    def still(self, databases: tuple[str, ...]) -> tuple[str, ...]:
        """Those that are in the settings now: nothing goes to one that has left them."""
        if databases is self._one_for_all:
            return databases
        return tuple([name for name in databases if name in self.keepers])

    def known(self, databases: Sequence[str]) -> tuple[str, ...]:
        """The same names as a tuple that messages share."""
        if self._one_for_all is not None and databases == list(self._one_for_all):
            return self._one_for_all
        return tuple(databases)

    def copies(
        self,
        capture: Capture,
        place: Place,
        outcomes: Mapping[str, Outcome],
        parts: Sequence[tuple[str, Collection[str]]],
    ) -> Copies:
        """The copies for each database's recipients, in that order.

        Args:
            capture: the capture that brings them; its bytes are in each copy.
            place: of the journal record, and the message.
            outcomes: by recipient, what differs from ok, as sent.
            parts: database and recipients.
        """
        count = sum([len(recipients) for _, recipients in parts])
        size = count * (len(capture.value) - capture.recipients_end + capture.recipients_start)
        if outcomes:  # recipients of one fate share an outcome, whose bytes are then in each of their copies
            sizes = {id(one): delivered_bytes(one) for one in outcomes.values()}
            size += sum([sizes[id(outcomes[one])] for _, recipients in parts for one in recipients if one in outcomes])
        return Copies(count, size, self._each(capture, place, outcomes, parts))

    def _each(
        self,
        capture: Capture,
        place: Place,
        outcomes: Mapping[str, Outcome],
        parts: Sequence[tuple[str, Collection[str]]],
    ) -> Iterator[tuple[bytes, bytes]]:
        wire = wire_header(self._copy_schema_ids[capture.schema_id])
        sender = capture.event["sender"]
        standing = b"".join(
            (
                text(place.lineage),
                long(place.partition),
                long(place.sequence),
                long(place.into),
                text(place.message_event_id),
                b"\1" if place.taken else b"\0",
                capture.without_recipients(),
            )
        )
        index = 0
        for database, recipients in parts:
            keeper = self.keepers[database]
            as_sent = _outcome_bytes(_AS_SENT) + text(database) + standing
            rests: dict[int, bytes] = {}
            for recipient in recipients:
                rest = as_sent
                if outcomes and (outcome := outcomes.get(recipient)) is not None:
                    rest = rests.get(id(outcome), b"")
                    if not rest:
                        rest = rests[id(outcome)] = _outcome_bytes(outcome) + text(database) + standing
                key, name = self._name(recipient)
                direction = _DIRECTION_BYTE[keeper.direction(sender, recipient)] if keeper.domains else _INTERNAL
                yield key, b"".join((wire, name, long(index), direction, rest))
                index += 1

    def _name(self, recipient: str) -> tuple[bytes, bytes]:
        found = self._encoded.get(recipient)
        if found is None:
            if len(self._encoded) >= CACHED_NAMES:
                self._encoded.clear()
            found = self._encoded[recipient] = (recipient.encode(), text(recipient))
        return found


def _outcome_bytes(outcome: Outcome) -> bytes:
    return b"".join(
        (
            _DECISION_BYTE[outcome.decision],
            optional_text(outcome.delivered_body),
            texts(outcome.rules),
            text(outcome.reason),
            delivered_files(outcome.files) if outcome.files else _NO_FILES,
        )
    )
