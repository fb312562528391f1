"""Merging: which captures are one message. State in memory, bounded, with nothing in it that the journal does not say.

INGEST.md's rules, in the order in which they are tried:

    retry      the same event_id and the same bytes
    (reused)   the same event_id with other bytes: a message of its own; ids that it shares stay with the earlier one
    origin_id  the same conversation, sender and content, and the same origin id
    stanza_id  the same conversation, sender and content, and the same id by the same server
    path       no ids at all, the same sent_at as well, and a path that the message has not taken yet

What a capture is recognised by is in identity.py. Ints and arrays, not objects: a million messages with all their ids must fit in 600 MB.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

from pipeline.records import Capture, Decision, DeliveredFile, Event, Outcome
from pipeline.stages.alike import Alike
from pipeline.stages.identity import Identity, again, altered_keys, content_hash, delivered_keys, of_message

CHUNK: Final = 512
"""Messages that are forgotten by the memory limit at once."""
KEY_BYTES: Final = 80
"""Measured: a key's int, its place in the dict, and in its chunk."""
MESSAGE_BYTES: Final = 130
"""Measured: a message's columns and its number, without its recipients and event_id."""
RECORD_BYTES: Final = 600
PATH_BYTES: Final = 450
LIST_BYTES: Final = 72
NAME_BYTES: Final = 150
"""Reckoned: a Record, a path of a message without ids, a list of recipients without its names, a name of a long list."""
MOST_SHARED_NAMES: Final = 200_000
MOST_SHARED_LISTS: Final = 4096


Recipients = tuple[str, ...] | dict[str, None]
"""Whom a message has reached, in that order: a tuple that messages share, or for long lists a dict of its own."""
LONG_LIST: Final = 64


class Fit(NamedTuple):
    """Where a capture belongs."""

    rule: str
    number: int
    """Of the message, within this state."""
    also: tuple[int, ...]
    """Numbers of other messages that it fits."""


class Record:
    """What a message has on record beyond the common case (ok, as sent, its own event_id): kept only where it differs."""

    __slots__ = (
        "_blocked",
        "_texts",
        "decision",
        "delivered_body",
        "delivered_files",
        "outcomes",
        "reason",
        "rules",
        "taken",
    )

    def __init__(self) -> None:
        self.decision: Decision = "ok"
        self.reason = ""
        self.rules: tuple[str, ...] = ()
        self.delivered_body: str | None = None
        self.delivered_files: tuple[DeliveredFile, ...] = ()
        self.outcomes: dict[str, Outcome] = {}
        """By recipient, what differs from ok, as sent."""
        self.taken = False
        self._blocked: list[str] = []
        self._texts: set[str] = set()

    def blocked(self) -> list[str]:
        """Recipients who did not get the message."""
        return self._blocked

    def delivered(self) -> set[str]:
        """Texts that the message was delivered with in place of its body."""
        return self._texts

    def put(self, outcomes: Mapping[str, Outcome]) -> None:
        """Note what differs from ok, as sent, by recipient."""
        self.outcomes.update(outcomes)
        self._blocked += [recipient for recipient, one in outcomes.items() if one.decision == "blocked"]
        self._texts.update([one.delivered_body for one in outcomes.values() if one.delivered_body is not None])


class _Chunk:
    """Columns of consecutive messages, judged under one policy."""

    __slots__ = (
        "arrivals",
        "captures",
        "charged",
        "contents",
        "databases",
        "event_ids",
        "keys",
        "policy",
        "recipients",
        "records",
        "sequences",
        "shared",
        "timed",
    )

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.charged = 0
        self.sequences = array("q")
        self.arrivals = array("q")
        self.contents = array("q")
        self.event_ids: list[bytes] = []
        self.recipients: list[Recipients] = []
        self.databases: list[tuple[str, ...]] = []
        self.captures = array("q")
        self.keys = array("q")
        self.timed: list[int] = []
        self.shared: list[int] = []
        self.records: dict[int, Record] = {}


