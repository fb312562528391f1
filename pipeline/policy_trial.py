"""A policy tried on a file of events before it is in force: what would have happened, and what would change.

Each event is judged once, in the order of the file and on its own: captures of one message are not merged, so that a
message that was captured twice counts twice. What `compliance process` would reject for its size is not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Final

import orjson

from pipeline.engines import assemble
from pipeline.errors import Poison
from pipeline.jsonl import parse_line, read_lines
from pipeline.policy.explain import Explanation, Look, explain, look, recipients_of
from pipeline.policy.judge import RulePolicy
from pipeline.policy.past import Past
from pipeline.policy_source import load
from pipeline.records import DECISIONS, Event, Ingest, Judgement
from pipeline.registry import FixedSchemas
from pipeline.settings import Policy as NoApprovers
from pipeline.settings import Settings
from pipeline.stages.decode import read
from pipeline.stages.delivered import changed_by
from pipeline.terminal import Progress, no_progress

MOST_SHOWN: Final = 20
"""Differences in the summary of a diff."""
REPORT_LINES: Final = 1000


def ready(file: Path) -> RulePolicy:
    """The policy in a file; nobody need have approved it to try it.

    Raises:
        BadInput: it cannot be read or is wrong.
    """
    return load(file, NoApprovers())


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file of events."""

    number: int
    event: Event | None
    rejected: str
    """Why the pipeline would not take it; '' where there is an event."""


def lines(source: str, settings: Settings, progress: Progress = no_progress) -> Iterator[Line]:
    """The events of a file of JSON lines, also gzip; "-" for standard input.

    Raises:
        BadLine: a line is no event; the error names file, line and field.
    """
    return _decoded(source, read_lines(source), settings, progress)


