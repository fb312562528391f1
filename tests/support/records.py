"""Journal chains and copies that hang together, for tests that need an archive's input without a transform.

chain = Chain()
first = chain.accept(event(body="hello", recipients=["b@x", "c@x"]))
chain.merge(event(body="hello", recipients=["d@x"]), into=first, rule="stanza_id")
chain.journal, chain.copies        # values in wire format, in the order of the topics
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any, cast

from pipeline import codec, resources
from pipeline.codec import RecordCodec, wire_header

Record = dict[str, Any]


def avro(name: str) -> Record:
    """schemas/NAME.avsc as it stands."""
    return cast("Record", json.loads((resources.schemas() / f"{name}.avsc").read_text(encoding="utf-8")))


EVENT = RecordCodec(avro("event"), codec.EVENT)
JOURNAL = RecordCodec(avro("journal"), codec.JOURNAL)
COPY = RecordCodec(avro("copy"), codec.COPY)
FINDING = RecordCodec(avro("finding"), codec.FINDING)
DEAD_LETTER = RecordCodec(avro("dead_letter"), codec.DEAD_LETTER)
_HEADER_FIELDS = len(avro("copy")["fields"]) - len(avro("event")["fields"])
_COPY_HEADER = RecordCodec({**avro("copy"), "fields": avro("copy")["fields"][:_HEADER_FIELDS]}, codec.COPY)
_NUMBERS = count(1)


def event(**fields: Any) -> Record:
    """A chat message; each call has an event_id, an origin_id and a time of its own unless told."""
    number = next(_NUMBERS)
    return {
        "event_id": f"event-{number}",
        "kind": "chat",
        "conversation": "room:one",
        "sender": "alice@alpha.example",
        "sender_resource": "desk",
        "origin_id": f"origin-{number}",
        "stanza_ids": {"alpha.example": f"stanza-{number}"},
        "recipient_resource": None,
        "sent_at": 1_700_000_000_000_000 + number * 1_000_000,
        "captured_at": 1_700_000_000_500_000 + number * 1_000_000,
        "cluster": "alpha.example",
        "body": f"message {number}",
        "refers_to": None,
        "thread": None,
        "conversation_type": "room",
        "conversation_name": "one",
        "attachments": [],
        "attributes": {},
        "phase": "sent",
        "recipients": ["bob@beta.example"],
        **fields,
    }


def finding(**fields: Any) -> bytes:
    """A finding's value."""
    base = {"finding_id": "l/0/0/0", "rule": "misrouted", "severity": "low", "person": "alice@alpha.example",
            "event_id": "event-0", "conversation": "room:one", "spans": [{"start": 0, "end": 3}], "detail": "",
            "lineage": "l", "partition": 0, "sequence": 0, "found_at": 1_700_000_000_000}  # fmt: skip
    return FINDING.encode({**base, **fields})


def dead_letter(**fields: Any) -> bytes:
    """A dead letter's value."""
    base = {"value": b"\xff\xfe", "key": None, "headers": [{"name": "h", "value": b"\0"}], "topic": "im.events",
            "partition": 0, "offset": 0, "stage": "decode", "reason": "not_avro", "lineage": "l", "sequence": 0,
            "at": 1_700_000_000_000}  # fmt: skip
    return DEAD_LETTER.encode({**base, **fields})


