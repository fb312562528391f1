"""Which partition a key belongs to: murmur2 as Kafka's Java clients use it, so that all captures of one conversation meet."""

from __future__ import annotations

from typing import Final

_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C
MOST_KNOWN: Final = 100_000


def murmur2(key: bytes) -> int:
    """Kafka's `Utils.murmur2` as an unsigned 32-bit number."""
    length = len(key)
    h = (_SEED ^ length) & _MASK
    for at in range(0, length - length % 4, 4):
        k = (int.from_bytes(key[at : at + 4], "little") * _M) & _MASK
        k = ((k ^ (k >> 24)) * _M) & _MASK
        h = ((h * _M) & _MASK) ^ k
    if rest := key[length - length % 4 :]:
        h = ((h ^ int.from_bytes(rest, "little")) * _M) & _MASK
    h = ((h ^ (h >> 13)) * _M) & _MASK
    return h ^ (h >> 15)


class Partitioner:
    """murmur2 with a memory: it costs as much as all the rest where a conversation is new, and most are not.

    Args:
        partitions: of the ingest topic; 0: all in one (a file).
        most_known: conversations in its memory, which is emptied when full.
    """

    def __init__(self, partitions: int, most_known: int = MOST_KNOWN) -> None:
        self._partitions, self._most_known = partitions, most_known
        self._known: dict[str, int] = {}

    def partition(self, conversation: str) -> int:
        """Where captures of the conversation belong; -1 where there is nothing to choose."""
        if not self._partitions:
            return -1
        known = self._known.get(conversation)
        if known is None:
            if len(self._known) >= self._most_known:
                self._known.clear()
            known = self._known[conversation] = (murmur2(conversation.encode()) & 0x7FFFFFFF) % self._partitions
        return known
