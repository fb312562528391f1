"""Which dead letters were put back, as remembered in an offset's metadata."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.deadletters import METADATA_BYTES, Done
from pipeline.errors import BadInput


@given(
    letters=st.sets(st.integers(0, 60), min_size=1, max_size=25).map(sorted),
    rounds=st.lists(st.sets(st.integers(0, 60), max_size=25), max_size=5),
)
def test_exactly_those_put_back_are_marked(letters: list[int], rounds: list[set[int]]) -> None:
    done, marked = Done(), set()
    for chosen in rounds:
        previous = -1
        for letter in letters:
            assert (letter in done) == (letter in marked)
            if letter in chosen:
                done.add(letter, previous)
                marked.add(letter)
            previous = letter
        done = Done.decode(done.below, done.encode())
    assert {letter for letter in letters if letter in done} == marked


def test_all_from_the_first_on_is_one_offset() -> None:
    done, previous = Done(), -1
    for letter in (0, 2, 3, 9):
        done.add(letter, previous)
        previous = letter
    assert (done.below, done.encode()) == (10, "[]")


def test_too_many_single_letters_are_refused() -> None:
    done = Done()
    for letter in range(10, 10 + METADATA_BYTES, 2):
        done.add(letter, letter - 1)
    with pytest.raises(BadInput, match="put back all"):
        done.encode()


def test_no_offset_yet() -> None:
    assert 0 not in Done.decode(-1001, None)
