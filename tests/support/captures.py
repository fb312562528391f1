"""Captures, and a bench that takes them through the core one by one and decodes all that comes out.

bench = Bench()
first = bench.take(capture(origin_id="o1", recipients=["bob@beta.example"]))
second = bench.take(capture(origin_id="o1", recipients=["carol@beta.example"]), at=60)
second.status, second.rule, second.recipients       # "merged", "origin_id", ["carol@beta.example"]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from typing import Any

from pipeline import codec
from pipeline.codec import RecordCodec
from pipeline.engines import assemble
from pipeline.policy.api import EmptyPolicy, Policy, PolicyText
from pipeline.policy.past import Past
from pipeline.records import OK, Decision, Event, Ingest, Judgement, Outcome, Produced
from pipeline.registry import FixedSchemas, load_schema
from pipeline.settings import ClickHouse, Database, Limits, Merge, Settings
from pipeline.stages.journal import Head, genesis
from pipeline.stages.transform import Partition, Step, Tools
from tests.support.events import encode

LINEAGE = "00112233aabbccdd"
START = 1_700_000_000_000
"""Milliseconds: the arrival at which a bench begins."""
WINDOW = 3600
"""Seconds."""
JOURNAL = RecordCodec(load_schema("journal"), codec.JOURNAL)
COPY = RecordCodec(load_schema("copy"), codec.COPY)
VERDICT = RecordCodec(load_schema("verdict"), codec.VERDICT)
FINDING = RecordCodec(load_schema("finding"), codec.FINDING)
DEAD_LETTER = RecordCodec(load_schema("dead_letter"), codec.DEAD_LETTER)
_NUMBERS = count(1)
Fields = dict[str, Any]


def capture(**fields: Any) -> Fields:
    """Alice's "hello" in a room, for Bob, without ids; each call has an event_id of its own unless told."""
    return {
        "event_id": f"event-{next(_NUMBERS)}",
        "kind": "chat",
        "conversation": "room:one",
        "sender": "alice@alpha.example",
        "sender_resource": None,
        "origin_id": None,
        "stanza_ids": {},
        "recipient_resource": None,
        "sent_at": START * 1000,
        "captured_at": START * 1000,
        "cluster": "alpha.example",
        "body": "hello",
        "refers_to": None,
        "thread": None,
        "conversation_type": "room",
        "conversation_name": None,
        "attachments": [],
        "attributes": {},
        "phase": "sent",
        "recipients": ["bob@beta.example"],
        **fields,
    }


def attachment(**fields: Any) -> Fields:
    """A small file."""
    return {
        "name": "a.txt",
        "display_name": None,
        "media_type": "text/plain",
        "size": 3,
        "sha256": None,
        "uri": None,
        "content": None,
        **fields,
    }


@dataclass(frozen=True)
class SmallPolicy:
    """Blocks the event for some recipients, gives others another text, leaves the rest alone."""

    name: str
    blocks: frozenset[str] = frozenset()
    rewrites: Mapping[str, str] = field(default_factory=dict)
    """Recipient -> what is put behind the text."""

    @property
    def digest(self) -> str:
        return self.text.digest

    @property
    def text(self) -> PolicyText:
        return PolicyText(self.name.encode())

    def judge(self, event: Event, recipients: tuple[str, ...], past: Past) -> Judgement:
        rule = (f"{self.name}-rule",)
        texts: dict[str | None, list[int]] = {}
        for place, recipient in enumerate(recipients):
            if recipient in self.blocks:
                texts.setdefault(None, []).append(place)
            elif recipient in self.rewrites:
                texts.setdefault(event["body"] + self.rewrites[recipient], []).append(place)
        if not texts:
            return OK
        outcomes = tuple(
            Outcome(tuple(places), "blocked" if text is None else "modified", text, rule, f"{self.name} says so")
            for text, places in texts.items()
        )
        nobody = len(texts.get(None, ())) == len(recipients)
        decision: Decision = "blocked" if nobody else "modified"
        return Judgement(decision, f"{self.name} says so", rule, outcomes)


