"""State is a fold over the journal: whoever takes over goes on as if nobody had been interrupted."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.policy.api import PolicyText
from pipeline.policy.document import read
from pipeline.policy.judge import RulePolicy
from tests.properties.test_merging import KEEPERS
from tests.support.captures import START, Bench, attachment, capture, everything, refold
from tests.support.events import encode
from tests.support.streams import Move, long_stream, streams

pytestmark = pytest.mark.slow


def go_on(bench: Bench, moves: list[Move], first: int) -> list[Any]:
    return [
        everything(bench.partition.process(move.ingest(first + number), move.policy))
        for number, move in enumerate(moves)
    ]


@settings(deadline=None)
@given(streams(most=60), st.lists(st.integers(0, 60), min_size=1, max_size=4), st.sampled_from([(), KEEPERS]))
def test_whoever_takes_over_gives_the_same_bytes(moves: list[Move], cuts: list[int], keepers: Any) -> None:
    check_handovers(moves, cuts, keepers)


@pytest.mark.parametrize("number", range(20))
def test_whoever_takes_over_gives_the_same_bytes_over_long_streams(seed: int, number: int) -> None:
    random = Random(f"{seed}/{number}")
    check_handovers(long_stream(random, 300), [random.randrange(300) for _ in range(6)], KEEPERS)


def check_handovers(moves: list[Move], cuts: list[int], keepers: Any) -> None:
    whole = Bench(databases=keepers)
    expected = go_on(whole, moves, 0)
    bench, done = Bench(databases=keepers), 0
    found: list[Any] = []
    for cut in sorted({min(cut, len(moves)) for cut in cuts} | {len(moves)}):
        found += go_on(bench, moves[done:cut], done)
        done = cut
        before = bench.partition.head
        bench.partition = refold(bench, [step[2] for step in found])
        assert bench.partition.head == before
    assert found == expected
    assert bench.partition.head == whole.partition.head


@settings(deadline=None)
@given(streams(most=60), st.integers(0, 60), st.sampled_from([1, 5, 30]))
def test_at_the_memory_limit_it_remembers_the_same_messages(moves: list[Move], cut: int, max_entries: int) -> None:
    bench = Bench(max_entries=max_entries)
    journal = [step[2] for step in go_on(bench, moves[:cut], 0)]
    fresh = refold(bench, journal)
    assert fresh.head == bench.partition.head
    assert fresh.merge.messages <= bench.partition.merge.messages, "numbers that nothing has are not counted"
    for move in moves[cut : cut + 1]:
        one = bench.partition.process(move.ingest(len(journal)), move.policy)
        other = fresh.process(move.ingest(len(journal)), move.policy)
        if one.journal[:5] == other.journal[:5] and bench.partition.head.floor == fresh.head.floor:
            assert everything(one) == everything(other)


@settings(deadline=None)
@given(streams(most=30))
def test_a_head_and_its_journal_agree(moves: list[Move]) -> None:
    bench = Bench()
    for number, move in enumerate(moves):
        bench.policy = move.policy
        took = bench.take(move.value, at=(move.arrival - START) / 1000)
        head = bench.partition.head
        assert (head.sequence, head.offset, head.arrival) == (number, number, move.arrival)
        assert head.hash == took.journal["hash"]
        assert took.journal["floor"] <= head.floor <= number + 1


RULES = [
    """version: 1
walls:
  - {id: wall, between: [alice@alpha.example, carol@gamma.example], except: {chaperones: lou@alpha.example}}
rules:
  - {id: notice, action: disclaim, text: recorded, once_every: 10m}
  - {id: word, action: modify, replace: "#", when: {content: {keywords: project falcon}}}
  - {id: name, action: modify, file: {name: other.txt, content: gone}, when: {files: {names: "*.exe"}}}
""",
    """version: 1
rules:
  - {id: card, action: block, when: {content: {entities: credit_card}}}
  - {id: gamma, action: disclaim, text: outside, when: {recipients: "*@gamma.example"}}
""",
]
POLICIES = [RulePolicy(read(text), PolicyText(text.encode())) for text in RULES]
FILES = [attachment(name="a.exe"), attachment(name="b.txt", content=b"b")]


@st.composite
def judged(draw: st.DrawFn) -> Move:
    people = ["alice@alpha.example", "bob@beta.example", "carol@gamma.example", "lou@alpha.example"]
    event = capture(
        event_id=draw(st.uuids()).hex, kind=draw(st.sampled_from(["chat", "chat", "chat", "join", "leave"])),
        conversation=draw(st.sampled_from(["room:one", "room:two"])), sender=draw(st.sampled_from(people)),
        origin_id=draw(st.sampled_from(["1", "2", "3"])), phase=draw(st.sampled_from(["sent", "sent", "delivered"])),
        body=draw(st.sampled_from(["a", "on project", "falcon", "project falcon", "4012 8888", "8888 1881", "#", "#\\nrecorded"])),
        recipients=draw(st.lists(st.sampled_from(people), max_size=3)),
        attachments=draw(st.lists(st.sampled_from(FILES), max_size=2)),
    )  # fmt: skip
    return Move(event, encode(event), draw(st.integers(0, 3000)), draw(st.sampled_from(POLICIES)))


@settings(deadline=None)
@given(st.lists(judged(), max_size=40), st.lists(st.integers(0, 40), min_size=1, max_size=3))
def test_who_takes_over_judges_as_the_one_before(moves: list[Move], cuts: list[int]) -> None:
    """Within the merge window; of what is older, a disclaimer may be shown again."""
    at = START
    for number, move in enumerate(moves):
        at += move.arrival * 3600 // (3000 * max(1, len(moves)))
        moves[number] = replace(move, arrival=at)
    check_handovers(moves, cuts, ())