class Chain:
    """One journal partition as a transform would write it, and the copies its records make."""

    def __init__(
        self, lineage: str = "00112233aabbccdd", partition: int = 0, databases: Sequence[str] = ("compliance",)
    ) -> None:
        self.lineage, self.partition, self.databases = lineage, partition, list(databases)
        self.journal: list[bytes] = []
        self.copies: list[bytes] = []
        self.records: list[Record] = []
        self._hash = hashlib.sha256(f"{lineage}/{partition}".encode()).digest()
        self._served: dict[int, list[str]] = {}
        self._kept: dict[int, list[str]] = {}
        self._first: dict[int, Record] = {}

    def accept(self, capture: Record, *, databases: Sequence[str] | None = None, **fields: Any) -> int:
        """A message of its own; its sequence. `fields` go to the journal record (outcomes, decision, taken ...)."""
        sequence = len(self.journal)
        kept = list(self.databases if databases is None else databases)
        recipients = list(dict.fromkeys(capture["recipients"]))
        self._served[sequence], self._kept[sequence], self._first[sequence] = list(recipients), kept, capture
        pairs = [(database, recipient) for database in kept for recipient in recipients]
        taken = bool(fields.get("taken", False))
        self._append("accepted", self._value(capture), {"event_id": capture["event_id"], "into": sequence,
                     "databases": kept, "copies": len(pairs), **fields}, capture)  # fmt: skip
        self._copy(capture, pairs, sequence, taken, fields)
        return sequence

    def merge(
        self, capture: Record, into: int, *, rule: str = "stanza_id", new_databases: Sequence[str] = (), **fields: Any
    ) -> int:
        """Another capture of message `into`; its sequence."""
        served, kept = self._served[into], self._kept[into]
        older = list(served)
        fresh = [] if rule == "retry" else [r for r in dict.fromkeys(capture["recipients"]) if r not in served]
        kept.extend(new_databases)
        served.extend(fresh)
        pairs = [(database, recipient) for database in kept for recipient in fresh]
        pairs += [(database, recipient) for database in new_databases for recipient in older]
        sequence = len(self.journal)
        first = self._first[into]
        self._append("merged", self._value(capture), {
            "event_id": capture["event_id"], "into": into, "into_event_id": first["event_id"], "rule": rule,
            "databases": list(kept), "new_databases": list(new_databases), "new_recipients": fresh,
            "copies": len(pairs), "taken": self.records[into]["taken"], **fields}, capture)  # fmt: skip
        self._copy(capture, pairs, into, bool(self.records[into]["taken"]), fields)
        return sequence

    def reject(self, raw: bytes, reason: str = "not_avro") -> int:
        """A capture that was refused."""
        return self._append("rejected", raw, {"rule": reason, "decision": "blocked", "reason": reason})

    def reroute(self, capture: Record, to_partition: int) -> int:
        """A capture in the wrong partition."""
        return self._append("rerouted", self._value(capture),
                            {"event_id": capture["event_id"], "to_partition": to_partition})  # fmt: skip

    def gap(self, skipped: int) -> int:
        """Ingest offsets that were gone."""
        return self._append("gap", b"", {"skipped": skipped})

    @staticmethod
    def _value(capture: Record) -> bytes:
        return EVENT.encode(capture)

    def _append(self, status: str, raw: bytes, fields: Record, capture: Record | None = None) -> int:
        sequence = len(self.journal)
        record = {
            "hash": bytes(32), "previous_hash": self._hash, "status": status, "raw": raw, "databases": [],
            "new_databases": [], "lineage": self.lineage, "partition": self.partition, "sequence": sequence,
            "offset": sequence, "skipped": 0,
            "arrival": (capture["captured_at"] if capture else 1_700_000_000_000_000) // 1000, "floor": 0,
            "event_id": "", "rule": "", "into": -1, "into_event_id": "", "taken": False, "also": [],
            "decision": "ok", "reason": "", "rules": [], "policy": "0" * 64, "outcomes": [], "new_recipients": [],
            "copies": 0, "to_partition": -1, **fields}  # fmt: skip
        value = JOURNAL.encode(record)
        self._hash = hashlib.sha256(value[5 + 32 :]).digest()
        record["hash"] = self._hash
        self.journal.append(value[:5] + self._hash + value[5 + 32 :])
        self.records.append(record)
        return sequence

    def _copy(self, capture: Record, pairs: Iterable[tuple[str, str]], into: int, taken: bool, fields: Record) -> None:
        body = EVENT.encode({**capture, "recipients": []})[5:]
        order = {recipient: place for place, recipient in enumerate(dict.fromkeys(capture["recipients"]))}
        for index, (database, recipient) in enumerate(pairs):
            decision, delivered, rules, reason = "ok", None, [], ""
            files: list[Record] = []
            for outcome in fields.get("outcomes", ()):
                if order.get(recipient) in outcome["recipients"]:
                    decision, delivered = outcome["decision"], outcome["delivered_body"]
                    rules, reason = outcome["rules"], outcome["reason"]
                    files = outcome.get("delivered_files", [])
            header = _COPY_HEADER.encode({
                "recipient": recipient, "copy_index": index, "direction": "internal", "decision": decision,
                "delivered_body": delivered, "rules": rules, "reason": reason, "delivered_files": files, "database": database,
                "lineage": self.lineage, "partition": self.partition, "sequence": len(self.journal) - 1, "into": into,
                "message_event_id": self._first[into]["event_id"], "taken": taken})  # fmt: skip
            self.copies.append(header + body)


def read_captures(path: Path, limit: int | None = None) -> Iterator[Record]:
    """The events of a file of captures (JSON lines), as Avro records."""
    blank = {**event(), "sender_resource": None, "origin_id": None, "stanza_ids": {}}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            if limit is not None and number >= limit:
                return
            record = {**blank, **json.loads(line)}
            for name in ("sent_at", "captured_at"):
                record[name] = round(datetime.fromisoformat(record[name]).timestamp() * 1_000_000)
            yield record


def simulate(
    captures: Iterable[Record], partitions: int = 8, databases: Sequence[str] = ("compliance",)
) -> list[Chain]:
    """Chains as a transform would make of these captures, roughly: good for sizes and speeds, not an oracle."""
    chains = [Chain(partition=number, databases=databases) for number in range(partitions)]
    known: list[dict[Any, int]] = [defaultdict(int) for _ in chains]
    for capture in captures:
        number = int(hashlib.sha256(capture["conversation"].encode()).hexdigest(), 16) % partitions
        chain, ids = chains[number], known[number]
        content = (capture["conversation"], capture["sender"], capture["kind"], capture["body"])
        keys: list[Any] = [("event", capture["event_id"])]
        keys += [("stanza", *content, *pair) for pair in capture["stanza_ids"].items()]
        keys += [("origin", *content, capture["origin_id"])] if capture["origin_id"] else []
        hit = next((key for key in keys if key in ids), None)
        if hit is None:
            sequence = chain.accept(capture)
        else:
            sequence = ids[hit]
            chain.merge(
                capture, sequence, rule={"event": "retry", "stanza": "stanza_id", "origin": "origin_id"}[hit[0]]
            )
        for key in keys:
            ids.setdefault(key, sequence)
    return chains


def wire(values: Iterable[bytes], schema_id: int) -> list[bytes]:
    """Bare datums in wire format."""
    return [wire_header(schema_id) + value for value in values]
