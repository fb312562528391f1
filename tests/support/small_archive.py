"""A small archive with something of everything, made by the real transform and the real sink.

Two ingest partitions; a control database and two archive databases, of which beta keeps inbound only. In it: messages of
their own, merges by several rules, new recipients, a retry, an event_id that comes back with other bytes, a message that a
later capture brings into beta, blocked and modified copies, events without recipients, rejected and rerouted records, a gap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.archive.migrations import migrate
from pipeline.archive.sink import Cut, Sink
from pipeline.engines import assemble
from pipeline.policy.api import PolicyText
from pipeline.policy.past import Past
from pipeline.records import OK, Decision, Event, FindingNote, Ingest, Judgement, Outcome
from pipeline.registry import FixedSchemas
from pipeline.settings import ClickHouse, Database, Settings
from pipeline.stages.journal import genesis
from pipeline.stages.partitioner import murmur2
from pipeline.stages.transform import Partition, Step
from tests.support.records import EVENT, event

LINEAGE = "00112233aabbccdd"
PARTITIONS = 2
CUT = 4
ARRIVAL = 1_700_000_000_000


class StrictPolicy:
    """Mallory is sent nothing; whoever is at beta gets `secret` blotted out."""

    text = PolicyText(b"strict", '{"staff": []}')
    digest = text.digest

    def judge(self, one: Event, recipients: tuple[str, ...], past: Past) -> Judgement:
        blocked = tuple(n for n, to in enumerate(recipients) if to.startswith("mallory@"))
        secret = "secret" in one["body"]
        changed = tuple(n for n, to in enumerate(recipients) if secret and n not in blocked and "beta" in to)
        outcomes = []
        if blocked:
            outcomes.append(Outcome(blocked, "blocked", None, ("no-mallory",), "not to Mallory"))
        if changed:
            text = one["body"].replace("secret", "******")
            outcomes.append(Outcome(changed, "modified", text, ("no-secrets",), "a secret"))
        if not outcomes:
            return OK
        rules = tuple(rule for outcome in outcomes for rule in outcome.rules)
        decision: Decision = "blocked" if len(blocked) == len(recipients) else "modified"
        note = FindingNote("no-secrets", "high", one["sender"], "a secret") if changed else None
        return Judgement(decision, "see the rules", rules, tuple(outcomes), (note,) if note else ())


@dataclass
class SmallArchive:
    client: Client
    settings: Settings
    control: str
    alpha: str
    beta: str = ""
    steps: list[Step] = field(default_factory=list)

    def names(self) -> tuple[str, ...]:
        return tuple(name for name in (self.alpha, self.beta, self.control) if name)


def settings_for(url: str, name: str, *, both: bool = True) -> Settings:
    """Settings of an archive whose databases' names begin with `name`; without `both` there is no beta."""
    beta = Database(name=f"{name}_beta", domains=("beta.example",), keeps="inbound")
    return Settings(
        clickhouse=ClickHouse(
            url=f"{url.rsplit('/', 1)[0] if url.count('/') > 2 else url}/{name}",
            databases=(Database(name=f"{name}_alpha", domains=("alpha.example",)), *((beta,) if both else ())),
        )
    )


def home_of(conversation: str) -> int:
    return (murmur2(conversation.encode()) & 0x7FFFFFFF) % PARTITIONS


def conversation_in(partition: int, number: int = 0) -> str:
    """A room that belongs to this partition."""
    return [room for room in (f"room:{n}" for n in range(1000)) if home_of(room) == partition][number]