class MergeState:
    """The messages of one partition that a capture can still be merged into.

    Args:
        max_entries: most keys remembered; over it the oldest messages are forgotten.
        max_bytes: most memory, in bytes, by this class's own estimate.
    """

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self.max_entries, self.max_bytes = max_entries, max_bytes
        self._forgotten = 0
        self._chunk_size = max(1, min(CHUNK, max_entries // 64))
        self._index: dict[int, int] = {}
        self._timed: dict[int, Alike] = {}
        self._shared_keys: dict[int, list[int]] = {}
        self._chunks: dict[int, _Chunk] = {}
        self._first = self._next = self._floor = 0
        self._shared: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._names: dict[str, str] = {}
        self._charged = 0

    # -- sizes ---------------------------------------------------------------------------------------------------

    @property
    def entries(self) -> int:
        """Keys in memory."""
        return len(self._index) + len(self._timed) + len(self._shared_keys)

    @property
    def bytes(self) -> int:
        """Memory used, in bytes, estimated."""
        return self.entries * KEY_BYTES + (self._next - self._first) * MESSAGE_BYTES + self._charged

    @property
    def messages(self) -> int:
        """Messages that are remembered."""
        return self._next - self._floor

    def take_forgotten(self) -> int:
        """How many messages the limits have made it forget since this was last asked."""
        forgotten, self._forgotten = self._forgotten, 0
        return forgotten

    # -- looking up ----------------------------------------------------------------------------------------------

    def find(self, identity: Identity) -> Fit | None:
        """The message that a capture belongs to, or None; `rule` is "reused" where its event_id came with other bytes."""
        number = self._live(identity.event)
        if number is not None and of_message(identity.bytes_digest, number) in self._chunk(number).captures:
            return Fit("retry", number, ())
        if number is None and self._shared_keys:
            number = next(self._sharing(identity.event), None)
        if number is not None:
            same = self._live(again(identity))
            return Fit("reused", number, ()) if same is None else Fit("retry", same, ())
        if identity.timed is not None:
            return self._find_by_path(identity)
        rules: dict[int, str] = {}
        if identity.origin is not None:
            self._add_matching(rules, identity.origin, identity.content, "origin_id")
        for key in identity.stanzas:
            self._add_matching(rules, key, identity.content, "stanza_id")
        for key in identity.delivered:
            for number in self._sharing(key):
                record = self.record(number)
                if record is not None and identity.body in record.delivered():
                    rules.setdefault(number, "delivered")
        if not rules:
            return None
        found = min(rules)
        return Fit(rules[found], found, tuple(sorted(rules.keys() - {found})) if len(rules) > 1 else ())

    def _find_by_path(self, identity: Identity) -> Fit | None:
        alike = self._timed.get(identity.timed or 0)
        if alike is None:
            return None
        fits = [
            number
            for number in alike.lacking(identity.path)
            if number >= self._floor and self._content(number) == identity.content
        ]
        return Fit("path", fits[0], tuple(fits[1:])) if fits else None

    def _live(self, key: int) -> int | None:
        number = self._index.get(key)
        return number if number is not None and number >= self._floor else None

    def _add_matching(self, rules: dict[int, str], key: int, content: int, rule: str) -> None:
        number = self._index.get(key)
        if number is not None and number >= self._floor and self._content(number) == content:
            rules.setdefault(number, rule)
        if key in self._shared_keys:
            for other in self._sharing(key):
                if self._content(other) == content:
                    rules.setdefault(other, rule)

    def _sharing(self, key: int) -> Iterator[int]:
        """Messages that have a key in common with others, the earliest first."""
        return (number for number in self._shared_keys.get(key, ()) if number >= self._floor)

    def _content(self, number: int) -> int:
        return self._chunk(number).contents[self._place(number)]

    def _chunk(self, number: int) -> _Chunk:
        return self._chunks[number // self._chunk_size]

    def _place(self, number: int) -> int:
        return number % self._chunk_size

    # -- what a message has on record ----------------------------------------------------------------------------

    def sequence(self, number: int) -> int:
        """Journal sequence of a message."""
        return self._chunk(number).sequences[self._place(number)]

    def event_id(self, number: int) -> str:
        """event_id of its first capture."""
        return self._chunk(number).event_ids[self._place(number)].decode()

    def policy(self, number: int) -> str:
        """Digest of the policy that it was judged by."""
        return self._chunk(number).policy

    def recipients(self, number: int) -> Recipients:
        """Whom it has reached, in that order."""
        return self._chunk(number).recipients[self._place(number)]

    def databases(self, number: int) -> tuple[str, ...]:
        """Which databases keep it."""
        return self._chunk(number).databases[self._place(number)]

    def record(self, number: int) -> Record | None:
        """What else there is to it, if anything."""
        return self._chunk(number).records.get(self._place(number))

    def record_for_writing(self, number: int) -> Record:
        """The same, made if there is none."""
        records = self._chunk(number).records
        place = self._place(number)
        if place not in records:
            records[place] = Record()
            self._charge(self._chunk(number), RECORD_BYTES)
        return records[place]

    def number_of(self, sequence: int) -> int | None:
        """The message with this journal sequence, or None if it is forgotten."""
        low, high = self._floor, self._next
        while low < high:
            middle = (low + high) // 2
            if self.sequence(middle) < sequence:
                low = middle + 1
            else:
                high = middle
        return low if low < self._next and self.sequence(low) == sequence else None

    # -- remembering ---------------------------------------------------------------------------------------------

    def accept(
        self,
        identity: Identity,
        event: Event,
        sequence: int,
        arrival: int,
        policy: str,
        recipients: tuple[str, ...],
        databases: tuple[str, ...],
        *,
        reused: bool,
    ) -> int:
        """Remember a message; gives its number."""
        number = self._next
        chunk = self._chunks.get(number // self._chunk_size)
        if chunk is not None and chunk.policy != policy:
            number = (number // self._chunk_size + 1) * self._chunk_size  # a chunk has one policy
            self._pad(chunk, number)
            chunk = None
        if chunk is None:
            chunk = self._chunks[number // self._chunk_size] = _Chunk(policy)
        raw_id = event["event_id"].encode()
        chunk.sequences.append(sequence)
        chunk.arrivals.append(arrival)
        chunk.contents.append(identity.content)
        chunk.event_ids.append(raw_id)
        chunk.recipients.append(self._share(chunk, recipients))
        chunk.databases.append(databases)
        self._next = number + 1
        self._charge(chunk, len(raw_id))
        if reused:
            # In a list, not in place of the earlier message: a fold may begin behind that one and must come to the same.
            self._bind(chunk, again(identity), number)
            for key in (identity.event, *identity.stanzas, *(() if identity.origin is None else (identity.origin,))):
                self._share_key(chunk, key, number)
            if identity.timed is not None:
                self._bind_path(chunk, identity.timed, identity.path, number)
            self.record_for_writing(number).taken = True
        else:
            self.bind(identity, number)
        return number

    def _pad(self, chunk: _Chunk, until: int) -> None:
        """Fill a chunk's unused numbers with nothing that could be found."""
        while self._next < until:
            chunk.sequences.append(chunk.sequences[-1])
            chunk.arrivals.append(chunk.arrivals[-1])
            chunk.contents.append(0)
            chunk.event_ids.append(b"")
            chunk.recipients.append(())
            chunk.databases.append(())
            self._next += 1

    def bind(self, identity: Identity, number: int) -> None:
        """Bind a capture's ids to its message; one that is bound to a remembered message stays there."""
        chunk = self._chunk(number)
        chunk.captures.append(of_message(identity.bytes_digest, number))
        self._bind(chunk, identity.event, number)
        if identity.content != self._content(number):
            return  # it came by a delivered text: that text with its ids may be another message
        if identity.origin is not None:
            self._bind(chunk, identity.origin, number)
        for key in identity.stanzas:
            self._bind(chunk, key, number)
        if identity.timed is not None:
            self._bind_path(chunk, identity.timed, identity.path, number)

    def _bind(self, chunk: _Chunk, key: int, number: int) -> None:
        bound = self._index.get(key)
        if bound is not None and bound >= self._floor:
            return
        if key in self._shared_keys and any(other != number for other in self._sharing(key)):
            return
        self._index[key] = number
        chunk.keys.append(key)

    def _share_key(self, chunk: _Chunk, key: int, number: int) -> None:
        numbers = self._shared_keys.setdefault(key, [])
        at = bisect_left(numbers, number)
        if at == len(numbers) or numbers[at] != number:
            numbers.insert(at, number)
            chunk.shared.append(key)
            self._charge(chunk, LIST_BYTES)

    def _bind_path(self, chunk: _Chunk, timed: int, path: int, number: int) -> None:
        alike = self._timed.get(timed)
        if alike is None:
            alike = self._timed[timed] = Alike()
        if alike.add(number, path):
            chunk.timed.append(timed)
        self._charge(chunk, PATH_BYTES)

    def bind_delivered(self, capture: Capture, number: int) -> None:
        """Let captures of phase delivered find the message by the texts that it was delivered with.

        One with yet another text is no capture of the message, but it is found by its ids as well.
        """
        record = self.record(number)
        if record is None or not record.outcomes:
            return
        for body in sorted(record.delivered()):
            content = content_hash(capture.event, body)
            for key in delivered_keys(capture.event, content):
                self._share_key(self._chunk(number), key, number)
        for key in altered_keys(capture.event):
            self._share_key(self._chunk(number), key, number)

    def altered(self, event: Event) -> int | None:
        """The earliest message with an id of this event that somebody was to be given otherwise than it was sent."""
        found = [number for key in altered_keys(event) for number in islice(self._sharing(key), 1)]
        return min(found) if found else None

    def reach(self, number: int, recipients: tuple[str, ...], databases: tuple[str, ...]) -> None:
        """Note further recipients of a message, and the databases that keep it now."""
        chunk, place = self._chunk(number), self._place(number)
        chunk.databases[place] = databases
        if not recipients:
            return
        reached = chunk.recipients[place]
        if isinstance(reached, tuple):
            chunk.recipients[place] = self._share(chunk, reached + recipients)
        else:  # one that keeps growing must not be copied each time
            reached.update(dict.fromkeys(recipients))
            self._charge(chunk, len(recipients) * NAME_BYTES)

    def _share(self, chunk: _Chunk, recipients: tuple[str, ...]) -> Recipients:
        """One object for equal lists and equal names: rooms have the same members all day."""
        if not recipients:
            return ()
        if len(recipients) > LONG_LIST:
            self._charge(chunk, len(recipients) * NAME_BYTES)
            return dict.fromkeys(recipients)
        shared = self._shared.get(recipients)
        if shared is None:
            if len(self._names) > MOST_SHARED_NAMES:
                self._names.clear()
            names = self._names
            shared = tuple([names.setdefault(name, name) for name in recipients])
            if len(self._shared) >= MOST_SHARED_LISTS:
                self._shared.clear()
            self._shared[shared] = shared
            self._charge(chunk, LIST_BYTES + 8 * len(shared))
        return shared

    # -- forgetting ----------------------------------------------------------------------------------------------

    def forget_before(self, arrival: int) -> None:
        """Forget the messages that arrived before `arrival` (milliseconds), and over the limits the oldest ones."""
        floor, last = self._floor, self._next
        while floor < last and self._chunk(floor).arrivals[self._place(floor)] < arrival:
            floor += 1
        if floor != self._floor:
            self._move_floor(floor)
        while self._floor < last and (self.entries > self.max_entries or self.bytes > self.max_bytes):
            chunk_end = min(last, (self._floor // self._chunk_size + 1) * self._chunk_size)
            self._forgotten += chunk_end - self._floor
            self._move_floor(chunk_end)

    def forget_below(self, sequence: int) -> None:
        """Forget the messages whose journal sequence is below `sequence`: a fold does what its record says."""
        floor = self._floor
        while floor < self._next and self.sequence(floor) < sequence:
            floor += 1
        if floor != self._floor:
            self._move_floor(floor)

    def floor(self, following: int) -> tuple[int, int]:
        """Sequence and arrival of the oldest message remembered; (`following`, 0) where there is none."""
        if self._floor == self._next:
            return following, 0
        chunk, place = self._chunk(self._floor), self._place(self._floor)
        return chunk.sequences[place], chunk.arrivals[place]

    def _move_floor(self, floor: int) -> None:
        size = self._chunk_size
        if floor == self._next:  # nothing is remembered: the next message begins a chunk, so that this one can go
            floor = self._next = -(-floor // size) * size
        self._floor = floor
        while self._first + size <= floor:
            self._drop(self._first // size, self._first + size)
            self._first += size

    def _drop(self, at: int, end: int) -> None:
        chunk = self._chunks.pop(at, None)
        if chunk is None:
            return
        for key in chunk.keys:
            bound = self._index.get(key)
            if bound is not None and bound < end:
                del self._index[key]
        for key in set(chunk.shared):
            numbers = [number for number in self._shared_keys.get(key, ()) if number >= end]
            if numbers:
                self._shared_keys[key] = numbers
            else:
                self._shared_keys.pop(key, None)
        for timed in set(chunk.timed):
            alike = self._timed.get(timed)
            if alike is not None and not alike.forget_below(end):
                del self._timed[timed]
        self._charged -= chunk.charged

    def _charge(self, chunk: _Chunk, size: int) -> None:
        chunk.charged += size
        self._charged += size
