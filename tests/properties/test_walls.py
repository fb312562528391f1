"""Walls against a naive model: random groups within groups, memberships in time, patterns, exceptions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policy.groups import Groups
from pipeline.policy.model import Exceptions, Member, Wall
from pipeline.policy.walls import Walls
from pipeline.records import Event
from tests.support.captures import capture

START = datetime(2026, 1, 1, tzinfo=UTC)
PEOPLE = [f"{name}@{domain}.example" for name in "abc" for domain in ("one", "two")]
NAMES = [f"g{number}" for number in range(5)]
TIMES = st.none() | st.integers(0, 10).map(lambda days: START + timedelta(days=days))
PATTERNS = ["*@one.example", "a@*", "b*@two.example"]


@st.composite
def members(draw: st.DrawFn, inner: list[str]) -> Member:
    since, until = draw(TIMES), draw(TIMES)
    if since is not None and until is not None and since >= until:
        until = None
    return Member(who=draw(st.sampled_from(PEOPLE + PATTERNS + inner)), since=since, until=until)


@st.composite
def policies(draw: st.DrawFn) -> tuple[dict[str, tuple[Member, ...]], list[Wall]]:
    groups = {
        name: tuple(draw(st.lists(members(NAMES[number + 1 :]), max_size=4))) for number, name in enumerate(NAMES)
    }
    sides = st.lists(st.sampled_from(PEOPLE + PATTERNS + NAMES), min_size=1, max_size=2).map(tuple)
    few = st.just(()) | sides
    walls = []
    for number in range(draw(st.integers(1, 3))):
        which: dict[str, Any] = {"between": (draw(sides), draw(sides))}
        if draw(st.booleans()):
            which = {"from": draw(sides), "to": draw(sides)}
        kinds = draw(st.none() | st.just(("chat", "edit")))
        exceptions = Exceptions(people=draw(few), chaperones=draw(few))
        walls.append(Wall.model_validate({"id": f"w{number}", "kinds": kinds, "except": exceptions, **which}))
    return groups, walls


class Naive:
    """As the docs say it, with no thought of speed."""

    def __init__(self, groups: dict[str, tuple[Member, ...]], walls: list[Wall]) -> None:
        self.groups, self.walls = groups, walls

    def is_one(self, address: str, who: str, at: datetime) -> bool:
        if "@" not in who:
            return any(
                (member.since is None or member.since <= at)
                and (member.until is None or at < member.until)
                and self.is_one(address, member.who, at)
                for member in self.groups[who]
            )
        start, star, end = who.partition("*")
        if not star:
            return address == who
        return address.startswith(start) and address[len(start) :].endswith(end)

    def any_of(self, address: str, side: tuple[str, ...], at: datetime) -> bool:
        return any(self.is_one(address, who, at) for who in side)

    def blocked(self, one: Event, at: datetime) -> list[tuple[int, tuple[str, ...]]]:
        found = []
        for place, recipient in enumerate(one["recipients"]):
            hit = [
                wall.id
                for wall in self.walls
                if any(self.stands(wall, source, target, one, recipient, at) for source, target in wall.directions)
            ]
            if hit:
                found.append((place, tuple(hit)))
        return found

    def stands(self, wall: Wall, source: Any, target: Any, one: Event, recipient: str, at: datetime) -> bool:
        present = [one["sender"], *one["recipients"]]
        return (
            recipient != one["sender"]
            and (wall.kinds is None or one["kind"] in wall.kinds)
            and self.any_of(one["sender"], source, at)
            and self.any_of(recipient, target, at)
            and not any(self.any_of(who, wall.exceptions.people, at) for who in (one["sender"], recipient))
            and not any(self.any_of(who, wall.exceptions.chaperones, at) for who in present)
        )


@settings(max_examples=600)
@given(
    policies(),
    st.lists(
        st.tuples(
            st.sampled_from(PEOPLE),
            st.lists(st.sampled_from(PEOPLE), max_size=4, unique=True),
            st.integers(-1, 22),
            st.sampled_from(["chat", "edit", "presence"]),
        ),
        min_size=1,
        max_size=6,
    ),
)
def test_who_is_behind_a_wall(policy: Any, sent: list[tuple[str, list[str], int, str]]) -> None:
    groups, walls = policy
    naive, quick = Naive(groups, walls), Walls(walls)
    known = Groups(groups, quick.selectors)
    for sender, recipients, half_days, kind in sent:
        at = START + timedelta(hours=12 * half_days)
        one: Any = capture(sender=sender, recipients=recipients, kind=kind)
        one["sent_at"] = round(at.timestamp() * 1_000_000)
        found = [(place, tuple(wall.id for wall in hit)) for place, hit in quick.between(one, recipients, known)]
        assert found == naive.blocked(one, at)
