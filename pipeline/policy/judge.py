"""Judge events by a policy: walls first, then the rules in the order of the file.

For each recipient: a wall or a rule that blocks has the last word, whatever others say. Else what rules change is
changed, in this order:

    1. what each rule found is replaced, in the text as it was sent; where two want a place, the first in the file has it
    2. disclaimers: those before the text and those after it, in the order of the file from top to bottom
    3. attachments: where two rules change the name or the content of one, the first in the file does

What a rule would replace outside the body (an attribute, a file's name) cannot be replaced, and is blocked. A rule that
says ok keeps the later ones from being asked, but takes no wall away; an alert is a finding and changes nothing; a route
sends the event to a compliance server as well. Reasons are joined in that order, each once. An event that nobody is sent
(a join, a login) is judged as if it had one recipient whom no rule names.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.policy.api import PolicyText
from pipeline.policy.conditions import Contents, Hits, Seen, Selectors, Test
from pipeline.policy.groups import Groups
from pipeline.policy.markup import is_html, known_tags
from pipeline.policy.model import Document, EventRule, Member, Rule, Wall
from pipeline.policy.past import Past
from pipeline.policy.walls import Walls
from pipeline.records import OK, Decision, DeliveredFile, Event, FindingNote, Judgement, Outcome, Span

READ_BY_PEOPLE: Final = frozenset(("chat", "announcement", "broadcast", "poll", "file_post", "skilltap_request"))
"""Kinds that a disclaimer is put to unless its rule names others."""
MOST_DELIVERED: Final = 8 * 1024 * 1024
"""Characters of a text as delivered, and bytes of all that files are overwritten with."""
MOST_SPANS: Final = 1_000
"""Spans of one finding; it tells how many there were."""
_SILENT: Final = frozenset(("ok", "route", "disclaim"))
"""Actions that are no finding."""


class Fired(NamedTuple):
    """A rule that fired: for which recipients, and by what."""

    rule: EventRule
    places: tuple[int, ...]
    hits: Hits


class Ready:
    """A rule with its conditions made ready."""

    def __init__(self, rule: EventRule, selectors: Selectors, contents: Contents, domains: Sequence[str]) -> None:
        self.rule = rule
        self.when = Test(rule.when, selectors, contents, domains)
        self.unless = Test(rule.unless, selectors, contents, domains) if rule.unless else None
        self.kinds = READ_BY_PEOPLE if rule.action == "disclaim" and rule.when.kinds is None else None
        self.once_ms = round(rule.once_every.total_seconds() * 1000) if rule.once_every else 0

    def fired(
        self, event: Event, source: frozenset[int], recipients: Sequence[str], groups: Groups, seen: Seen, past: Past
    ) -> Fired | None:
        """For whom it fires, and by what; None where it does not."""
        if not self.when.holds(event, source) or (self.kinds is not None and event["kind"] not in self.kinds):
            return None
        asked: Iterable[int] | None = self.when.places(event, recipients, groups)
        if asked is None:
            asked = range(len(recipients))
        elif not asked:
            return None
        hits = self.when.found(event, seen)
        if hits is None:
            return None
        if self.unless is not None and self.unless.holds(event, source) and self.unless.found(event, seen) is not None:
            spared = self.unless.places(event, recipients, groups)
            if spared is None:
                return None
            asked = [place for place in asked if place not in spared]
        if self.once_ms and past.was_shown(self.rule.id, event, self.once_ms):
            return None
        found = tuple(asked)
        return Fired(self.rule, found, hits) if found or not recipients else None


class RulePolicy:
    """A policy file in force: `pipeline.policy.api.Policy`. For one thread.

    Args:
        document: as it was read.
        text: what it was read from.
        directory: members of the groups that come from the groups topic.
    """

    def __init__(
        self, document: Document, text: PolicyText, directory: Mapping[str, Sequence[Member]] | None = None
    ) -> None:
        self.text = text
        self.digest = text.digest
        self.document = document
        self.walls = Walls(document.walls)
        selectors, contents = Selectors(), Contents()
        selectors.lists += self.walls.selectors
        self.rules = [Ready(rule, selectors, contents, document.domains) for rule in document.rules]
        # What most chat has nothing of need not be asked of each rule.
        self._bare = [ready for ready in self.rules if ready.rule.when.content is None]
        external = {name: tuple((directory or {}).get(name, ())) for name in document.directory}
        self.groups = Groups({**document.groups, **external}, selectors.lists)
        self.scanner = contents.scanner()

    def judge(self, event: Event, recipients: tuple[str, ...], past: Past) -> Judgement:
        """What is to be done with an event, for these recipients."""
        fired = self.fired(event, recipients, past) if self.rules else []
        walls = self.standing(event, recipients, past, fired)
        if not walls and not fired:
            return OK
        return compose(event, recipients, walls, fired)

    def standing(
        self, event: Event, recipients: tuple[str, ...], past: Past, fired: Sequence[Fired]
    ) -> list[tuple[int, tuple[Wall, ...]]]:
        """The walls that stand, by recipient; a chaperone whom a rule that fired keeps the event from opens none."""
        kept_out = {recipients[place] for one in fired if one.rule.action == "block" for place in one.places}
        return self.walls.between(event, recipients, self.groups, past.people(event["conversation"]), kept_out)

    @property
    def routes(self) -> tuple[str, ...]:
        """Compliance servers that its rules send events to."""
        return tuple(dict.fromkeys(rule.to for rule in self.document.rules if rule.to is not None))

    def fired(self, event: Event, recipients: tuple[str, ...], past: Past) -> list[Fired]:
        """The rules that fire, in the order of the file."""
        seen = Seen(self.scanner, event, past.tail(event))
        rules = self.rules if len(self._bare) == len(self.rules) or seen.anything() else self._bare
        if not rules:
            return []
        source = self.groups.of(event["sender"]).at(event["sent_at"])
        found: list[Fired] = []
        let_go: set[int] = set()
        for ready in rules:
            one = ready.fired(event, source, recipients, self.groups, seen, past)
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


class _Fate(NamedTuple):
    """What is decided for some of the recipients, and by which rules."""

    blocking: list[Rule]
    changing: list[Fired]


_NOBODY: Final = (-1,)
"""Stands for the one recipient of an event that nobody is sent."""


def compose(
    event: Event,
    recipients: tuple[str, ...],
    walls: Sequence[tuple[int, tuple[Rule, ...]]],
    fired: Sequence[Fired],
) -> Judgement:
    """Join what each rule says into what is done for each recipient, and recipients of one fate into one outcome."""
    fates: dict[int, _Fate] = {place: _Fate(list(hit), []) for place, hit in walls}
    for one in fired:
        if one.rule.action not in ("block", "modify", "disclaim"):
            continue
        blocks = one.rule.action == "block" or (one.rule.action == "modify" and one.hits.elsewhere)
        for place in one.places if recipients else _NOBODY:
            fate = fates.setdefault(place, _Fate([], []))
            if blocks:
                fate.blocking.append(one.rule)
            else:
                fate.changing.append(one)
    alike: dict[tuple[bool, tuple[str, ...]], list[int]] = {}
    for place in sorted(fates):
        fate = fates[place]
        deciding = fate.blocking or [one.rule for one in fate.changing]
        alike.setdefault((bool(fate.blocking), tuple(dict.fromkeys(rule.id for rule in deciding))), []).append(place)
    outcomes = tuple(
        _outcome(event, fates[places[0]], rules, tuple(place for place in places if place >= 0))
        for (blocked, rules), places in alike.items()
        if recipients or not blocked
    )
    everyone = [rule for _, hit in walls for rule in hit] + [one.rule for one in fired]
    decided = {rule_id for _, rules in alike for rule_id in rules}
    deciders = [rule for rule in everyone if rule.id in decided]
    return Judgement(
        _verdict(len(recipients) or 1, fates),
        _reason(deciders, told=_is_told(event)),
        tuple(dict.fromkeys(rule.id for rule in everyone)),
        outcomes,
        tuple(_findings(event, walls, fired)),
        tuple(dict.fromkeys(one.rule.to for one in fired if one.rule.to is not None)),
    )


def _verdict(count: int, fates: Mapping[int, _Fate]) -> Decision:
    if not fates:
        return "ok"
    return "blocked" if sum(bool(fate.blocking) for fate in fates.values()) == count else "modified"


def _outcome(event: Event, fate: _Fate, rules: tuple[str, ...], places: tuple[int, ...]) -> Outcome:
    if fate.blocking:
        return Outcome(places, "blocked", None, rules, _reason(fate.blocking))
    body = replaced(event["body"], fate.changing)
    body = disclaimed(body, [one.rule for one in fate.changing if one.rule.action == "disclaim"])
    reason = _reason([one.rule for one in fate.changing], told=_is_told(event))
    given = body if body != event["body"] else None
    return Outcome(places, "modified", given, rules, reason, changed_files(fate.changing))


def replaced(body: str, rules: Sequence[Fired]) -> str:
    """The text with what each rule found replaced; where two want a place, the earlier rule has it.

    In HTML what stands in its place is text, and the tags within stay, without their attributes.
    """
    as_html = is_html(body)
    cuts: list[tuple[int, int, str]] = []
    for one in rules:
        if one.rule.action == "modify":
            cuts = _cut_in(cuts, _joined(one.hits.spans), one.rule.replace)
    if sum(len(text) for _, _, text in cuts) + len(body) > MOST_DELIVERED:
        raise ValueError("what would be delivered is too long")  # the caller makes a dead letter of it
    parts, at = [], 0
    for start, end, text in cuts:
        parts += [body[at:start], html.escape(text) + _tags(body[start:end]) if as_html else text]
        at = end
    return "".join((*parts, body[at:]))


def _cut_in(cuts: Sequence[tuple[int, int, str]], spans: Sequence[Span], text: str) -> list[tuple[int, int, str]]:
    """Cuts in order, and between them what is left of the spans; each of those is replaced once, by its first rest."""
    made: list[tuple[int, int, str]] = []
    before = iter(cuts)
    taken = next(before, None)
    for start, end in spans:
        at, replacement = start, text
        while taken is not None and taken[0] < end:
            if taken[0] > at:
                made.append((at, taken[0], replacement))
                replacement = ""
            at = max(at, taken[1])
            if taken[1] > end:
                break
            made.append(taken)
            taken = next(before, None)
        if at < end:
            made.append((at, end, replacement))
    if taken is not None:
        made += [taken, *before]
    return sorted(made)


def _tags(cut: str) -> str:
    """The tags of a piece of HTML, so that what was opened or closed in it still is."""
    return "".join([f"<{slash}{name}>" for slash, name in known_tags(cut)])


def disclaimed(body: str, rules: Sequence[EventRule]) -> str:
    """The text with its disclaimers, each on a line of its own; in HTML, as text."""
    if not rules:
        return body
    as_html = is_html(body)
    before, after = (
        [html.escape(rule.text or "") if as_html else rule.text or "" for rule in rules if rule.place == place]
        for place in ("before", "after")
    )
    return ("<br/>" if as_html else "\n").join([*before, *([body] if body else []), *after])


def changed_files(rules: Sequence[Fired]) -> tuple[DeliveredFile, ...]:
    """The attachments that are not given as sent; of each name and content, the earlier rule's change holds."""
    found: dict[int, DeliveredFile] = {}
    for one in rules:
        change = one.rule.file
        if change is None:
            continue
        content = None if change.content is None else change.content.encode()
        for place in one.hits.files:
            earlier = found.get(place, DeliveredFile(place, None, None))
            found[place] = DeliveredFile(
                place,
                change.name if earlier.display_name is None else earlier.display_name,
                content if earlier.content is None else earlier.content,
            )
    if sum(len(one.content or b"") for one in found.values()) > MOST_DELIVERED:
        raise ValueError("what files would be overwritten with is too long")
    return tuple(found[place] for place in sorted(found))


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Spans in order, those that overlap as one."""
    found: list[Span] = []
    for span in spans:
        if found and span.start < found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def _is_told(event: Event) -> bool:
    """Whether the originator is told a disclaimer: who joins reads it in the reason (as in the Sametime API)."""
    return event["kind"] == "join" or not event["recipients"]


def _reason(rules: Iterable[Rule], *, told: bool = False) -> str:
    """The rules' reasons; `told`: of disclaimers, what they say."""
    reasons = [(isinstance(rule, EventRule) and told and rule.text) or rule.reason for rule in rules]
    return "; ".join(dict.fromkeys(reason for reason in reasons if reason))


def _findings(
    event: Event, walls: Sequence[tuple[int, tuple[Rule, ...]]], fired: Sequence[Fired]
) -> Iterable[FindingNote]:
    """One for each wall that stood before somebody, and for each rule but those that say ok, route or disclaim."""
    behind: dict[str, tuple[Rule, int]] = {}
    for _, hit in walls:
        for wall in hit:
            behind[wall.id] = wall, behind.get(wall.id, (wall, 0))[1] + 1
    for wall, count in behind.values():
        yield FindingNote(wall.id, wall.severity, event["sender"], f"wall: {count} recipients blocked")
    for rule, places, hits in fired:
        if rule.action not in _SILENT:
            detail = f"{rule.action}: {len(places)} recipients"
            if len(hits.spans) > MOST_SPANS:
                detail += f", {len(hits.spans)} places"
            if hits.elsewhere:
                detail += ", found beside the body"
            if hits.files:
                detail += f", {len(hits.files)} files"
            yield FindingNote(rule.id, rule.severity, event["sender"], detail, hits.spans[:MOST_SPANS])
