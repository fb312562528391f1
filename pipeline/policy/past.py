"""What a policy remembers of the events before: disclaimers that a conversation was shown, who is in it, how texts ended.

Of one partition. Filled from the journal as merging is, so that a worker that takes a partition over judges as the one
before would have; what is older than the merge window is then forgotten. Forgetting is on the safe side: a disclaimer is
shown once more, and a wall that a chaperone had opened stands. Somebody is in a conversation from their join to their
leave, by any device and in any case of letters; a logout is told in another conversation, and ends nothing here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from pipeline.records import Decision, Event

MOST: Final = 100_000
"""Disclaimers shown, and conversations with people in them; the oldest is forgotten first."""
MOST_SPEAKERS: Final = 20_000
"""Senders in a conversation whose texts' ends are remembered: at most some 12 MB, whether a policy asks or not."""
TAIL: Final = 64
"""Characters of a text that are remembered, for what is split over two messages."""
MOST_TAILS: Final = 4
"""Texts of one sender in one conversation whose ends are remembered: captures of the last ones may bring others."""
LONGEST_ADDRESS: Final = 3_071
"""Of a bare address (RFC 7622, section 3.1: 1,023 bytes a part); nobody else is remembered to be in a room."""
MOST_PEOPLE: Final = 1_000
"""People of one conversation who are remembered."""
NOBODY: Final[frozenset[str]] = frozenset()


class Past:
    """What has happened in one partition so far.

    `now`, in milliseconds, and `again` are set before each event: another capture of a message that was taken before is
    judged for those whom it brings as the message was.
    """

    __slots__ = ("_people", "_shown", "_tails", "again", "now")

    def __init__(self) -> None:
        self.now = 0
        self.again = False
        self._shown: dict[tuple[str, int], tuple[int, int]] = {}
        self._people: dict[int, dict[str, None]] = {}
        self._tails: dict[int, tuple[str, ...]] = {}

    def was_shown(self, rule: str, event: Event, within_ms: int) -> bool:
        """Whether a disclaimer was shown in the event's conversation so lately, and not with this very message."""
        found = self._shown.get((rule, hash(event["conversation"])))
        return found is not None and self.now - found[0] < within_ms and not (self.again and found[1] == _said(event))

    def people(self, conversation: str) -> Collection[str]:
        """Who has joined and not left, casefolded."""
        return self._people.get(hash(conversation), NOBODY)

    def tail(self, event: Event) -> str:
        """How the sender's text before this one ended, in the same conversation."""
        tails = self._tails.get(_by(event), ())
        own = event["body"][-TAIL:]
        if self.again and own in tails:
            place = len(tails) - 1 - tails[::-1].index(own)
            return tails[place - 1] if place else ""
        return tails[-1] if tails else ""

    def take(self, event: Event, arrival: int, decision: Decision, changed_by: Iterable[str]) -> None:
        """Remember an event that was accepted.

        Args:
            event: the event.
            arrival: in milliseconds.
            decision: the verdict on it.
            changed_by: ids of the rules that changed what was delivered.
        """
        self.shown(event, arrival, changed_by)
        if event["body"]:
            key = _by(event)
            self._tails[key] = (*self._tails.pop(key, ())[1 - MOST_TAILS :], event["body"][-TAIL:])
            if len(self._tails) > MOST_SPEAKERS:
                del self._tails[next(iter(self._tails))]
        if event["kind"] == "join" and decision != "blocked":
            self._join(hash(event["conversation"]), event["sender"].casefold())
        elif event["kind"] == "leave":
            self._leave(hash(event["conversation"]), event["sender"].casefold())

    def shown(self, event: Event, arrival: int, changed_by: Iterable[str]) -> None:
        """Remember which rules changed what was delivered of an event; `take` does this and more."""
        for rule in changed_by:
            key = rule, hash(event["conversation"])
            self._shown.pop(key, None)
            self._shown[key] = arrival, _said(event)
            if len(self._shown) > MOST:
                del self._shown[next(iter(self._shown))]

    def _join(self, conversation: int, person: str) -> None:
        if len(person) > LONGEST_ADDRESS:
            return
        people = self._people.pop(conversation, {})
        self._people[conversation] = people
        people[person] = None
        if len(people) > MOST_PEOPLE:
            del people[next(iter(people))]
        if len(self._people) > MOST:
            del self._people[next(iter(self._people))]

    def _leave(self, conversation: int, person: str) -> None:
        people = self._people.get(conversation)
        if people is not None:
            people.pop(person, None)
            if not people:
                del self._people[conversation]


def _by(event: Event) -> int:
    return hash((event["conversation"], event["sender"].casefold()))


def _said(event: Event) -> int:
    return hash((event["sender"], event["kind"], event["body"]))
