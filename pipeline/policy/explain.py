"""Why a policy judges an event as it does: of each wall and rule whether it fired, for whom, by what, and if not, why not.

What fired is asked of the same objects that judge; only the words for what did not hold are made here. Where several
conditions did not hold, the first is named, in this order: kinds, senders, conversation types, clusters, conversations, hours, recipients,
directions, content, files, unless, once_every.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

from pipeline.policy.conditions import Seen, Test
from pipeline.policy.content import Finding
from pipeline.policy.judge import Fired, Ready, RulePolicy, compose
from pipeline.policy.model import DAYS, Condition, Hours, Wall
from pipeline.policy.past import Past
from pipeline.policy.walls import Door
from pipeline.records import OK, Decision, Event, Judgement

BODY: Final = "body"
_SHOWN: Final = 5  # names of a list in a sentence
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Look(NamedTuple):
    """A judgement with the walls and rules that it is made of."""

    judgement: Judgement
    walls: list[tuple[int, tuple[Wall, ...]]]
    """Places of recipients, each with the walls before them."""
    fired: list[Fired]


@dataclass(frozen=True, slots=True)
class What:
    """Something in a text that a rule looks for."""

    name: str
    """The entity with its kind, or the keyword or pattern."""
    where: str
    start: int
    end: int
    excerpt: str
    disguise: str
    """How it was hidden; '' where it was not."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one wall or rule says of an event."""

    id: str
    sort: str
    """wall, or the rule's action."""
    fired: bool
    recipients: tuple[str, ...]
    found: tuple[What, ...]
    files: tuple[str, ...]
    why_not: str
    """The first condition that did not hold; '' where it fired."""


@dataclass(frozen=True, slots=True)
class File:
    """An attachment that is not given as sent."""

    name: str
    display_name: str | None
    content: str | None