def _decoded(
    source: str, numbered: Iterator[tuple[int, bytes]], settings: Settings, progress: Progress
) -> Iterator[Line]:
    tools = assemble.tools(settings, FixedSchemas(), partitions=0, topic=Path(source).name)
    for number, line in numbered:
        parsed = parse_line(line, source=source, number=number)
        record = Ingest(number, parsed.captured_at // 1000, parsed.conversation.encode(), parsed.value)
        try:
            yield Line(number, read(record, tools.events, tools.bounds).event, "")
        except Poison as poison:
            yield Line(number, None, str(poison))
        if number % REPORT_LINES == 0:
            progress(number, None)


class Judge:
    """A policy and what it remembers on its way through one file."""

    def __init__(self, policy: RulePolicy) -> None:
        self.policy = policy
        self._past = Past()

    def look(self, event: Event) -> Look:
        """Judge the next event."""
        self._arrive(event)
        found = look(self.policy, event, self._past)
        self._past.take(event, self._past.now, found.judgement.decision, changed_by(found.judgement))
        return found

    def explain(self, event: Event) -> Explanation:
        """Judge the next event and say why."""
        self._arrive(event)
        found = look(self.policy, event, self._past)
        explained = explain(self.policy, event, self._past, found)
        self._past.take(event, self._past.now, found.judgement.decision, changed_by(found.judgement))
        return explained

    def _arrive(self, event: Event) -> None:
        self._past.now = max(self._past.now, event["captured_at"] // 1000)


# -- test ------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Hits:
    """How often a wall or rule fired."""

    id: str
    sort: str
    """wall, or the rule's action."""
    events: int = 0
    recipients: int = 0
    first: str | None = None
    """The event_id of the first event."""

    def take(self, event: Event, recipients: int) -> None:
        """Count an event."""
        self.events += 1
        self.recipients += recipients
        self.first = event["event_id"] if self.first is None else self.first


def _of_none() -> dict[str, int]:
    return dict.fromkeys(DECISIONS, 0)


@dataclass(slots=True)
class Tried:
    """What a policy would have done with the events of a file."""

    digest: str
    events: int = 0
    rejected: int = 0
    """Lines that the pipeline would not take; they are not among the events."""
    decisions: dict[str, int] = field(default_factory=_of_none)
    recipients: int = 0
    recipient_decisions: dict[str, int] = field(default_factory=_of_none)
    rules: list[Hits] = field(default_factory=list)
    """Walls, then rules, in the order of the file; also those that never fired."""


def try_out(policy: RulePolicy, events: Iterator[Line]) -> Tried:
    """Judge all events of a file, and count."""
    document = policy.document
    hits = {one.id: Hits(one.id, "wall") for one in document.walls}
    hits |= {one.id: Hits(one.id, one.action) for one in document.rules}
    tried = Tried(policy.digest, rules=list(hits.values()))
    judge = Judge(policy)
    for line in events:
        if line.event is None:
            tried.rejected += 1
            continue
        found = judge.look(line.event)
        tried.events += 1
        tried.decisions[found.judgement.decision] += 1
        _count_recipients(tried, found.judgement, len(recipients_of(line.event)))
        behind = Counter(wall.id for _, walls in found.walls for wall in walls)
        for wall, count in behind.items():
            hits[wall].take(line.event, count)
        for one in found.fired:
            hits[one.rule.id].take(line.event, len(one.places))
    return tried


def _count_recipients(tried: Tried, judgement: Judgement, count: int) -> None:
    tried.recipients += count
    for outcome in judgement.outcomes:
        tried.recipient_decisions[outcome.decision] += len(outcome.recipients)
        count -= len(outcome.recipients)
    tried.recipient_decisions["ok"] += count


# -- explain ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Explained:
    """A line, and why it is judged as it is."""

    line: int
    rejected: str
    explanation: Explanation | None


def explain_all(policy: RulePolicy, source: str, settings: Settings) -> Iterator[Explained]:
    """Explain each event of a file: JSON lines, or one object over several lines."""
    judge = Judge(policy)
    for line in _decoded(source, _lines_or_one(source), settings, no_progress):
        yield Explained(line.number, line.rejected, None if line.event is None else judge.explain(line.event))


def _lines_or_one(source: str) -> Iterator[tuple[int, bytes]]:
    """The lines of a file; all of them as one where only that is JSON."""
    numbered = read_lines(source)
    first = next(numbered, None)
    if first is None:
        return
    if _is_json(first[1]):
        yield from chain((first,), numbered)
        return
    rest = list(numbered)
    whole = b"".join((first[1], *(line for _, line in rest)))
    yield from ((first[0], whole),) if _is_json(whole) else (first, *rest)


def _is_json(line: bytes) -> bool:
    try:
        orjson.loads(line)
    except orjson.JSONDecodeError:
        return False
    return True


# -- diff ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Difference:
    """An event that two policies judge differently."""

    event_id: str
    line: int
    old: str
    new: str
    """Decisions."""
    changed: tuple[str, ...]
    """Which parts of the judgement differ."""
    added: tuple[str, ...]
    """Walls and rules that fire only under the new policy."""
    removed: tuple[str, ...]
    recipients: tuple[str, ...]
    """For whom the outcome differs."""


@dataclass(slots=True)
class RuleChange:
    """Events that a wall or rule fires for under one policy only."""

    added: int = 0
    removed: int = 0


@dataclass(slots=True)
class Compared:
    """How two policies differ on the events of a file."""

    old: str
    new: str
    """Digests."""
    events: int = 0
    rejected: int = 0
    differ: int = 0
    decisions: dict[str, int] = field(default_factory=dict)
    """Events that differ, by `old decision -> new decision`."""
    rules: dict[str, RuleChange] = field(default_factory=dict)
    first: list[Difference] = field(default_factory=list)


def compare(old: RulePolicy, new: RulePolicy, events: Iterator[Line]) -> Compared:
    """Judge all events of a file by both policies, and count."""
    compared = Compared(old.digest, new.digest)
    for one in differences(old, new, events, compared):
        if len(compared.first) < MOST_SHOWN:
            compared.first.append(one)
    return compared


def differences(old: RulePolicy, new: RulePolicy, events: Iterator[Line], count: Compared) -> Iterator[Difference]:
    """Each event that two policies judge differently, as it is read; counted in `count`."""
    before, after = Judge(old), Judge(new)
    for line in events:
        if line.event is None:
            count.rejected += 1
            continue
        count.events += 1
        was, is_ = before.look(line.event).judgement, after.look(line.event).judgement
        if was == is_:
            continue
        one = _difference(line.event, line.number, was, is_)
        count.differ += 1
        pair = f"{one.old} -> {one.new}"
        count.decisions[pair] = count.decisions.get(pair, 0) + 1
        for rule in one.added:
            count.rules.setdefault(rule, RuleChange()).added += 1
        for rule in one.removed:
            count.rules.setdefault(rule, RuleChange()).removed += 1
        yield one


def _difference(event: Event, line: int, old: Judgement, new: Judgement) -> Difference:
    recipients = recipients_of(event)
    was, is_ = ({place: one for one in which.outcomes for place in one.recipients} for which in (old, new))
    differ = []
    for place, recipient in enumerate(recipients):
        one, other = was.get(place), is_.get(place)
        if (one and one._replace(recipients=())) != (other and other._replace(recipients=())):
            differ.append(recipient)
    return Difference(
        event["event_id"],
        line,
        old.decision,
        new.decision,
        tuple(name for name in Judgement._fields if getattr(old, name) != getattr(new, name)),
        tuple(rule for rule in new.rules if rule not in old.rules),
        tuple(rule for rule in old.rules if rule not in new.rules),
        tuple(differ),
    )
