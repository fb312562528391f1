"""What `verify` has to say: faults, each with its place, and the report that gathers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["missing", "extra", "altered", "doubled", "chain", "offsets", "batches"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is not as it must be, and where.

    `sequence`, `copy_index` and `offset` are -1 and `column` is empty where they do not apply.
    """

    kind: Kind
    table: str
    """With its database, joined by a dot."""
    lineage: str
    partition: int
    sequence: int = -1
    copy_index: int = -1
    offset: int = -1
    """Of the ingest topic; in batches, of the batch's topic."""
    column: str = ""
    detail: str = ""

    def line(self) -> str:
        """One line for a person: kind, table, place, and what is wrong. Never message text."""
        place = [f"lineage {self.lineage or '-'}", f"partition {self.partition}"]
        for name, number in (("sequence", self.sequence), ("copy", self.copy_index), ("offset", self.offset)):
            if number >= 0:
                place.append(f"{name} {number}")
        if self.column:
            place.append(f"column {self.column}")
        return f"{self.kind}: {self.table}: {', '.join(place)}{f': {self.detail}' if self.detail else ''}"


@dataclass(slots=True)
class Report:
    """What `verify` found: the first fault of each kind in each table, how many there are, and what was checked."""

    faults: list[Fault] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    """Faults by "kind table"."""
    checked: dict[str, int] = field(default_factory=dict)
    """Rows that were held against the journal, by table."""
    elsewhere: list[str] = field(default_factory=list)
    """Archive databases that the journal names and the settings do not: they were not looked at."""

    @property
    def whole(self) -> bool:
        """Whether nothing is missing, extra, altered or doubled."""
        return not self.faults

    def add(self, fault: Fault) -> None:
        """Count a fault; the first of its kind in its table is kept."""
        key = f"{fault.kind} {fault.table}"
        if key not in self.counts:
            self.faults.append(fault)
        self.counts[key] = self.counts.get(key, 0) + 1

    def saw(self, table: str, rows: int) -> None:
        """Count rows that were checked."""
        self.checked[table] = self.checked.get(table, 0) + rows
