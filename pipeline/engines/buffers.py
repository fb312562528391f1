"""What the archive worker holds between Kafka and the sink: records by topic partition, and the plan of a cut.

Pure: no client, no clock. A buffer gives its records out in the order they came, one cut at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final

import orjson

from pipeline.archive.sink import Cut
from pipeline.errors import Doubt

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD_OVERHEAD: Final = 120
"""Bytes of memory that a buffered record takes beside its value: two objects and their places in two lists."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A cut that was announced before it was inserted: offsets of its first and last record, inclusive."""

    first: int
    last: int

    def encode(self) -> str:
        """As it stands in the offset's metadata: JSON."""
        return orjson.dumps({"first": self.first, "last": self.last}).decode()

    @classmethod
    def decode(cls, metadata: str | None, committed: int) -> Plan | None:
        """The plan in the metadata of the offset `committed`; None where there is none, or it is of another offset."""
        if not metadata:
            return None
        try:
            found = orjson.loads(metadata)
            plan = cls(int(found["first"]), int(found["last"]))
        except (ValueError, TypeError, KeyError):
            return None
        return plan if committed == plan.first <= plan.last else None


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a cut may be, in records and bytes, and how long it waits for more, in seconds."""

    rows: int
    bytes: int
    linger_s: float


class Buffer:
    """The records of one topic partition that wait for their cut.

    Args:
        topic: its name without the prefix.
        partition: its number.
        plan: a cut that an earlier owner announced and did not report done: the first cut is that very one.
    """

    __slots__ = (
        "_arrivals",
        "_bytes",
        "_last",
        "_offsets",
        "_plan",
        "_since",
        "_values",
        "dropped",
        "in_flight",
        "partition",
        "topic",
    )

    def __init__(self, topic: str, partition: int, plan: Plan | None = None) -> None:
        self.topic, self.partition = topic, partition
        self._plan = plan
        self._values: list[bytes] = []
        self._offsets: list[int] = []
        self._arrivals: list[tuple[int, int]] = []
        self._since = 0.0
        self._last = -1
        self._bytes = 0
        self.in_flight = 0
        """Bytes of memory of the cut that is being inserted; 0: none is."""
        self.dropped = False
        """The partition is somebody else's now: nothing of it may be begun or committed any more."""

    def __len__(self) -> int:
        return len(self._values)

    @property
    def weight(self) -> int:
        """Bytes of memory of what is buffered; what is in flight counts in `in_flight`."""
        return self._bytes + RECORD_OVERHEAD * len(self._values)

    @property
    def since(self) -> float:
        """When the oldest record came in, by the caller's clock; of no meaning in an empty buffer."""
        return self._since

    @property
    def held_to_plan(self) -> bool:
        """The announced cut is not whole yet: the partition has to be read on, whatever else is full."""
        return self._plan is not None and (not self._offsets or self._offsets[-1] < self._plan.last)

    def append(self, values: Sequence[bytes], offsets: Sequence[int], arrival: int, now: float) -> None:
        """Take records in order; `arrival`: milliseconds since 1970 of the last of them.

        Raises:
            Doubt: they do not come behind what was taken before; the partition has to be read anew.
        """
        if offsets[0] <= self._last:
            raise Doubt(f"{self.topic}/{self.partition}: offset {offsets[0]} came behind {self._last}")
        self._last = offsets[-1]
        if not self._values:
            self._since = now
        self._values += values
        self._offsets += offsets
        self._arrivals.append((offsets[-1], arrival))
        self._bytes += sum(map(len, values))

    def ready(self, now: float, limits: Limits, *, pressed: bool) -> bool:
        """Whether a cut is due: full, waited long enough, or memory is short (`pressed`)."""
        if self.dropped or self.in_flight or not self._values or self.held_to_plan:
            return False
        return (
            pressed
            or self._plan is not None
            or len(self._values) >= limits.rows
            or self._bytes >= limits.bytes
            or now - self._since >= limits.linger_s
        )

    def take(self, now: float, limits: Limits) -> tuple[Cut, int]:
        """The next cut, and the arrival of its last record (the last of those known that is not behind the cut).

        The announced cut if there is one, whatever today's limits are; else as much as they allow, at least one record.
        """
        count = 0
        if self._plan is not None:
            count = bisect_right(self._offsets, self._plan.last)
        if count == 0:  # no plan, or retention took all of it
            count = self._within(limits)
            first, last = self._offsets[0], self._offsets[count - 1]
        else:
            assert self._plan is not None  # noqa: S101 - count is not 0
            first, last = self._plan.first, self._plan.last
        self._plan = None
        cut = Cut(self.topic, self.partition, first, last, self._values[:count])
        del self._values[:count], self._offsets[:count]
        taken = sum(map(len, cut.values))
        self.in_flight = taken + RECORD_OVERHEAD * count
        self._bytes -= taken
        self._since = now
        passed = bisect_right(self._arrivals, last, key=lambda run: run[0])
        arrival = self._arrivals[max(passed - 1, 0)][1]
        del self._arrivals[:passed]
        return cut, arrival

    def drop(self) -> None:
        """Forget everything: the partition is revoked, or a commit for it was refused."""
        self.dropped = True
        self._values, self._offsets, self._arrivals = [], [], []
        self._bytes = 0

    def _within(self, limits: Limits) -> int:
        sizes = accumulate(map(len, self._values[: limits.rows]))
        return max(bisect_right(list(sizes), limits.bytes), 1)
