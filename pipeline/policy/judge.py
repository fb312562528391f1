"""Judge events by a policy: walls first, then the rules in the order of the file.

For each recipient: a wall or a rule that blocks has the last word, whatever others say; else all that rules replace is
replaced, in the text as it was sent, and where two want the same place the first in the file has it. A rule that says ok
keeps the later ones from being asked, but takes no wall away; an alert is a finding and changes nothing. Reasons are
joined in that order, each once. An event that nobody is sent (a join, a login) is judged as if it had one recipient whom
no rule names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from pipeline.policy.conditions import Contents, Seen, Selectors, Test
from pipeline.policy.findings import Taken
from pipeline.policy.groups import Groups
from pipeline.policy.model import Document, EventRule, Rule
from pipeline.policy.walls import Walls
from pipeline.records import OK, Decision, Event, FindingNote, Judgement, Outcome, Span


class Fired(NamedTuple):
    """A rule that fired: for which recipients, and by what in the text."""

    rule: EventRule
    places: tuple[int, ...]
    spans: tuple[Span, ...]


class _Ready:
    """A rule with its conditions made ready."""

    def __init__(self, rule: EventRule, selectors: Selectors, contents: Contents, domains: Sequence[str]) -> None:
        self.rule = rule
        self._when = Test(rule.when, selectors, contents, domains)
        self._unless = Test(rule.unless, selectors, contents, domains) if rule.unless else None

    def fired(
        self, event: Event, source: frozenset[int], recipients: Sequence[str], groups: Groups, seen: Seen
    ) -> Fired | None:
        """For whom it fires, and by what; None where it does not."""
        if not self._when.holds(event, source):
            return None
        asked: Iterable[int] | None = self._when.places(event, recipients, groups)
        if asked is None:
            asked = range(len(recipients))
        spans = self._when.found(seen)
        if spans is None:
            return None
        if self._unless is not None and self._unless.holds(event, source) and self._unless.found(seen) is not None:
            spared = self._unless.places(event, recipients, groups)
            if spared is None:
                return None
            asked = [place for place in asked if place not in spared]
        found = tuple(asked)
        return Fired(self.rule, found, spans) if found or not recipients else None


class RulePolicy:
    """A policy file in force: `pipeline.policy.api.Policy`. For one thread.

    Args:
        document: as it was read.
        digest: SHA-256 of the file, in hex.
    """

    def __init__(self, document: Document, digest: str) -> None:
        self.digest = digest
        self._walls = Walls(document.walls)
        selectors, contents = Selectors(), Contents()
        selectors.lists += self._walls.selectors
        self._rules = [_Ready(rule, selectors, contents, document.domains) for rule in document.rules]
        self._groups = Groups(document.groups, selectors.lists)
        self._scanner = contents.scanner()

    def judge(self, event: Event, recipients: tuple[str, ...]) -> Judgement:
        """What is to be done with an event, for these recipients."""
        walls = self._walls.between(event, recipients, self._groups)
        fired = self._fired(event, recipients) if self._rules else []
        if not walls and not fired:
            return OK
        return _compose(event, recipients, walls, fired)

    def _fired(self, event: Event, recipients: tuple[str, ...]) -> list[Fired]:
        source = self._groups.of(event["sender"]).at(event["sent_at"])
        seen = Seen(self._scanner, event["body"])
        found: list[Fired] = []
        let_go: set[int] = set()
        for ready in self._rules:
            one = ready.fired(event, source, recipients, self._groups, seen)
            if one is None:
                continue
            if let_go:
                one = one._replace(places=tuple([place for place in one.places if place not in let_go]))
                if not one.places:
                    continue
            found.append(one)
            if one.rule.action == "ok":
                let_go.update(one.places)
                if len(let_go) == len(recipients):
                    break
        return found


def _compose(
    event: Event,
    recipients: tuple[str, ...],
    walls: Sequence[tuple[int, tuple[Rule, ...]]],
    fired: Sequence[Fired],
) -> Judgement:
    """Join what each rule says into what is done for each recipient, and recipients of one fate into one outcome."""
    blocking: dict[int, list[Rule]] = {place: list(hit) for place, hit in walls}
    changing: dict[int, list[Fired]] = {}
    nobody = (-1,)  # stands for the one recipient of an event that nobody is sent
    for one in fired:
        for place in one.places if recipients else nobody:
            if one.rule.action == "block":
                blocking.setdefault(place, []).append(one.rule)
            elif one.rule.action == "modify":
                changing.setdefault(place, []).append(one)
    fates: dict[tuple[Decision, tuple[str, ...]], list[int]] = {}
    for place in sorted(blocking.keys() | changing.keys()):
        deciding = blocking.get(place) or [one.rule for one in changing[place]]
        decision: Decision = "blocked" if place in blocking else "modified"
        fates.setdefault((decision, tuple(dict.fromkeys(rule.id for rule in deciding))), []).append(place)
    outcomes = tuple(
        _outcome(event["body"], decision, rules, places, blocking, changing)
        for (decision, rules), places in fates.items()
        if recipients or decision == "modified"
    )
    everyone = [rule for _, hit in walls for rule in hit] + [one.rule for one in fired]
    deciders = [rule for rule in everyone if not isinstance(rule, EventRule) or rule.action in ("block", "modify")]
    return Judgement(
        _verdict(len(recipients) or 1, blocking, changing),
        _reason(deciders),
        tuple(dict.fromkeys(rule.id for rule in everyone)),
        outcomes,
        tuple(_findings(event, walls, fired)),
    )


def _verdict(count: int, blocking: Mapping[int, object], changing: Mapping[int, object]) -> Decision:
    if not blocking and not changing:
        return "ok"
    return "blocked" if len(blocking) == count else "modified"


def _outcome(
    body: str,
    decision: Decision,
    rules: tuple[str, ...],
    places: Sequence[int],
    blocking: Mapping[int, Sequence[Rule]],
    changing: Mapping[int, Sequence[Fired]],
) -> Outcome:
    given = tuple(place for place in places if place >= 0)
    if decision == "blocked":
        return Outcome(given, decision, None, rules, _reason(blocking[places[0]]))
    made = changing[places[0]]
    return Outcome(given, decision, replaced(body, made), rules, _reason(one.rule for one in made))


def replaced(body: str, rules: Sequence[Fired]) -> str:
    """The text with what each rule found replaced; where two want a place, the earlier rule has it."""
    taken = Taken()
    cuts = sorted(
        (span.start, span.end, one.rule.replace)
        for one in rules
        for span in _joined(one.spans)
        if taken.take(span.start, span.end)
    )
    parts, at = [], 0
    for start, end, text in cuts:
        parts += [body[at:start], text]
        at = end
    return "".join((*parts, body[at:]))


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that overlap as one."""
    found: list[Span] = []
    for span in spans:
        if found and span.start < found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _reason(rules: Iterable[Rule]) -> str:
    return "; ".join(dict.fromkeys(rule.reason for rule in rules if rule.reason))


def _findings(
    event: Event, walls: Sequence[tuple[int, tuple[Rule, ...]]], fired: Sequence[Fired]
) -> Iterable[FindingNote]:
    """One for each wall that stood before somebody, and for each rule but those that say ok."""
    behind: dict[str, tuple[Rule, int]] = {}
    for _, hit in walls:
        for wall in hit:
            behind[wall.id] = wall, behind.get(wall.id, (wall, 0))[1] + 1
    for wall, count in behind.values():
        yield FindingNote(wall.id, wall.severity, event["sender"], f"wall: {count} recipients blocked")
    for rule, places, spans in fired:
        if rule.action != "ok":
            detail = f"{rule.action}: {len(places)} recipients"
            yield FindingNote(rule.id, rule.severity, event["sender"], detail, spans)