@dataclass(frozen=True, slots=True)
class Given:
    """What one recipient is given."""

    recipient: str
    decision: Decision
    delivered_body: str | None
    """None: as sent, or nothing where it is blocked."""
    files: tuple[File, ...]
    rules: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that can be said of one event."""

    event_id: str
    kind: str
    sender: str
    decision: Decision
    reason: str
    said: tuple[Said, ...]
    given: tuple[Given, ...]
    routes: tuple[str, ...]


def recipients_of(event: Event) -> tuple[str, ...]:
    """Those whom a policy is asked about, of an event that is no merged one."""
    return tuple(dict.fromkeys(event["recipients"]))


def look(policy: RulePolicy, event: Event, past: Past) -> Look:
    """Judge, and keep what the judgement is made of."""
    recipients = recipients_of(event)
    fired = policy.fired(event, recipients, past)
    walls = policy.standing(event, recipients, past, fired)
    return Look(compose(event, recipients, walls, fired) if walls or fired else OK, walls, fired)


def explain(policy: RulePolicy, event: Event, past: Past, seen: Look) -> Explanation:
    """Say of each wall and rule what it does with an event, and what comes of it.

    Args:
        policy: the policy.
        event: the event.
        past: what was before it.
        seen: how the policy judges it.
    """
    recipients = recipients_of(event)
    why = _Why(policy, event, recipients, past)
    said = (*why.walls(seen.walls), *why.rules(seen.fired))
    judgement = seen.judgement
    return Explanation(
        event["event_id"],
        event["kind"],
        event["sender"],
        judgement.decision,
        judgement.reason,
        said,
        tuple(_given(event, recipients, judgement)),
        judgement.routes,
    )


def _given(event: Event, recipients: Sequence[str], judgement: Judgement) -> Iterator[Given]:
    outcomes = {place: outcome for outcome in judgement.outcomes for place in outcome.recipients}
    for place, recipient in enumerate(recipients):
        one = outcomes.get(place)
        if one is None:
            yield Given(recipient, "ok", None, (), (), "")
            continue
        files = tuple(
            File(
                event["attachments"][file.place]["name"],
                file.display_name,
                None if file.content is None else file.content.decode("utf-8", "replace"),
            )
            for file in one.files
        )
        yield Given(recipient, one.decision, one.delivered_body, files, one.rules, one.reason)


class _Why:
    """Words for what each wall and rule of a policy says of one event."""

    def __init__(self, policy: RulePolicy, event: Event, recipients: tuple[str, ...], past: Past) -> None:
        self._policy, self._event, self._recipients, self._past = policy, event, recipients, past
        self._source = self._groups(event["sender"])
        self._seen = Seen(policy.scanner, event, past.tail(event))
        patterns = policy.scanner.patterns if policy.scanner else ()
        self._names = {
            one.name: f"keyword {one.text!r}" if one.keyword else f"pattern {one.text!r}" for one in patterns
        }

    def _groups(self, address: str) -> frozenset[int]:
        return self._policy.groups.of(address).at(self._event["sent_at"])

    # -- walls -----------------------------------------------------------------------------------------------------

    def walls(self, stand: Sequence[tuple[int, tuple[Wall, ...]]]) -> Iterator[Said]:
        for wall in self._policy.document.walls:
            behind = tuple(self._recipients[place] for place, hit in stand if wall in hit)
            why = "" if behind else self._why_open(wall)
            yield Said(wall.id, "wall", bool(behind), behind, (), (), why)

    def _why_open(self, wall: Wall) -> str:
        """Of two directions, the one that comes further."""
        doors = [door for door in self._policy.walls.doors if door.wall is wall]
        return max((self._why_door(door) for door in doors), key=lambda one: one[0])[1]

    def _why_door(self, door: Door) -> tuple[int, str]:
        """How many conditions held, and which did not."""
        event, wall, sides = self._event, door.wall, self._policy.walls.selectors
        if door.kinds and event["kind"] not in door.kinds:
            return 0, _is("kinds", event["kind"], wall.kinds or ())
        if door.conversation_types and event["conversation_type"] not in door.conversation_types:
            return 1, _is("conversation_types", event["conversation_type"], wall.conversation_types or ())
        if door.source not in self._source:
            if wall.between is not None:
                return 2, f"between: the sender `{event['sender']}` is on neither side"
            return 2, f"from: the sender `{event['sender']}` is not in {_some(sides[door.source])}"
        if door.free in self._source:
            return 3, f"except.people: the sender `{event['sender']}` may cross it"
        there = (event["sender"], *event["recipients"], *self._past.people(event["conversation"]))
        for one in there:
            if door.chaperones in self._groups(one):
                return 4, f"except.chaperones: `{one}` is in the conversation"
        across = [one for one in self._recipients if door.target in self._groups(one)]
        side = "between" if wall.between is not None else "to"
        if not self._recipients:
            return 5, f"{side}: nobody is sent it"
        if not across:
            return 5, f"{side}: no recipient is in {_some(sides[door.target])}"
        if all(one == event["sender"] for one in across):
            return 6, f"{side}: only the sender's own devices"
        return 6, f"except.people: {_some(across)} may be sent it"

    # -- rules -----------------------------------------------------------------------------------------------------

    def rules(self, fired: Sequence[Fired]) -> Iterator[Said]:
        by_id = {one.rule.id: one for one in fired}
        let_go: dict[int, str] = {}
        ended = ""
        for ready in self._policy.rules:
            rule, one = ready.rule, by_id.get(ready.rule.id)
            if one is None:
                why = self._why_not(ready)
                if not why:
                    ok = ended or ", ".join(dict.fromkeys(let_go.values()))
                    why = f"said ok by rule `{ok}` before"
                yield Said(rule.id, rule.action, False, (), (), (), why)
                continue
            if rule.action == "ok":
                for place in one.places:
                    let_go.setdefault(place, rule.id)
                ended = rule.id if len(let_go) == len(self._recipients) else ""
            named = tuple(self._recipients[place] for place in one.places)
            files = tuple(self._event["attachments"][place]["name"] for place in one.hits.files)
            yield Said(rule.id, rule.action, True, named, tuple(self._found(ready.when)), files, "")

    def _why_not(self, ready: Ready) -> str:
        """Which of its own conditions did not hold; '' where all did."""
        when, event = ready.when, self._event
        if why := self._unlike(when, ready.rule.when):
            return why
        if ready.kinds is not None and event["kind"] not in ready.kinds:
            return _is("kinds", event["kind"], sorted(ready.kinds)) + ", which people read"
        places = when.places(event, self._recipients, self._policy.groups)
        if places == ():
            return self._why_nobody(when, ready.rule.when)
        if why := self._too_little(when):
            return why
        if ready.unless is not None and self._spares(ready.unless, places):
            return "unless: it holds" + (" for each of them" if self._recipients else "")
        if ready.once_ms and self._past.was_shown(ready.rule.id, event, ready.once_ms):
            return "once_every: shown in this conversation already"
        return ""

    def _spares(self, unless: Test, places: tuple[int, ...] | None) -> bool:
        """Whether it takes everybody away whom the rule is about."""
        if not unless.holds(self._event, self._source) or unless.found(self._event, self._seen) is None:
            return False
        spared = unless.places(self._event, self._recipients, self._policy.groups)
        asked = range(len(self._recipients)) if places is None else places
        return spared is None or (bool(asked) and set(asked) <= set(spared))

    def _unlike(self, test: Test, condition: Condition) -> str:
        """What the event itself is not like."""
        event = self._event
        if test.kinds and event["kind"] not in test.kinds:
            return _is("kinds", event["kind"], condition.kinds or ())
        if test.sender >= 0 and test.sender not in self._source:
            return f"senders: `{event['sender']}` is not in {_some(condition.senders or ())}"
        if test.types and event["conversation_type"] not in test.types:
            return _is("conversation_types", event["conversation_type"], condition.conversation_types or ())
        if test.clusters and event["cluster"] not in test.clusters:
            return _is("clusters", event["cluster"], condition.clusters or ())
        if test.conversations and not test.is_there(event):
            return _is("conversations", event["conversation"], condition.conversations or ())
        if test.hours is not None and condition.hours is not None and not test.hours(event["sent_at"]):
            return _hours(event["sent_at"], condition.hours)
        return ""

    def _why_nobody(self, test: Test, condition: Condition) -> str:
        if not self._recipients:
            return f"{'recipients' if condition.recipients else 'directions'}: nobody is sent it"
        named = [one for one in self._recipients if test.recipient < 0 or test.recipient in self._groups(one)]
        if not named:
            return f"recipients: none is in {_some(condition.recipients or ())}"
        are = dict.fromkeys(test.direction(self._event["sender"], one) for one in named)
        return _is("directions", " and ".join(are), condition.directions or ())

    def _too_little(self, test: Test) -> str:
        """What is missing of the content and the files that are looked for."""
        event, wanted = self._event, test.files
        if test.found(event, self._seen) is not None:
            return ""
        if test.content is not None:
            found = list(self._found(test))
            count = len({(one.start, one.end) for one in found if one.where == BODY})
            count += sum(one.where != BODY for one in found)
            if not found:
                weak = sum(1 for _ in self._found(test, sure=False))
                least = f", {weak} less sure than {test.content.at_least}" if weak else ""
                return f"content: nothing found{least}"
            if count < test.content.count:
                return f"content: found {count}, wanted {test.content.count}"
        if not event["attachments"]:
            return "files: none is attached"
        like = sum(test.is_like(file, place, self._seen) for place, file in enumerate(event["attachments"]))
        more = f", wanted more than {wanted.more_than}" if wanted is not None and wanted.more_than else ""
        return f"files: {like or 'none'} of {len(event['attachments'])} is like this{more}"

    def _found(self, test: Test, *, sure: bool = True) -> Iterator[What]:
        """What is in the texts of all that a test looks for."""
        for where, text in _texts(self._event) if test.wanted else ():
            for one in self._scan(text):
                if one.name in test.wanted and (one.strength >= test.wanted[one.name]) == sure:
                    start, end = one.span
                    name = self._names.get(one.name, f"{one.name} ({one.kind})" if one.kind else one.name)
                    yield What(name, where, start, end, text[start:end], one.disguise)

    def _scan(self, text: str) -> Sequence[Finding]:
        scanner = self._policy.scanner
        return scanner.scan(text) if scanner is not None and text else ()


def _texts(event: Event) -> Iterator[tuple[str, str]]:
    """All that is searched, as `Seen` does, and what it is."""
    yield BODY, event["body"]
    yield from ((f"attribute {name}", text) for name, text in event["attributes"].items())
    for number, file in enumerate(event["attachments"], 1):
        yield f"name of file {number}", file["name"]
        yield f"displayed name of file {number}", file["display_name"] or ""


def _hours(at: int, hours: Hours) -> str:
    local = (_EPOCH + timedelta(microseconds=at)).astimezone(ZoneInfo(hours.zone))
    end = "24:00" if hours.target is None else f"{hours.target:%H:%M}"
    days = "any day" if len(hours.days) == len(DAYS) else _or(hours.days)
    sent = f"{DAYS[local.weekday()]} {local:%Y-%m-%d %H:%M}"
    return f"hours: is {sent} in {hours.zone}, wanted {days} from {hours.source:%H:%M} to {end}"


def _is(name: str, value: str, wanted: Iterable[str]) -> str:
    return f"{name}: is `{value}`, wanted {_or(wanted)}"


def _or(values: Iterable[str]) -> str:
    *most, last = values
    return f"{', '.join(most)} or {last}" if most else last


def _some(who: Sequence[str]) -> str:
    rest = f" and {len(who) - _SHOWN} more" if len(who) > _SHOWN else ""
    return ", ".join(f"`{one}`" for one in who[:_SHOWN]) + rest
