"""Hold an archive against what was really sent: what must be there is written out, and compared as bags of rows.

The demands are those of INGEST's merging, with no policy in force and one database. What arrived is a list of events in
the order of arrival; what was sent is a list of messages, each with the event_ids of its captures.
"""

from __future__ import annotations

import gzip
import itertools
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

Row = dict[str, Any]
_PLACE = ("lineage", "partition", "sequence")
_SAID = ("event_id", "kind", "conversation", "sender", "body", "delivered_body", "decision")
EXPORTS = {
    "messages": (*_PLACE, *_SAID, "recipients"),
    "copies": ("event_id", "recipient", "delivered_body", "decision"),
    "merges": ("event_id", "into"),
    "verdicts": ("event_id", "decision"),
    "journal": (*_PLACE, "offset", "event_id", "status"),
}
"""What is exported, and the fields that are looked at: millions of copies are to fit in memory."""
SHOWN = 3


@dataclass(frozen=True)
class Archive:
    """What `compliance export` gave of each kind."""

    messages: list[Row]
    copies: list[Row]
    merges: list[Row]
    verdicts: list[Row]
    journal: list[Row]

    @classmethod
    def read(cls, directory: Path) -> Archive:
        """From files named as the exports are, with .jsonl; they are cut down to what is looked at."""
        return cls(**{name: _cut_down(directory / f"{name}.jsonl", fields) for name, fields in EXPORTS.items()})


@dataclass(frozen=True)
class Ingested:
    """An ingest record: where it stands, and which event it is."""

    partition: int
    offset: int
    event_id: str


def read_rows(path: Path) -> list[Row]:
    """JSON lines, also gzip."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as lines:
        return [orjson.loads(line) for line in lines if not line.isspace()]


def _cut_down(path: Path, fields: tuple[str, ...]) -> list[Row]:
    rows, known = [], dict[Any, Any]()
    less = path.with_suffix(".less")
    with path.open("rb") as lines, less.open("wb") as out:
        for line in lines:
            whole = orjson.loads(line)
            row = {name: whole[name] for name in fields}
            out.write(orjson.dumps(row) + b"\n")
            rows.append(
                {name: known.setdefault(value, value) if type(value) is str else value for name, value in row.items()}
            )
    less.replace(path)
    return rows


def faults(truth: Sequence[Row], events: Sequence[Row], archive: Archive) -> list[str]:
    """What is not as it must be, a line each; empty where all is."""
    if not truth or not events:
        return ["nothing was sent: that proves nothing"]
    arrival: dict[str, int] = {}
    for number, event in enumerate(events):
        arrival.setdefault(event["event_id"], number)
    messages: Counter[Hashable] = Counter()
    copies: Counter[Hashable] = Counter()
    merges: Counter[Hashable] = Counter()
    for sent in truth:
        first = min(sent["captures"], key=arrival.__getitem__)
        messages[(first, sent["kind"], sent["conversation"], sent["sender"], sent["body"], sent["body"], "ok",
                  tuple(sorted(sent["recipients"])))] += 1  # fmt: skip
        copies.update((first, recipient, sent["body"], "ok") for recipient in sent["recipients"])
        merges.update((capture, first) for capture in sent["captures"] if capture != first)
    verdicts: Counter[Hashable] = Counter((event["event_id"], "ok") for event in events)
    return [
        *_compare("message", messages, (
            (*(row[name] for name in _SAID), tuple(sorted(row["recipients"]))) for row in archive.messages)),
        *_compare("copy", copies, (
            (row["event_id"], row["recipient"], row["delivered_body"], row["decision"]) for row in archive.copies)),
        *_compare("merge", merges, ((row["event_id"], row["into"]) for row in archive.merges)),
        *_compare("verdict", verdicts, ((row["event_id"], row["decision"]) for row in archive.verdicts)),
        *_order_faults(events, archive),
    ]  # fmt: skip


def journal_faults(ingested: Iterable[Ingested], journal: Sequence[Row]) -> list[str]:
    """Exactly one journal record for each ingest record, in the partition of the same number, in its order."""
    found = [
        *_compare("journal record", Counter((one.partition, one.offset, one.event_id) for one in ingested),
                  ((row["partition"], row["offset"], row["event_id"]) for row in journal)),
    ]  # fmt: skip
    by_partition: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in journal:
        by_partition[row["lineage"], row["partition"]].append(row)
    for place, rows in by_partition.items():
        rows.sort(key=lambda row: int(row["sequence"]))
        if [row["sequence"] for row in rows] != list(range(len(rows))):
            found.append(f"partition {place}: the sequence has gaps or repeats")
        offsets = [row["offset"] for row in rows]
        if any(later <= earlier for earlier, later in itertools.pairwise(offsets)):
            found.append(f"partition {place}: not in the order of ingest")
    if len({lineage for lineage, _ in by_partition}) > 1:
        found.append("more than one lineage")
    return found


def _compare(what: str, due: Counter[Hashable], rows: Iterable[Hashable]) -> list[str]:
    got: Counter[Hashable] = Counter(rows)
    found = []
    for name, difference in (("missing or altered", due - got), ("too many", got - due)):
        if difference:
            examples = "; ".join(map(str, list(difference)[:SHOWN]))
            found.append(f"{difference.total()} x {what} {name}: {examples}")
    return found


def _order_faults(events: Sequence[Mapping[str, Any]], archive: Archive) -> list[str]:
    """Within a conversation, journal and messages stand in the order in which captures arrived."""
    due: dict[str, list[str]] = defaultdict(list)
    conversation = {}
    for event in events:
        due[event["conversation"]].append(event["event_id"])
        conversation[event["event_id"]] = event["conversation"]
    got: dict[str, list[str]] = defaultdict(list)
    for row in sorted(archive.journal, key=_place):
        got[conversation.get(row["event_id"], "")].append(row["event_id"])
    wrong = [name for name in due if due[name] != got[name]]
    found = [f"{len(wrong)} x conversation's journal not in the order of ingest: {wrong[:SHOWN]}"] if wrong else []
    accepted = {(row["partition"], row["sequence"]) for row in archive.journal if row["status"] == "accepted"}
    if accepted != {(row["partition"], row["sequence"]) for row in archive.messages}:
        found.append("messages do not stand where the journal accepted them")
    return found


def _place(row: Mapping[str, Any]) -> tuple[str, int, int]:
    return row["lineage"], row["partition"], row["sequence"]
