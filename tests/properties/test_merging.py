"""Merging over random streams: as a naive model has it, nothing lost, nothing twice."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.stages.partitioner import Partitioner
from tests.support.captures import START, WINDOW, Bench, Took, database, decoded
from tests.support.naive import Naive
from tests.support.streams import Move, long_stream, streams

KEEPERS = [
    database("alpha", "alpha.example", "gamma.example"),
    database("beta", "beta.example", inbound=True),
    database("rooms", only=["room"]),
]


def run(bench: Bench, moves: list[Move]) -> list[Took]:
    taken = []
    for move in moves:
        bench.policy = move.policy
        taken.append(bench.take(move.value, at=(move.arrival - START) / 1000))
    return taken


@settings(deadline=None)
@given(streams(poison=False))
def test_it_agrees_with_the_naive_model(moves: list[Move]) -> None:
    check_against_the_model(moves)


@pytest.mark.parametrize("number", range(20))
def test_it_agrees_with_the_naive_model_over_long_streams(seed: int, number: int) -> None:
    check_against_the_model(long_stream(Random(f"{seed}/{number}"), 300))


def check_against_the_model(moves: list[Move]) -> None:
    naive = Naive(WINDOW * 1000)
    for move, took in zip(moves, run(Bench(), moves), strict=True):
        assert move.event is not None
        assert move.value is not None
        answer = naive.take(move.event, move.value, move.arrival, move.policy.blocks, dict(move.policy.rewrites))
        journal = took.journal
        assert (took.status, took.rule, took.into, tuple(journal["also"])) == (
            answer.status, answer.rule, answer.into, answer.also,
        )  # fmt: skip
        assert (tuple(journal["new_recipients"]), journal["taken"], journal["floor"]) == (
            answer.new_recipients, answer.taken, answer.floor,
        )  # fmt: skip
        assert tuple(took.rules_found) == answer.findings
        assert took.verdict is not None
        assert tuple(took.verdict["blocked_recipients"]) == answer.blocked


@pytest.mark.slow
@settings(deadline=None)
@given(streams(), st.sampled_from([0, 2]), st.sampled_from([1_000_000, 20, 1]))
def test_nothing_is_lost_and_nothing_twice(moves: list[Move], partitions: int, max_entries: int) -> None:
    bench = Bench(partitions=partitions, databases=KEEPERS, max_entries=max_entries)
    taken = run(bench, moves)
    statuses = Counter(took.status for took in taken)
    assert statuses.keys() <= {"accepted", "merged", "rejected", "rerouted"}
    assert [took.sequence for took in taken] == list(range(len(moves)))
    assert [took.journal["offset"] for took in taken] == list(range(len(moves)))
    assert [took.journal["raw"] for took in taken] == [move.value or b"" for move in moves]
    assert {took.journal["skipped"] for took in taken} == {0}
    copies: Counter[tuple[int, str, str]] = Counter()
    due: set[tuple[int, str, str]] = set()
    reached: dict[int, list[str]] = {}
    for move, took in zip(moves, taken, strict=True):
        assert len(took.copies) == took.journal["copies"] == took.step.copies.count
        assert [copy["copy_index"] for copy in took.copies] == list(range(len(took.copies)))
        copies.update((copy["into"], copy["recipient"], copy["database"]) for copy in took.copies)
        assert (took.verdict is None) == (took.status == "rerouted" or not took.journal["event_id"])
        if move.event is not None and took.status in {"accepted", "merged"}:
            assert partitions == 0 or Partitioner(partitions).partition(move.event["conversation"]) == 0
            known = reached.setdefault(took.into, [])
            known += [name for name in move.event["recipients"] if name not in known]
            due |= {(took.into, name, keeper) for name in known for keeper in took.journal["databases"]}
    assert set(copies.values()) <= {1}
    assert copies.keys() == due


@pytest.mark.slow
@settings(deadline=None)
@given(streams(), st.integers(1, 7))
def test_batching_has_no_effect(moves: list[Move], batch: int) -> None:
    """Copies are made when the producer takes them: the same whether that is at once or behind further captures."""
    at_once = [took.copies for took in run(Bench(databases=KEEPERS), moves)]
    bench = Bench(databases=KEEPERS)
    later = []
    for start in range(0, len(moves), batch):
        steps = [
            bench.partition.process(move.ingest(start + number), move.policy)
            for number, move in enumerate(moves[start : start + batch])
        ]
        later += [decoded(step).copies for step in reversed(steps)][::-1]
    assert later == at_once
