"""Judge events by a policy: walls first, then the rules in the order of the file.

For each recipient: a wall or a rule that blocks has the last word, whatever others say; a rule that says ok keeps the
later ones from being asked, but takes no wall away; an alert is a finding and changes nothing. Reasons are joined in that
order, each once. An event that nobody is sent (a join, a login) is judged as if it had one recipient whom no rule names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pipeline.policy.conditions import Selectors, Test
from pipeline.policy.groups import Groups
from pipeline.policy.model import Document, EventRule, Rule
from pipeline.policy.walls import Walls
from pipeline.records import OK, Decision, Event, FindingNote, Judgement, Outcome


class _Ready:
    """A rule with its conditions made ready."""

    def __init__(self, rule: EventRule, selectors: Selectors, domains: Sequence[str]) -> None:
        self.rule = rule
        self._when = Test(rule.when, selectors, domains)
        self._unless = Test(rule.unless, selectors, domains) if rule.unless else None

    def places(
        self, event: Event, source: frozenset[int], recipients: Sequence[str], groups: Groups
    ) -> tuple[int, ...] | None:
        """The recipients for whom it fires; None where it does not at all."""
        if not self._when.holds(event, source):
            return None
        asked: Iterable[int] | None = self._when.places(event, recipients, groups)
        if asked is None:
            asked = range(len(recipients))
        if self._unless is not None and self._unless.holds(event, source):
            spared = self._unless.places(event, recipients, groups)
            if spared is None:
                return None
            asked = [place for place in asked if place not in spared]
        found = tuple(asked)
        return found if found or not recipients else None


class RulePolicy:
    """A policy file in force: `pipeline.policy.api.Policy`.

    Args:
        document: as it was read.
        digest: SHA-256 of the file, in hex.
    """

    def __init__(self, document: Document, digest: str) -> None:
        self.digest = digest
        self._walls = Walls(document.walls)
        selectors = Selectors()
        selectors.lists += self._walls.selectors
        self._rules = [_Ready(rule, selectors, document.domains) for rule in document.rules]
        self._groups = Groups(document.groups, selectors.lists)

    def judge(self, event: Event, recipients: tuple[str, ...]) -> Judgement:
        """What is to be done with an event, for these recipients."""
        walls = self._walls.between(event, recipients, self._groups)
        fired = self._fired(event, recipients) if self._rules else []
        if not walls and not fired:
            return OK
        return _compose(event, recipients, walls, fired)

    def _fired(self, event: Event, recipients: tuple[str, ...]) -> list[tuple[EventRule, tuple[int, ...]]]:
        source = self._groups.of(event["sender"]).at(event["sent_at"])
        found: list[tuple[EventRule, tuple[int, ...]]] = []
        let_go: set[int] = set()
        for ready in self._rules:
            places = ready.places(event, source, recipients, self._groups)
            if places is None:
                continue
            if let_go:
                places = tuple([place for place in places if place not in let_go])
                if not places:
                    continue
            found.append((ready.rule, places))
            if ready.rule.action == "ok":
                let_go.update(places)
                if len(let_go) == len(recipients):
                    break
        return found


def _compose(
    event: Event,
    recipients: tuple[str, ...],
    walls: Sequence[tuple[int, tuple[Rule, ...]]],
    fired: Sequence[tuple[EventRule, tuple[int, ...]]],
) -> Judgement:
    """Join what each rule says into what is done for each recipient, and recipients of one fate into one outcome."""
    deciders: dict[int, list[Rule]] = {place: list(hit) for place, hit in walls}
    own: list[Rule] = []
    for rule, places in fired:
        if rule.action == "block":
            for place in places:
                deciders.setdefault(place, []).append(rule)
            if not recipients:
                own.append(rule)
    fates: dict[tuple[str, ...], list[int]] = {}
    for place in sorted(deciders):
        fates.setdefault(tuple(dict.fromkeys(rule.id for rule in deciders[place])), []).append(place)
    outcomes = tuple(
        Outcome(tuple(places), "blocked", None, rules, _reason(deciders[places[0]])) for rules, places in fates.items()
    )
    decision: Decision = "ok"
    if own or deciders:
        decision = "blocked" if len(deciders) == len(recipients) else "modified"
    everyone = [rule for _, hit in walls for rule in hit] + [rule for rule, _ in fired]
    blocking = [rule for _, hit in walls for rule in hit] + [rule for rule, _ in fired if rule.action == "block"]
    return Judgement(
        decision,
        _reason(blocking),
        tuple(dict.fromkeys(rule.id for rule in everyone)),
        outcomes,
        tuple(_findings(event, walls, fired)),
    )


def _reason(rules: Iterable[Rule]) -> str:
    return "; ".join(dict.fromkeys(rule.reason for rule in rules if rule.reason))


def _findings(
    event: Event,
    walls: Sequence[tuple[int, tuple[Rule, ...]]],
    fired: Sequence[tuple[EventRule, tuple[int, ...]]],
) -> Iterable[FindingNote]:
    """One for each rule that blocked or alerts."""
    behind: dict[str, tuple[Rule, int]] = {}
    for _, hit in walls:
        for wall in hit:
            behind[wall.id] = wall, behind.get(wall.id, (wall, 0))[1] + 1
    for wall, count in behind.values():
        yield FindingNote(wall.id, wall.severity, event["sender"], f"wall: {count} recipients blocked")
    for rule, places in fired:
        if rule.action != "ok":
            yield FindingNote(rule.id, rule.severity, event["sender"], f"{rule.action}: {len(places)} recipients")
