"""Who belongs to which group, and when: nested groups, patterns, memberships that begin and end.

Addresses are compared without regard to case, as XMPP servers prepare them (RFC 7622, 3.3 and 3.2).
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from pipeline.policy.model import Member

ALWAYS: Final = (-(1 << 62), 1 << 62)
MOST_KNOWN: Final = 200_000
"""People whose groups are remembered; the memory is emptied when full."""

Span = tuple[int, int]
"""Microseconds since 1970, the end exclusive."""


def folded(text: str) -> str:
    """Alike for what looks alike to a server: composed, in one case and width (RFC 8265)."""
    return (
        text.casefold()
        if text.isascii()
        else unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    )


def bare(address: str) -> str:
    """An address without its resource and the dot that may end a domain, to be compared (RFC 7622, section 3)."""
    return folded(address.partition("/")[0]).rstrip(".")


class Pattern(NamedTuple):
    """What an address must begin and end with; without a * in it, `end` is empty and `exact` holds."""

    start: str
    end: str
    exact: bool

    @classmethod
    def of(cls, who: str) -> Pattern:
        """The pattern of an address or of addresses with one * in it."""
        start, star, end = folded(who).partition("*")
        return cls(start, end, not star)

    def matches(self, address: str) -> bool:
        """Whether it is one of these; `address` is casefolded."""
        if self.exact:
            return address == self.start
        return (
            len(address) >= len(self.start) + len(self.end)
            and address.startswith(self.start)
            and address.endswith(self.end)
        )


class Membership(NamedTuple):
    """Groups of one person: between `times[n - 1]` and `times[n]` they are `sets[n]`."""

    times: tuple[int, ...]
    sets: tuple[frozenset[int], ...]

    def at(self, time: int) -> frozenset[int]:
        """Numbers of the groups at a time, in microseconds."""
        return self.sets[bisect_right(self.times, time)] if self.times else self.sets[0]


class Groups:
    """Numbers the groups of a policy and tells those of a person.

    Args:
        groups: members by name of the group; nested without circles, all names known.
        selectors: further lists of who (sides of walls, senders of a rule ...): each becomes a group of its own, numbered
            in their order, before the named ones.
    """

    def __init__(self, groups: Mapping[str, Iterable[Member]], selectors: Iterable[Iterable[str]] = ()) -> None:
        self._known: dict[str, Membership] = {}
        self._exact: dict[str, list[tuple[int, Span]]] = {}
        self._patterns: list[tuple[Pattern, int, Span]] = []
        self._inside: dict[int, list[tuple[int, Span]]] = {}
        lists = [[Member(who=who) for who in one] for one in selectors]
        self._numbers = {name: number for number, name in enumerate(groups, len(lists))}
        for number, members in enumerate([*lists, *groups.values()]):
            for member in members:
                self._add(member, number)

    def _add(self, member: Member, number: int) -> None:
        span = _microseconds(member.since, ALWAYS[0]), _microseconds(member.until, ALWAYS[1])
        if "@" not in member.who:
            self._inside.setdefault(self._numbers[member.who], []).append((number, span))
        elif (pattern := Pattern.of(member.who)).exact:
            self._exact.setdefault(pattern.start, []).append((number, span))
        else:
            self._patterns.append((pattern, number, span))

    def number(self, name: str) -> int:
        """The number of a named group."""
        return self._numbers[name]

    def of(self, address: str) -> Membership:
        """The groups of a person over all time."""
        found = self._known.get(address)
        if found is None:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[address] = self._find(bare(address))
        return found

    def _find(self, address: str) -> Membership:
        held = [
            *self._exact.get(address, ()),
            *((number, span) for pattern, number, span in self._patterns if pattern.matches(address)),
        ]
        seen = set(held)
        while held:  # a member of a group that is in a group is in both while both memberships hold
            number, (since, until) = held.pop()
            for outer, (outer_since, outer_until) in self._inside.get(number, ()):
                both = max(since, outer_since), min(until, outer_until)
                if both[0] < both[1] and (outer, both) not in seen:
                    seen.add((outer, both))
                    held.append((outer, both))
        times = sorted({time for _, span in seen for time in span} - set(ALWAYS))
        starts = [ALWAYS[0], *times]
        return Membership(
            tuple(times),
            tuple(frozenset(number for number, (since, until) in seen if since <= start < until) for start in starts),
        )


def _microseconds(value: datetime | None, otherwise: int) -> int:
    return otherwise if value is None else round(value.timestamp() * 1_000_000)
