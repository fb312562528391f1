"""Policies through a real Kafka and ClickHouse: changed while events flow, refused when wrong, each copy held against a naive model."""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from pipeline.jsonl import event_to_json
from pipeline.settings import Policy
from tests.support.captures import START, capture
from tests.support.pipeline import Captures, Pipeline, compliance, settings_for, until, verify
from tests.support.servers import Broker, Database

RESEARCH = [f"r{n}@bank.example" for n in range(5)]
SALES = [f"s{n}@bank.example" for n in range(5)]
OTHERS = [f"o{n}@bank.example" for n in range(5)]
PEOPLE = [*RESEARCH, *SALES, *OTHERS]
WORD = "falcon"
WALLED = f"""version: 1
groups: {{research: [{", ".join(RESEARCH)}], sales: [{", ".join(SALES)}]}}
walls:
  - {{id: wall, reason: research and sales, severity: high, between: [research, sales]}}
rules:
  - {{id: word, reason: not by that name, action: modify, replace: "[x]", when: {{content: {{keywords: {WORD}}}}}}}
"""
OPEN = f"""version: 1
rules:
  - {{id: word, reason: not by that name, action: modify, replace: "[y]", when: {{content: {{keywords: {WORD}}}}}}}
  - {{id: copy, action: route, to: second, when: {{senders: {OTHERS[0]}}}}}
"""
BROKEN = "version: 1\nrules:\n  - {id: a, action: forbid}\n"
CHANGES = ((OPEN, "policy changed", 1), (BROKEN, "policy refused", 1), (WALLED, "policy changed", 2))
"""What the file becomes while events flow, and what each worker's log then says how often."""
EVENTS = 3_000
RATE = 400.0
Row = dict[str, Any]


def events(random: Random) -> list[bytes]:
    """Messages to some people each, and for half of them a second capture that brings others."""
    made: list[Row] = []
    while len(made) < EVENTS:
        number = len(made)
        body = " ".join(random.choice(["one", "two", "three", WORD]) for _ in range(5)) + f" {number}"
        fields = {"sender": random.choice(PEOPLE), "origin_id": f"o{number}", "body": body,
                  "conversation": f"room:{number % 40}", "sent_at": START * 1000 + number}  # fmt: skip
        for fork in range(random.choice([1, 2])):
            recipients = random.sample(PEOPLE, 3)
            made.append(
                capture(event_id=f"{number}-{fork}", captured_at=START * 1000 + number, recipients=recipients, **fields)
            )
    return [orjson.dumps(event_to_json(one)) + b"\n" for one in made]


def naive(walled: bool, sender: str, recipient: str, body: str) -> tuple[str, str | None]:
    """What the policies above say, in other words."""
    sides = [[person in side for person in (sender, recipient)] for side in (RESEARCH, SALES)]
    if walled and any(one for one, _ in sides) and any(other for _, other in sides) and [True, True] not in sides:
        return "blocked", None
    changed = body.replace(WORD, "[x]" if walled else "[y]")
    return ("ok", body) if changed == body else ("modified", changed)


@pytest.mark.kafka
@pytest.mark.clickhouse
@pytest.mark.slow
def test_changed_and_refused_while_events_flow(
    kafka: Broker, clickhouse: Database, prefix: str, database: str, tmp_path: Path, seed: int
) -> None:
    file = tmp_path / "policy.yaml"
    opened, walled = (sha256(text.encode()).hexdigest() for text in (OPEN, WALLED))
    file.write_text(WALLED)
    (tmp_path / "events.jsonl").write_bytes(b"".join(events(Random(seed))))
    captures = Captures(tmp_path / "events.jsonl", tmp_path / "events.jsonl")
    settings = settings_for(kafka.bootstrap, clickhouse.url, prefix=prefix, database=database)
    settings = settings.model_copy(update={"policy": Policy(file=file, check_every_s=0.2)})
    with Pipeline(settings, tmp_path / "run", ["second"]) as pipeline:
        for slot in range(2):
            pipeline.start("transform", slot)
        pipeline.start("archive", 0)
        for number, (text, told, times) in enumerate(CHANGES):
            with pipeline.feeding(captures.part(number, len(CHANGES)), RATE) as feeder:
                pipeline.follower.wait_for(1)
                feeder.wait_for(EVENTS // len(CHANGES) // 2)
                file.write_text(text)
            for slot in range(2):
                until(partial(logged, pipeline, slot, told, times), 60, told)
            # All of it judged before the file changes again: a session may have begun anew meanwhile.
            pipeline.follower.wait_for(len(captures.records) * (number + 1) // len(CHANGES))
        pipeline.drain(captures, 120)
        found = {
            what: exported(what, settings.clickhouse.url) for what in ("copies", "journal", "findings", "policies")
        }
        assert verify("--clickhouse", settings.clickhouse.url) == []
        routed = pipeline.count("route.second")
    check_copies(captures, found, {walled: True, opened: False})
    check_changes(found, walled, opened)
    refused = [one for one in found["findings"] if one["rule"] == "policy_refused"]
    assert {one["severity"] for one in refused} == {"high"}
    assert all("policy.yaml:3:21: " in one["detail"] for one in refused)
    assert len(refused) == 2, "once for each worker"
    senders = {row["event_id"]: row["sender"] for row in captures.rows}
    judged = [
        row
        for row in found["journal"]
        if row["policy"] == opened and (row["status"] == "accepted" or row["new_recipients"])
    ]
    assert routed == sum(senders[row["event_id"]] == OTHERS[0] for row in judged) > 0


def logged(pipeline: Pipeline, slot: int, told: str, times: int) -> bool:
    return pipeline.log_of("transform", slot).count(told) == times


def exported(what: str, url: str) -> list[Row]:
    done = compliance("export", what, "--clickhouse", url)
    assert done.returncode == 0, done.stderr
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def check_copies(captures: Captures, found: dict[str, list[Row]], policies: dict[str, bool]) -> None:
    """Each recipient's copy says what the naive model says, under the policy that its journal record names."""
    judged_by = {(row["lineage"], row["partition"], row["sequence"]): row["policy"] for row in found["journal"]}
    seen: Counter[tuple[str, str]] = Counter()
    for copy in found["copies"]:
        walls = policies[judged_by[copy["lineage"], copy["partition"], copy["sequence"]]]
        expected = naive(walls, copy["sender"], copy["recipient"], copy["body"])
        assert (copy["decision"], copy["delivered_body"]) == expected, copy
        seen[copy["origin_id"], copy["recipient"]] += 1
    sent = {(row["origin_id"], recipient) for row in captures.rows for recipient in row["recipients"]}
    assert seen == Counter(dict.fromkeys(sent, 1))
    used = Counter(row["policy"] for row in found["journal"] if row["status"] == "accepted")
    assert min(used[digest] for digest in policies) > EVENTS // 20, used


def check_changes(found: dict[str, list[Row]], walled: str, opened: str) -> None:
    """Per partition the record of each change names the first sequence that was made under the new policy."""
    changes = defaultdict(list)
    for row in found["policies"]:
        changes[row["partition"]].append((row["sequence"], row["digest"]))
    journal = defaultdict(list)
    for row in found["journal"]:
        if row["status"] == "accepted" or row["new_recipients"]:
            journal[row["partition"]].append((row["sequence"], row["policy"]))
    for partition, judged in journal.items():
        firsts = [one for before, one in zip([(-1, ""), *judged], judged, strict=False) if one[1] != before[1]]
        assert changes[partition] == firsts
        assert {digest for _, digest in firsts} <= {walled, opened}