@dataclass(frozen=True)
class Took:
    """What became of one ingest record, decoded."""

    step: Step
    journal: Fields
    verdict: Fields | None
    copies: list[Fields]
    findings: list[Fields]
    dead_letters: list[Fields]
    sent_on: list[Produced]

    @property
    def status(self) -> str:
        return self.step.status

    @property
    def rule(self) -> str:
        return self.step.rule

    @property
    def sequence(self) -> int:
        return int(self.journal["sequence"])

    @property
    def into(self) -> int:
        return int(self.journal["into"])

    @property
    def recipients(self) -> list[str]:
        """Whom its copies are for."""
        return [copy["recipient"] for copy in self.copies]

    @property
    def rules_found(self) -> list[str]:
        """Rules of its findings."""
        return [finding["rule"] for finding in self.findings]


class _Settings(Settings):
    """To be found by in a cache."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())


def settings(
    *,
    window_s: int = WINDOW,
    max_entries: int = 1_000_000,
    max_bytes: int = 1 << 30,
    databases: Sequence[Database] = (),
    **limits: int,
) -> Settings:
    """Settings of the core; the rest has its defaults."""
    return _Settings(
        merge=Merge(window_s=window_s, max_entries=max_entries, max_bytes=max_bytes),
        clickhouse=ClickHouse(databases=tuple(databases)),
        limits=Limits(**limits),
    )


@cache
def _tools(values: Settings, partitions: int) -> Tools:
    return assemble.tools(values, FixedSchemas(), partitions=partitions, topic="im.events")


class Bench:
    """One partition and its records.

    Args:
        partition: its number.
        partitions: of the ingest topic; 0: no partitioner, as for a file.
        policy: in force; assign another one when it changes.
        values: settings, see `settings`.
    """

    def __init__(
        self, *, partition: int = 0, partitions: int = 0, policy: Policy | None = None, head: Head | None = None,
        **values: Any,
    ) -> None:  # fmt: skip
        self.settings = settings(**values)
        self.tools = _tools(self.settings, partitions)
        self.policy: Policy = policy or EmptyPolicy()
        self.partition = assemble.partition(self.settings, self.tools, head or genesis(LINEAGE, partition))
        self.offset = self.partition.journal.offset
        self.arrival = START
        self.taken: list[Took] = []

    def take(self, event: Fields | bytes | None, *, at: float | None = None, key: bytes | None = b"key") -> Took:
        """Take one record that arrives `at` seconds after the start (left out: with the one before)."""
        if at is not None:
            self.arrival = START + round(at * 1000)
        self.offset += 1
        value = encode(event) if isinstance(event, dict) else event
        record = Ingest(self.offset, self.arrival, key, value, [("h", b"1")])
        self.taken.append(decoded(self.partition.process(record, self.policy)))
        return self.taken[-1]


def refold(bench: Bench, journal: Sequence[bytes]) -> Partition:
    """A new partition from a head and the journal's records, as a worker that is given it makes one."""
    head = bench.partition.head
    fresh = assemble.partition(bench.settings, bench.tools, head)
    for value in journal[head.floor :]:
        fresh.fold(JOURNAL.decode(value))
    fresh.merge.forget_below(head.floor)
    return fresh


def decoded(step: Step) -> Took:
    """A step with all its records decoded; its copies are used up."""
    by_topic: dict[str, list[Produced]] = {}
    for record in step.others:
        by_topic.setdefault(record.topic, []).append(record)
    return Took(
        step,
        JOURNAL.decode(step.journal),
        VERDICT.decode(step.verdict.value or b"") if step.verdict else None,
        [COPY.decode(value) for _, value in step.copies.records],
        [FINDING.decode(record.value or b"") for record in by_topic.get("findings", ())],
        [DEAD_LETTER.decode(record.value or b"") for record in by_topic.get("dead-letters", ())],
        by_topic.get("events", []),
    )


def everything(step: Step) -> tuple[Any, ...]:
    """All bytes that a step gives, to be compared."""
    return (
        step.status,
        step.rule,
        step.journal,
        step.verdict,
        step.copies.count,
        list(step.copies.records),
        step.others,
    )


def database(name: str, *domains: str, inbound: bool = False, only: Sequence[str] = ()) -> Database:
    """A database of the settings; `only` these conversation types."""
    values: Fields = {"name": name, "domains": domains, "keeps": "inbound" if inbound else "both"}
    return Database(**values, **({"conversations": tuple(only)} if only else {}))
