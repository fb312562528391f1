"""What only the whole of a policy file shows: names that lead nowhere or stand twice, and what can never fire.

A wall or rule that can never fire is a fault: somebody relies on it. Each fault is the place in the file and what to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter

from pipeline.policy.model import Condition, Document, Wall

Path = tuple[str | int, ...]
Found = tuple[Path, str]


def contradictions(document: Document) -> Iterator[Found]:
    """Each fault of a document whose parts are well formed."""
    yield from _taken_ids(document)
    yield from _unknown_groups(document)
    yield from _circles(document)
    yield from _no_domains(document)
    yield from _behind_ok(document)
    yield from _always_spared(document)
    yield from _nobody(document)


# -- names -----------------------------------------------------------------------------------------------------------


def _taken_ids(document: Document) -> Iterator[Found]:
    taken: set[str] = set()
    for part, rules in (("walls", document.walls), ("rules", document.rules)):
        for number, rule in enumerate(rules):
            if rule.id in taken:
                yield (part, number, "id"), f"the id {rule.id!r} is taken: each wall and rule has one of its own"
            taken.add(rule.id)


def _unknown_groups(document: Document) -> Iterator[Found]:
    known = {*document.groups, *document.directory}
    for path, name in _named_groups(document):
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f" (is it {near[0]!r}?)" if near else ""
            yield path, f"there is no group {name!r}{hint}: add it under `groups`, or write an address with @"
    for number, name in enumerate(document.directory):
        if name in document.groups:
            yield ("directory", number), f"the group {name!r} has its members here: take it out of one of the two"


def _named_groups(document: Document) -> Iterator[Found]:
    """Every place where a group is named, and its name."""
    for name, members in document.groups.items():
        for number, member in enumerate(members):
            if "@" not in member.who:
                yield ("groups", name, number, "who"), member.who
    lists: list[tuple[Path, tuple[str, ...]]] = []
    for number, wall in enumerate(document.walls):
        place: Path = ("walls", number)
        lists += [((*place, *path), side) for path, side in _sides(wall)]
        lists.append(((*place, "except", "people"), wall.exceptions.people))
        lists.append(((*place, "except", "chaperones"), wall.exceptions.chaperones))
    for number, rule in enumerate(document.rules):
        for key, condition in (("when", rule.when), ("unless", rule.unless)):
            lists += [(("rules", number, key, *path), side) for path, side in _people(condition)]
    for path, side in lists:
        yield from (((*path, number), who) for number, who in enumerate(side) if "@" not in who)


def _sides(wall: Wall) -> Iterator[tuple[Path, tuple[str, ...]]]:
    if wall.between is not None:
        yield from ((("between", number), side) for number, side in enumerate(wall.between))
    else:
        yield ("from",), wall.source or ()
        yield ("to",), wall.target or ()


def _people(condition: Condition | None) -> Iterator[tuple[Path, tuple[str, ...]]]:
    if condition is not None:
        yield ("senders",), condition.senders or ()
        yield ("recipients",), condition.recipients or ()


def _circles(document: Document) -> Iterator[Found]:
    inner = {
        name: [member.who for member in members if "@" not in member.who] for name, members in document.groups.items()
    }
    try:
        TopologicalSorter(inner).prepare()
    except CycleError as error:
        circle = error.args[1]
        yield ("groups", circle[0]), f"groups within each other, {' > '.join(circle)}: take one out"


def _no_domains(document: Document) -> Iterator[Found]:
    if document.domains:
        return
    for number, rule in enumerate(document.rules):
        for key, condition in (("when", rule.when), ("unless", rule.unless)):
            if condition is not None and condition.directions:
                why = "directions are seen from `domains`, which are missing: say which are yours"
                yield ("rules", number, key, "directions"), why


# -- what can never fire ---------------------------------------------------------------------------------------------


def _behind_ok(document: Document) -> Iterator[Found]:
    first = ""
    for number, rule in enumerate(document.rules):
        if first:
            why = f"the rule {first!r} above says ok to everything; move this one before it, or give that one a `when`"
            yield ("rules", number, "id"), f"never fires: {why}"
        elif rule.action == "ok" and not _named(rule.when) and rule.unless is None:
            first = rule.id


def _always_spared(document: Document) -> Iterator[Found]:
    """All that is named must hold: an `unless` of parts of `when` holds whenever that does."""
    for number, rule in enumerate(document.rules):
        if rule.unless is None:
            continue
        when, unless = _named(rule.when), _named(rule.unless)
        if not unless:
            why = "`unless` without a condition always holds; leave it out or say what is spared"
            yield ("rules", number, "unless"), f"never fires: {why}"
        elif all(when.get(name) == value for name, value in unless.items()):
            why = f"`unless` holds whenever `when` does ({', '.join(unless)}: the same in both); say what is spared"
            yield ("rules", number, "unless"), f"never fires: {why}"


def _named(condition: Condition) -> Mapping[str, object]:
    """What a condition asks for."""
    return {name: value for name, value in condition if value is not None}


def _nobody(document: Document) -> Iterator[Found]:
    """Sides of walls, senders and recipients that are nobody."""
    some = _with_members(document)
    lists: list[tuple[Path, tuple[str, ...]]] = []
    for number, wall in enumerate(document.walls):
        lists += [(("walls", number, *path), side) for path, side in _sides(wall)]
    for number, rule in enumerate(document.rules):
        lists += [(("rules", number, "when", *path), side) for path, side in _people(rule.when)]
    for path, side in lists:
        empty = [who for who in side if "@" not in who and who not in some]
        if side and len(empty) == len(side):
            names = ", ".join(map(repr, empty))
            why = f"nobody is in {names}; add members under `groups`, or name what is filled later under `directory`"
            yield path, f"never fires: {why}"


def _with_members(document: Document) -> set[str]:
    """Groups that have members, in themselves or through groups within them; those that are filled from elsewhere count."""
    waiting = document.groups
    some = {who for _, who in _named_groups(document) if who not in waiting}
    grew = True
    while grew:
        more = {name for name, members in waiting.items() if any(_is_some(one.who, some) for one in members)} - some
        some |= more
        grew = bool(more)
    return some


def _is_some(who: str, some: Iterable[str]) -> bool:
    return "@" in who or who in some
