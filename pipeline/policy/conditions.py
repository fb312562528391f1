"""Conditions of rules, made ready: one test of the event, one of each recipient."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from pipeline.policy.content import Finding, Scanner
from pipeline.policy.findings import Strength
from pipeline.policy.groups import Groups
from pipeline.policy.model import DAYS, Condition, Content, Hours
from pipeline.policy.patterns import Pattern
from pipeline.records import Direction, Event, Span

Everybody: Final = None
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Selectors:
    """Lists of who, numbered as Groups takes them."""

    def __init__(self) -> None:
        self.lists: list[tuple[str, ...]] = []

    def add(self, who: tuple[str, ...] | None) -> int:
        """The number of a list; -1 for none."""
        if who is None:
            return -1
        self.lists.append(who)
        return len(self.lists) - 1


class Contents:
    """All that the conditions of a policy look for in texts, for one scan."""

    def __init__(self) -> None:
        self._patterns: list[Pattern] = []
        self._entities: list[str] = []

    def add(self, content: Content) -> dict[str, Strength]:
        """What findings of it are named, and how sure they must be."""
        wanted: dict[str, Strength] = {}
        for entity in content.entities:
            self._entities.append(entity)
            wanted[entity] = Strength[content.at_least.upper()]
        for text, keyword in (*((one, True) for one in content.keywords), *((one, False) for one in content.patterns)):
            name = f"pattern-{len(self._patterns)}"
            self._patterns.append(Pattern(name, text, keyword=keyword))
            wanted[name] = Strength.STRONG
        return wanted

    def scanner(self) -> Scanner | None:
        """What looks for all of it; None where there is nothing."""
        if not self._patterns and not self._entities:
            return None
        return Scanner(self._patterns, self._entities)


class Seen:
    """What is in one body, looked for when it is first asked for."""

    def __init__(self, scanner: Scanner | None, body: str) -> None:
        self._scanner, self._body = scanner, body
        self._found: dict[str, list[Finding]] | None = None

    def findings(self) -> Mapping[str, Sequence[Finding]]:
        """By name."""
        if self._found is None:
            self._found = {}
            if self._scanner is not None and self._body:
                for one in self._scanner.scan(self._body):
                    self._found.setdefault(one.name, []).append(one)
        return self._found


class Test:
    """A condition, ready to be asked.

    Args:
        condition: as in the file.
        selectors: where its lists of who are put.
        contents: where what it looks for in texts is put.
        domains: ours, for directions.
    """

    def __init__(self, condition: Condition, selectors: Selectors, contents: Contents, domains: Sequence[str]) -> None:
        self._kinds = frozenset(condition.kinds or ())
        self._types = frozenset(condition.conversation_types or ())
        self._clusters = frozenset(condition.clusters or ())
        self._sender = selectors.add(condition.senders)
        self._recipient = selectors.add(condition.recipients)
        self._directions = frozenset(condition.directions or ())
        self._domains = frozenset(one.casefold() for one in domains)
        self._hours = clock(condition.hours) if condition.hours else None
        self._content = condition.content
        self._wanted = contents.add(condition.content) if condition.content else {}

    def holds(self, event: Event, source: frozenset[int]) -> bool:
        """Whether the event itself is like this; `source`: its sender's groups when it was sent."""
        return (
            (not self._kinds or event["kind"] in self._kinds)
            and (self._sender < 0 or self._sender in source)
            and (not self._types or event["conversation_type"] in self._types)
            and (not self._clusters or event["cluster"] in self._clusters)
            and (self._hours is None or self._hours(event["sent_at"]))
        )

    def found(self, seen: Seen) -> tuple[Span, ...] | None:
        """Where in the text is what it looks for, in order; None where that is too little, () where it looks for nothing."""
        if self._content is None:
            return ()
        spans = {
            one.span
            for name, least in self._wanted.items()
            for one in seen.findings().get(name, ())
            if one.strength >= least
        }
        return tuple(sorted(spans)) if len(spans) >= self._content.count else None

    def places(self, event: Event, recipients: Sequence[str], groups: Groups) -> tuple[int, ...] | None:
        """Those of the recipients whom it is about; None: all of them."""
        if self._recipient < 0 and not self._directions:
            return Everybody
        found: list[int] = []
        for place, recipient in enumerate(recipients):
            if self._recipient >= 0 and self._recipient not in groups.of(recipient).at(event["sent_at"]):
                continue
            if self._directions and self._direction(event["sender"], recipient) not in self._directions:
                continue
            found.append(place)
        return tuple(found)

    def _direction(self, sender: str, recipient: str) -> Direction:
        source, target = (one.rpartition("@")[2].casefold() in self._domains for one in (sender, recipient))
        if source:
            return "internal" if target else "outbound"
        return "inbound" if target else "federated"


def clock(hours: Hours) -> Callable[[int], bool]:
    """Whether a time, in microseconds since 1970, falls into the hours."""
    zone = ZoneInfo(hours.zone)
    days = frozenset(DAYS.index(day) for day in hours.days)
    start, end = hours.source, hours.target
    over_midnight = end is not None and end <= start

    def test(at: int) -> bool:
        local = (_EPOCH + timedelta(microseconds=at)).astimezone(zone)
        now, day = local.time(), local.weekday()
        if over_midnight and end is not None and now < end:
            return (day - 1) % 7 in days
        return day in days and start <= now and (end is None or over_midnight or now < end)

    return test