def captures(partitions: int = PARTITIONS) -> Iterator[tuple[int, bytes | None]]:
    """Partition and value of each ingest record, in their order."""
    for partition in range(partitions):
        room, other = conversation_in(partition), conversation_in(partition, 1)

        def put(one: dict[str, Any], home: int = partition) -> tuple[int, bytes]:
            return home, EVENT.encode(one)

        inside = event(event_id=f"inside-{partition}", conversation=room, recipients=["bob@alpha.example"])
        yield put(inside)
        yield put(inside)
        later = {**inside, "event_id": f"later-{partition}", "cluster": "beta.example", "origin_id": None}
        yield put({**later, "recipients": ["bob@alpha.example", "carol@beta.example", "dave@beta.example"]})
        secret = event(event_id=f"secret-{partition}", conversation=room, body="a secret",
                       recipients=["bob@alpha.example", "mallory@alpha.example", "carol@beta.example", "bob@alpha.example"])  # fmt: skip
        yield put(secret)
        yield put({**secret, "event_id": f"fork-{partition}", "stanza_ids": {}, "recipients": ["erin@beta.example"]})
        yield put({**secret, "body": "other bytes under the same id"})
        yield put(event(conversation=other, kind="join", body="", recipients=[]))
        yield partition, b"not avro"
        yield put(event(conversation=other, body="only Mallory", recipients=["mallory@alpha.example"]))
        mallory = event(conversation=other, body="a secret for later", recipients=["mallory@alpha.example"])
        yield put(mallory)
        yield put(
            {**mallory, "event_id": f"late-{partition}", "recipients": ["carol@beta.example", "mallory@alpha.example"]}
        )
        yield put(event(conversation=conversation_in(1 - partition)))
        card = {"name": "a.txt", "display_name": None, "media_type": "text/plain", "size": 3, "sha256": "00" * 32,
                "uri": None, "content": b"\0\xffa"}  # fmt: skip
        yield put(event(conversation=room, sender="zoe@beta.example", attachments=[card], attributes={"b": "1", "a": "ü"},
                        recipients=["bob@alpha.example", "stranger@elsewhere.example"], thread="t", refers_to="r"))  # fmt: skip
        yield partition, b""
        yield put(
            event(
                conversation=room,
                body="nobody keeps this",
                sender="x@elsewhere.example",
                recipients=["y@elsewhere.example"],
            )
        )
        yield put({**later, "event_id": f"again-{partition}", "recipients": ["frank@alpha.example"]})


def build(client: Client, settings: Settings, *, partitions: int = PARTITIONS) -> SmallArchive:
    """Make the databases and fill them, from the first `partitions` ingest partitions."""
    names = [settings.clickhouse.control_database, *(one.name for one in settings.clickhouse.archives)]
    migrate(client, settings)
    archive = SmallArchive(client, settings, names[0], names[1], names[2] if len(names) > 2 else "")
    schemas = FixedSchemas()
    tools = assemble.tools(settings, schemas, partitions=PARTITIONS, topic="im.events")
    parts = [assemble.partition(settings, tools, genesis(LINEAGE, number)) for number in range(partitions)]
    journals: list[list[bytes]] = [[] for _ in parts]
    others: dict[str, list[bytes]] = {"copies": [], "findings": [], "dead-letters": [], "policies": []}

    def keep(number: int, step: Step) -> None:
        archive.steps.append(step)
        journals[number].append(step.journal)
        others["copies"] += [value for _, value in step.copies.records]
        for record in step.others:
            if record.topic in others and record.value is not None:
                others[record.topic].append(record.value)

    offsets = [3, 0]
    for number, value in captures(partitions):
        keep(number, parts[number].process(_ingest(parts[number], offsets[number], value), StrictPolicy()))
        offsets[number] += 1 if offsets[number] % 5 else 2  # transaction markers take offsets too
        if offsets[number] == 12:
            keep(number, parts[number].gap(offsets[number] + 3, ARRIVAL))
            offsets[number] += 4
    sink = Sink(client, settings, schemas, "test")
    for number, values in enumerate(journals):
        for at in range(0, len(values), CUT):
            sink.write(Cut("journal", number, 2 * at, 2 * at + CUT - 1, values[at : at + CUT]))
    for topic, values in others.items():
        sink.write(Cut(topic, 0, 0, len(values) - 1, values))
    return archive


def _ingest(part: Partition, offset: int, value: bytes | None) -> Ingest:
    return Ingest(offset, ARRIVAL + offset, b"key", value, [("header", b"\xff")])
