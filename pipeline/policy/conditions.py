"""Conditions of rules, made ready: one test of the event, one of each recipient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.policy.content import Finding, Scanner
from pipeline.policy.files import FileFacts, inspect
from pipeline.policy.findings import Strength
from pipeline.policy.groups import Groups, bare, folded
from pipeline.policy.groups import Pattern as Glob
from pipeline.policy.model import DAYS, Condition, Content, Hours
from pipeline.policy.patterns import Pattern
from pipeline.records import Attachment, Direction, Event, Span

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
            self._patterns.append(Pattern(name, text, keyword=keyword, case=not keyword))
            wanted[name] = Strength.STRONG
        return wanted

    def scanner(self) -> Scanner | None:
        """What looks for all of it; None where there is nothing."""
        if not self._patterns and not self._entities:
            return None
        return Scanner(self._patterns, self._entities)


class Hits(NamedTuple):
    """What a condition's content and files found."""

    spans: tuple[Span, ...] = ()
    """In the body, in order."""
    elsewhere: bool = False
    """Also, or only, in a text beside the body."""
    files: tuple[int, ...] = ()
    """Places of attachments."""


NOTHING_SOUGHT: Final = Hits()
NOTHING_FOUND: Final[Mapping[str, Sequence[Finding]]] = {}


class Seen:
    """What is in one event, looked for when it is first asked for.

    Texts are the body, with what began at the end of the sender's text `before` it, and beside it the values of attributes (a poll's options, a question) and the files' names.
    """

    def __init__(self, scanner: Scanner | None, event: Event, before: str) -> None:
        self._scanner, self._event, self._before = scanner, event, before
        self._found: Mapping[str, Sequence[Finding]] | None = None
        self._beside: Mapping[str, Sequence[Finding]] | None = None
        self._facts: list[FileFacts] | None = None

    def anything(self) -> bool:
        """Whether any text holds anything that any rule looks for."""
        if self.findings():
            return True
        return bool(self._event["attributes"] or self._event["attachments"]) and bool(self.beside())

    def findings(self) -> Mapping[str, Sequence[Finding]]:
        """In the body, by name."""
        if self._found is None:
            body = self._event["body"]
            hits = self._scanner.scan(body) if body and self._scanner is not None else []
            if self._before and self._scanner is not None:
                hits += self._scanner.seam(self._before, body)
            self._found = _by_name(hits) if hits else NOTHING_FOUND
        return self._found

    def beside(self) -> Mapping[str, Sequence[Finding]]:
        """In the other texts, by name; their spans are of no use."""
        if self._beside is None:
            texts = list(self._event["attributes"].values())
            for file in self._event["attachments"]:
                texts += [file["name"], file["display_name"] or ""]
            scanner = self._scanner
            self._beside = (
                _by_name([one for text in texts if text for one in scanner.scan(text)]) if scanner else NOTHING_FOUND
            )
        return self._beside

    def facts(self) -> Sequence[FileFacts]:
        """What each attachment is, by its content."""
        if self._facts is None:
            self._facts = [inspect(file["content"]) for file in self._event["attachments"]]
        return self._facts


def _by_name(hits: Iterable[Finding]) -> dict[str, list[Finding]]:
    found: dict[str, list[Finding]] = {}
    for one in hits:
        found.setdefault(one.name, []).append(one)
    return found


