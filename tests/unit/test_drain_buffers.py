"""The archive worker's buffers: cuts come in order, within their limits, and a plan is kept to the letter."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.buffers import RECORD_OVERHEAD, Buffer, Limits, Plan
from pipeline.errors import Doubt

LIMITS = Limits(rows=4, bytes=100, linger_s=0.5)


def filled(*offsets: int, plan: Plan | None = None, size: int = 3) -> Buffer:
    buffer = Buffer("journal", 7, plan)
    if offsets:
        buffer.append([bytes([offset]) * size for offset in offsets], offsets, 1_000 + offsets[-1], now=10.0)
    return buffer


def ready(buffer: Buffer, now: float = 10.0, *, pressed: bool = False) -> bool:
    return buffer.ready(now, LIMITS, pressed=pressed)


def test_a_plan_survives_its_encoding() -> None:
    plan = Plan(5, 9)
    assert Plan.decode(plan.encode(), 5) == plan


@pytest.mark.parametrize(
    "metadata", [None, "", "x", "[]", "3", '{"first": 5}', '{"first": 6, "last": 9}', '{"first": 5, "last": 4}', "null"]
)
def test_what_is_no_plan_of_this_offset_is_none(metadata: str | None) -> None:
    assert Plan.decode(metadata, 5) is None


def test_a_cut_is_due_when_full_or_waited_or_memory_is_short() -> None:
    assert not ready(Buffer("journal", 0))
    assert not ready(Buffer("journal", 0), now=99, pressed=True)
    assert not ready(filled(1, 2, 3))
    assert ready(filled(1, 2, 3), now=10.5)
    assert ready(filled(1, 2, 3), pressed=True)
    assert ready(filled(1, 2, 3, 4))
    assert ready(filled(1, 2, size=60))


def test_one_cut_of_a_partition_at_a_time() -> None:
    buffer = filled(1, 2, 3, 4, 5, 6, 7, 8)
    buffer.take(10.0, LIMITS)
    assert not ready(buffer)
    buffer.in_flight = 0
    assert ready(buffer)


def test_cuts_keep_the_offsets_of_their_records() -> None:
    buffer = filled(10, 11, 13, 20, 21)  # markers stand between
    cut, arrival = buffer.take(11.0, LIMITS)
    assert (cut.topic, cut.partition, cut.first, cut.last) == ("journal", 7, 10, 20)
    assert list(cut.values) == [bytes([offset]) * 3 for offset in (10, 11, 13, 20)]
    assert arrival == 1_021
    cut, _ = buffer.take(11.0, LIMITS)
    assert (cut.first, cut.last, len(buffer)) == (21, 21, 0)


def test_a_record_larger_than_a_cut_goes_alone() -> None:
    buffer = filled(1, 2, 3, size=500)
    assert [buffer.take(10.0, LIMITS)[0].last for _ in range(3)] == [1, 2, 3]


def test_the_planned_cut_comes_first_whatever_the_limits_are_now() -> None:
    buffer = filled(1, 2, 3, 5, 8, plan=Plan(1, 9), size=100)
    assert buffer.held_to_plan
    assert not ready(buffer, now=99, pressed=True)
    buffer.append([b"9", b"x"], [9, 12], 2_000, now=11.0)
    assert ready(buffer, now=10.0)
    cut, _ = buffer.take(11.0, LIMITS)
    assert (cut.first, cut.last, len(cut.values), len(buffer)) == (1, 9, 6, 1)
    buffer.in_flight = 0
    assert not ready(buffer, now=11.0)
    assert buffer.take(12.0, LIMITS)[0].first == 12


def test_a_plan_whose_records_retention_took_is_let_go() -> None:
    buffer = filled(12, 13, plan=Plan(1, 9))
    assert ready(buffer)
    cut, _ = buffer.take(10.0, LIMITS)
    assert (cut.first, cut.last) == (12, 13)


def test_records_that_come_twice_are_a_doubt() -> None:
    buffer = filled(1, 2, 3)
    with pytest.raises(Doubt, match="journal/7: offset 3 came behind 3"):
        buffer.append([b""], [3], 0, now=0.0)


def test_a_dropped_buffer_is_never_due() -> None:
    buffer = filled(1, 2, 3, 4)
    buffer.drop()
    assert not ready(buffer, now=99, pressed=True)
    assert (buffer.weight, len(buffer)) == (0, 0)


@given(
    runs=st.lists(st.lists(st.tuples(st.integers(1, 3), st.binary(max_size=60)), min_size=1, max_size=9), max_size=9),
    rows=st.integers(1, 8),
    size=st.integers(1, 200),
)
def test_nothing_is_lost_doubled_or_swapped(runs: list[list[tuple[int, bytes]]], rows: int, size: int) -> None:
    buffer, limits = Buffer("copies", 0), Limits(rows, size, 0.0)
    offset, given_in, cuts = -1, [], []
    for run in runs:
        offsets = []
        for step, _ in run:
            offset += step
            offsets.append(offset)
        given_in += [(at, value) for at, (_, value) in zip(offsets, run, strict=True)]
        buffer.append([value for _, value in run], offsets, offset, now=0.0)
        if buffer.ready(0.0, limits, pressed=False):
            cuts.append(buffer.take(0.0, limits)[0])
            buffer.in_flight = 0
    while len(buffer):
        cuts.append(buffer.take(0.0, limits)[0])
    assert [value for cut in cuts for value in cut.values] == [value for _, value in given_in]
    assert all(earlier.last < later.first for earlier, later in pairwise(cuts))
    assert {at for at, _ in given_in}.issuperset(end for cut in cuts for end in (cut.first, cut.last))
    assert all(len(cut.values) <= rows for cut in cuts)
    assert all(len(cut.values) == 1 or sum(map(len, cut.values)) <= size for cut in cuts)
    assert buffer.weight == 0


def test_weight_counts_what_python_adds() -> None:
    assert filled(1, 2).weight == 2 * (3 + RECORD_OVERHEAD)
