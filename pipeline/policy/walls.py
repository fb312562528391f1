"""Ethical walls: which of an event's recipients are on the other side of one from its sender.

A wall stands between sides; a side is a group, a pattern, a person, or several. It is asked at the time at which the
event was sent, of every event and of each recipient: what is blocked for some may reach others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from pipeline.policy.groups import Groups, bare
from pipeline.policy.model import Wall
from pipeline.records import Event


class Door(NamedTuple):
    """One direction of a wall; sides are numbers of groups."""

    wall: Wall
    source: int
    target: int
    free: int
    chaperones: int
    kinds: frozenset[str]
    conversation_types: frozenset[str]


class Walls:
    """The walls of a policy.

    Args:
        walls: in the order of the file: of several that stand, the first is named first.
    """

    def __init__(self, walls: Sequence[Wall]) -> None:
        self.selectors: list[tuple[str, ...]] = []
        """For Groups, whose first numbers they take."""
        self.doors: list[Door] = []
        for wall in walls:
            free, chaperones = self._select(wall.exceptions.people), self._select(wall.exceptions.chaperones)
            kinds = frozenset(wall.kinds or ())
            types = frozenset(wall.conversation_types or ())
            for source, target in wall.directions:
                self.doors.append(
                    Door(wall, self._select(source), self._select(target), free, chaperones, kinds, types)
                )
        self._of_source: dict[frozenset[int], tuple[tuple[Door, ...], frozenset[int]]] = {}
        """Doors before the people of these groups, and the groups behind them."""

    def _select(self, side: tuple[str, ...]) -> int:
        self.selectors.append(side)
        return len(self.selectors) - 1

    def between(
        self,
        event: Event,
        recipients: Iterable[str],
        groups: Groups,
        present: Iterable[str] = (),
        kept_out: Collection[str] = (),
    ) -> list[tuple[int, tuple[Wall, ...]]]:
        """Places in `recipients` whom the event must not reach, each with the walls that stand before them.

        `recipients` are those asked about; a chaperone counts where the event itself names them, or
        where they are `present` in the conversation; not where a rule keeps the event from them (`kept_out`).
        """
        if not self.doors:
            return []
        time = event["sent_at"]
        source = groups.of(event["sender"]).at(time)
        known = self._of_source.get(source)
        if known is None:
            doors = tuple([door for door in self.doors if door.source in source and door.free not in source])
            known = self._of_source[source] = doors, frozenset([door.target for door in doors])
        doors, targets = known
        if not doors:
            return []
        across = [
            (place, recipient, target)
            for place, recipient in enumerate(recipients)
            if not targets.isdisjoint(target := groups.of(recipient).at(time))
        ]
        return self._stopped(event, across, doors, groups, (*event["recipients"], *present), kept_out) if across else []

    def _stopped(
        self,
        event: Event,
        across: Iterable[tuple[int, str, frozenset[int]]],
        doors: tuple[Door, ...],
        groups: Groups,
        present: Iterable[str],
        kept_out: Collection[str],
    ) -> list[tuple[int, tuple[Wall, ...]]]:
        """Those of the recipients across whom a wall that stands keeps the event from."""
        doors = tuple([door for door in doors if _stands(door, event)])
        if any(self.selectors[door.chaperones] for door in doors):
            time = event["sent_at"]
            everybody = (event["sender"], *[one for one in present if one not in kept_out])
            there = frozenset[int]().union(*[groups.of(one).at(time) for one in everybody])
            doors = tuple([door for door in doors if door.chaperones not in there])
        found = []
        sender = bare(event["sender"])
        for place, recipient, target in across:
            hit = [door.wall for door in doors if door.target in target and door.free not in target]
            if hit and bare(recipient) != sender:  # not to their own other devices
                found.append((place, tuple(dict.fromkeys(hit))))
        return found


def _stands(door: Door, event: Event) -> bool:
    return (not door.kinds or event["kind"] in door.kinds) and (
        not door.conversation_types or event["conversation_type"] in door.conversation_types
    )