class Test:
    """A condition, ready to be asked.

    Args:
        condition: as in the file.
        selectors: where its lists of who are put.
        contents: where what it looks for in texts is put.
        domains: ours, for directions.
    """

    def __init__(self, condition: Condition, selectors: Selectors, contents: Contents, domains: Sequence[str]) -> None:
        self.kinds = frozenset(condition.kinds or ())
        self.types = frozenset(condition.conversation_types or ())
        self.clusters = frozenset(condition.clusters or ())
        self.conversations = [Glob.of(one) for one in condition.conversations or ()]
        self.sender = selectors.add(condition.senders)
        self.recipient = selectors.add(condition.recipients)
        self.directions = frozenset(condition.directions or ())
        self._domains = frozenset(folded(one) for one in domains)
        self.hours = clock(condition.hours) if condition.hours else None
        self.content = condition.content
        self.wanted = contents.add(condition.content) if condition.content else {}
        self.files = condition.files
        self._names = [Glob.of(name) for name in condition.files.names or ()] if condition.files else []

    def holds(self, event: Event, source: frozenset[int]) -> bool:
        """Whether the event itself is like this; `source`: its sender's groups when it was sent."""
        return (
            (not self.kinds or event["kind"] in self.kinds)
            and (self.sender < 0 or self.sender in source)
            and (not self.types or event["conversation_type"] in self.types)
            and (not self.clusters or event["cluster"] in self.clusters)
            and (not self.conversations or self.is_there(event))
            and (self.hours is None or self.hours(event["sent_at"]))
        )

    def is_there(self, event: Event) -> bool:
        """Whether it is in one of the conversations that are named."""
        names = [name.casefold() for name in (event["conversation"], event["conversation_name"]) if name]
        return any(one.matches(name) for one in self.conversations for name in names)

    def found(self, event: Event, seen: Seen) -> Hits | None:
        """What it looks for in texts and files; None where that is too little."""
        if self.content is None and self.files is None:
            return NOTHING_SOUGHT
        files: tuple[int, ...] = ()
        if self.files is not None:
            files = tuple(place for place, file in enumerate(event["attachments"]) if self.is_like(file, place, seen))
            if len(files) <= self.files.more_than:
                return None
        if self.content is None:
            return Hits(files=files)
        spans = {one.span for one in self._strong(seen.findings())}
        beside = sum(1 for _ in self._strong(seen.beside()))
        return Hits(tuple(sorted(spans)), beside > 0, files) if len(spans) + beside >= self.content.count else None

    def _strong(self, found: Mapping[str, Sequence[Finding]]) -> Iterable[Finding]:
        if found:
            for name, least in self.wanted.items():
                for one in found.get(name, ()):
                    if one.strength >= least:
                        yield one

    def is_like(self, file: Attachment, place: int, seen: Seen) -> bool:
        wanted = self.files
        if wanted is None:
            return False
        if wanted.larger_than is not None and max(file["size"], len(file["content"] or b"")) <= wanted.larger_than:
            return False
        shown = [name.casefold() for name in (file["name"], file["display_name"]) if name]
        if self._names and not any(glob.matches(name) for glob in self._names for name in shown):
            return False
        if wanted.types is None and wanted.archive is None and wanted.encrypted is None:
            return True
        facts = seen.facts()[place]
        return (
            (wanted.types is None or _is_type(facts.media_type or file["media_type"].lower(), wanted.types))
            and (wanted.archive is None or wanted.archive == facts.archive)
            and (wanted.encrypted is None or wanted.encrypted == facts.encrypted)
        )

    def places(self, event: Event, recipients: Sequence[str], groups: Groups) -> tuple[int, ...] | None:
        """Those of the recipients whom it is about; None: all of them."""
        if self.recipient < 0 and not self.directions:
            return Everybody
        found: list[int] = []
        for place, recipient in enumerate(recipients):
            if self.recipient >= 0 and self.recipient not in groups.of(recipient).at(event["sent_at"]):
                continue
            if self.directions and self.direction(event["sender"], recipient) not in self.directions:
                continue
            found.append(place)
        return tuple(found)

    def direction(self, sender: str, recipient: str) -> Direction:
        source, target = (bare(one).rpartition("@")[2] in self._domains for one in (sender, recipient))
        if source:
            return "internal" if target else "outbound"
        return "inbound" if target else "federated"


def _is_type(found: str, wanted: Iterable[str]) -> bool:
    family = found.partition("/")[0] + "/*"
    return any(one in (found, family) for one in wanted)


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
