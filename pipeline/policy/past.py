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
"""Disclaimers shown, conversations with people in them, and ends of texts; the oldest is forgotten first."""
TAIL: Final = 64
"""Characters of a text that are remembered, for what is split over two messages."""
MOST_PEOPLE: Final = 1_000
"""People of one conversation who are remembered."""
NOBODY: Final[frozenset[str]] = frozenset()


class Past:
    """What has happened in one partition so far; `now` is set before each event, in milliseconds."""

    __slots__ = ("_people", "_shown", "_tails", "now")

    def __init__(self) -> None:
        self.now = 0
        self._shown: dict[tuple[str, str], int] = {}
        self._people: dict[str, dict[str, None]] = {}
        self._tails: dict[tuple[str, str], tuple[str, str]] = {}

    def was_shown(self, rule: str, conversation: str, within_ms: int) -> bool:
        """Whether a disclaimer was shown in a conversation so lately."""
        at = self._shown.get((rule, conversation))
        return at is not None and self.now - at < within_ms

    def people(self, conversation: str) -> Collection[str]:
        """Who has joined and not left, casefolded."""
        return self._people.get(conversation, NOBODY)

    def tail(self, event: Event) -> str:
        """How the sender's text before this one ended, in the same conversation; also when this one is already known."""
        found = self._tails.get((event["conversation"], event["sender"]))
        if found is None:
            return ""
        before, last = found
        return before if last == event["body"][-TAIL:] else last

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
            key = event["conversation"], event["sender"]
            _, last = self._tails.pop(key, ("", ""))
            self._tails[key] = last, event["body"][-TAIL:]
            if len(self._tails) > MOST:
                del self._tails[next(iter(self._tails))]
        if event["kind"] == "join" and decision != "blocked":
            self._join(event["conversation"], event["sender"].casefold())
        elif event["kind"] == "leave":
            self._leave(event["conversation"], event["sender"].casefold())

    def shown(self, event: Event, arrival: int, changed_by: Iterable[str]) -> None:
        """Remember which rules changed what was delivered of an event; `take` does this and more."""
        for rule in changed_by:
            key = rule, event["conversation"]
            self._shown.pop(key, None)
            self._shown[key] = arrival
            if len(self._shown) > MOST:
                del self._shown[next(iter(self._shown))]

    def _join(self, conversation: str, person: str) -> None:
        people = self._people.pop(conversation, {})
        self._people[conversation] = people
        people[person] = None
        if len(people) > MOST_PEOPLE:
            del people[next(iter(people))]
        if len(self._people) > MOST:
            del self._people[next(iter(self._people))]

    def _leave(self, conversation: str, person: str) -> None:
        people = self._people.get(conversation)
        if people is not None:
            people.pop(person, None)
            if not people:
                del self._people[conversation]
