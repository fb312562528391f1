"""Random streams of captures in which much meets: few conversations, senders, texts, ids, times and paths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Any

from hypothesis import strategies as st

from pipeline.records import Ingest
from tests.support.captures import START, WINDOW, SmallPolicy, capture
from tests.support.events import encode

PEOPLE = ["bob@beta.example", "carol@beta.example", "dave@gamma.example", "alice@alpha.example"]
POLICIES = [
    SmallPolicy("none"),
    SmallPolicy("p", blocks=frozenset(PEOPLE[:1]), rewrites={PEOPLE[1]: "!"}),
    SmallPolicy("q", blocks=frozenset(PEOPLE[1:2]), rewrites={PEOPLE[0]: "!", PEOPLE[2]: "?"}),
]
POISON = [None, b"", b"junk", b"\0\0\0\0\1\x06abc", b"\0\0\0\0\x63\2e"]
GAPS = [0, 1, 1000, WINDOW * 500, WINDOW * 1000 - 1, WINDOW * 1000, WINDOW * 1000 + 1, -1, -WINDOW * 500]
"""Milliseconds between two arrivals."""


@dataclass(frozen=True)
class Move:
    """One record that arrives, under the policy then in force; `event` is None for poison."""

    event: dict[str, Any] | None
    value: bytes | None
    arrival: int
    policy: Any  # a Policy; SmallPolicy in the streams below

    def ingest(self, offset: int) -> Ingest:
        return Ingest(offset, self.arrival, b"key", self.value)


def captures() -> st.SearchStrategy[dict[str, Any]]:
    """A capture that has much in common with any other."""
    stanza_ids = st.dictionaries(st.sampled_from("ab"), st.sampled_from("12"), max_size=2)
    return st.builds(
        capture,
        event_id=st.sampled_from([f"e{number}" for number in range(12)]),
        kind=st.sampled_from(["chat", "chat", "chat", "edit"]),
        conversation=st.sampled_from(["room:one", "room:one", "room:two"]),
        sender=st.sampled_from(["alice@alpha.example", "alice@alpha.example", "bob@beta.example"]),
        origin_id=st.sampled_from([None, None, "1", "2"]),
        stanza_ids=st.just({}) | stanza_ids.map(lambda made: dict(sorted(made.items()))),
        recipient_resource=st.sampled_from([None, "r"]),
        sent_at=st.sampled_from([START * 1000, START * 1000 + 1]),
        captured_at=st.sampled_from([START * 1000, START * 1000 + 1]),
        cluster=st.sampled_from(["alpha.example", "beta.example"]),
        body=st.sampled_from(["a", "a", "a!", "a?", "a!!"]),
        phase=st.sampled_from(["sent", "sent", "delivered"]),
        recipients=st.lists(st.sampled_from(PEOPLE), max_size=3),
    )


@st.composite
def streams(draw: st.DrawFn, *, most: int = 40, poison: bool = True) -> list[Move]:
    """Records in their order of arrival; some come twice, the clock jumps around the window and steps back."""
    moves: list[Move] = []
    arrival = START
    policy = draw(st.sampled_from(POLICIES))
    jumps = draw(st.booleans())
    for _ in range(draw(st.integers(1, most))):
        arrival = max(0, arrival + draw(st.sampled_from(GAPS if jumps else GAPS[:4])))
        what = draw(st.integers(0, 19))
        if what == 0:
            policy = draw(st.sampled_from(POLICIES))
        if what < 4 and moves:
            moves.append(replace(draw(st.sampled_from(moves)), arrival=arrival, policy=policy))
        elif what == 4 and poison:
            moves.append(Move(None, draw(st.sampled_from(POISON)), arrival, policy))
        else:
            event = draw(captures())
            moves.append(Move(event, encode(event), arrival, policy))
    return moves


def long_stream(random: Random, length: int) -> list[Move]:
    """The same sort of stream, quickly made: for many and long ones, without Hypothesis's shrinking."""
    moves: list[Move] = []
    arrival, policy = START, POLICIES[0]
    gaps = [0] * 20 + GAPS
    for _ in range(length):
        arrival = max(0, arrival + random.choice(gaps))
        what = random.randrange(20)
        if what == 0:
            policy = random.choice(POLICIES)
        if what < 4 and moves:
            moves.append(replace(random.choice(moves), arrival=arrival, policy=policy))
            continue
        event = capture(
            event_id=f"e{random.randrange(12) if random.random() < 0.2 else random.randrange(length * 9)}",
            conversation=random.choice(["room:one", "room:one", "room:two"]),
            origin_id=random.choice([None, None, "1", "2", "3"]),
            stanza_ids={server: random.choice("123") for server in "abc" if random.random() < 0.3},
            recipient_resource=random.choice([None, "r"]),
            sent_at=START * 1000 + random.randrange(2),
            cluster=random.choice(["alpha.example", "beta.example"]),
            body=random.choice(["a", "a", "a!", "a?", "a!!"]),
            phase=random.choice(["sent", "sent", "delivered"]),
            recipients=random.sample(PEOPLE, random.randrange(4)),
        )
        moves.append(Move(event, encode(event), arrival, policy))
    return moves
