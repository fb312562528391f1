"""murmur2 is the Java clients' own."""

from __future__ import annotations

import random

import pytest

from pipeline.stages.partitioner import Partitioner, murmur2


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_the_vectors_of_kafkas_own_test(key: bytes, hashed: int) -> None:
    assert murmur2(key) == hashed & 0xFFFFFFFF


@pytest.mark.parametrize("length", range(9))
def test_every_rest_of_a_length(length: int) -> None:
    """Against the algorithm as Java writes it: bytes are signed there, and the rest falls through a switch."""
    key = random.Random(length).randbytes(length)
    assert murmur2(key) == _java(key)


def test_a_partition_is_the_positive_hash_modulo_their_number() -> None:
    assert Partitioner(8).partition("foobar") == (-790332482 & 0x7FFFFFFF) % 8
    assert Partitioner(1).partition("21") == 0
    umlaut = "räum:ü"
    assert Partitioner(97).partition(umlaut) == (_java(umlaut.encode()) & 0x7FFFFFFF) % 97


def test_a_file_has_nothing_to_choose() -> None:
    assert Partitioner(0).partition("room:one") == -1


def test_its_memory_is_bounded_and_changes_nothing() -> None:
    remembering = Partitioner(16, most_known=3)
    for _ in range(2):
        for number in range(10):
            assert remembering.partition(f"room:{number}") == Partitioner(16).partition(f"room:{number}")
            assert len(remembering._known) <= 3


def _java(key: bytes) -> int:
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(key)
    for at in range(0, len(key) // 4 * 4, 4):
        k = key[at] + (key[at + 1] << 8) + (key[at + 2] << 16) + (key[at + 3] << 24)
        k = k * m & mask
        k ^= k >> 24
        k = k * m & mask
        h = h * m & mask
        h ^= k
    rest = len(key) % 4
    start = len(key) - rest
    if rest == 3:
        h ^= key[start + 2] << 16
    if rest >= 2:
        h ^= key[start + 1] << 8
    if rest >= 1:
        h ^= key[start]
        h = h * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ (h >> 15)
