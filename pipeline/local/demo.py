"""`make demo`: an excerpt of a real chat log, as captures, through the whole pipeline, and what came of it.

On a real Kafka and an HTTP ClickHouse where Java 17 and Maven are there, with workers as processes of their own;
otherwise embedded. It says which, and what that mode does not prove.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from clickhouse_connect.driver.client import Client
from confluent_kafka import Producer
from rich.console import Console
from rich.table import Table

from pipeline import topics
from pipeline.archive.client import connect, connect_embedded, rows
from pipeline.archive.migrations import migrate
from pipeline.audit.verify import verify
from pipeline.engines.embedded import process_file
from pipeline.errors import ComplianceError, Unavailable
from pipeline.jsonl import parse_line, read_lines
from pipeline.kafka_clients import producer_config, topic_name
from pipeline.local import kafka
from pipeline.local.clickhouse import LocalClickHouse
from pipeline.local.kafka import LocalKafka
from pipeline.registry import FixedSchemas
from pipeline.settings import Settings, load_settings
from pipeline.status import status

SAMPLE: Final = Path(__file__).parent / "sample"
PARTITIONS: Final = 4
TRANSFORM_WORKERS: Final = 2
DRAIN_TIMEOUT_S: Final = 90.0

out = Console(highlight=False, soft_wrap=True)


def main() -> int:
    """Run the demo; 0 if the archive is what it must be."""
    arguments = argparse.ArgumentParser(description="The main job on a licensed sample.")
    arguments.add_argument("--embedded", action="store_true", help="without Kafka, even where there is one")
    embedded = arguments.parse_args().embedded
    why_not = "asked for" if embedded else kafka.available()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="compliance-demo-") as scratch, ExitStack() as stack:
            come_in()
            if why_not is None:
                client, settings = stack.enter_context(on_kafka(Path(scratch)))
            else:
                client, settings = stack.enter_context(in_process(Path(scratch), why_not))
            good = show(client, settings)
    except ComplianceError as error:
        out.print(f"demo: {error}")
        return 1
    out.print(f"\n{time.monotonic() - began:.0f} s.", style="bold")
    what_next(real=why_not is None)
    return 0 if good else 1


@contextmanager
def on_kafka(scratch: Path) -> Iterator[tuple[Client, Settings]]:
    """The real thing: broker, database and workers as processes, all ended with the block."""
    title(f"Running on a real Apache Kafka {kafka.VERSION} and ClickHouse over HTTP")
    with ExitStack() as stack:
        broker, database = LocalKafka(scratch / "kafka"), LocalClickHouse(scratch / "clickhouse")
        for server in (broker, database):
            stack.callback(server.stop)
            server.start()
        environment = {
            "COMPLIANCE_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
            "COMPLIANCE_KAFKA__PARTITIONS": str(PARTITIONS),
            "COMPLIANCE_CLICKHOUSE__URL": database.url.rpartition("/")[0] + "/compliance",
            "COMPLIANCE_METRICS__PORT": "0",
            "COMPLIANCE_METRICS__HOST": "127.0.0.1",
        }
        os.environ.update(environment)
        settings = load_settings()
        topics.create(settings)
        client = connect(settings)
        stack.callback(client.close)
        migrate(client, settings)
        for slot in range(TRANSFORM_WORKERS):
            stack.enter_context(worker("transform", slot, scratch))
        stack.enter_context(worker("archive", 0, scratch))
        sent = produce(settings)
        out.print(
            f"{sent} captures produced to {topic_name(settings, 'events')}; {TRANSFORM_WORKERS} transform workers "
            f"and 1 archive worker are at it ..."
        )
        wait_until_drained(settings)
        yield client, settings


@contextmanager
def worker(stage: str, slot: int, scratch: Path) -> Iterator[None]:
    """`compliance run STAGE` as a process, ended with SIGTERM."""
    command = [sys.executable, "-m", "pipeline.cli", "run", stage]
    with (scratch / f"{stage}-{slot}.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log, env={**os.environ, "COMPLIANCE_WORKER__SLOT": str(slot)})
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def produce(settings: Settings) -> int:
    """Write the sample to the ingest topic as a messaging server's producer would; gives the number of captures."""
    producer = Producer(producer_config(settings))
    source, count = str(SAMPLE / "events.jsonl.gz"), 0
    for number, line in read_lines(source):
        parsed = parse_line(line, source=source, number=number)
        producer.produce(topic_name(settings, "events"), parsed.value, parsed.conversation.encode())
        count += 1
    if producer.flush(30):
        raise Unavailable("the broker did not take the sample within 30 s")
    return count


def wait_until_drained(settings: Settings) -> None:
    """Wait until all that is in Kafka is in ClickHouse."""
    deadline = time.monotonic() + DRAIN_TIMEOUT_S
    while not status(settings)["drained"]:
        if time.monotonic() > deadline:
            raise Unavailable(f"not drained after {DRAIN_TIMEOUT_S:.0f} s")
        time.sleep(0.3)


@contextmanager
def in_process(scratch: Path, why_not: str) -> Iterator[tuple[Client, Settings]]:
    """The same stages embedded, without Kafka."""
    title(f"Running embedded, without Kafka ({why_not})")
    settings = load_settings()
    process_file(str(SAMPLE / "events.jsonl.gz"), scratch, settings=settings)
    client = connect_embedded(scratch / "clickhouse")
    try:
        yield client, settings
    finally:
        client.close()


def come_in() -> None:
    """Show what the captures are."""
    title("What came in")
    kinds: Counter[str] = Counter()
    for _, line in read_lines(str(SAMPLE / "events.jsonl.gz")):
        kinds[json.loads(line)["kind"]] += 1
    styles: Counter[str] = Counter()
    for one in truth():
        styles[one["style"]] += 1
    out.print(
        f"{sum(kinds.values())} captures of {sum(styles.values())} messages of #ubuntu (CC BY 4.0, see "
        f"pipeline/local/sample): {', '.join(f'{n} {kind}' for kind, n in kinds.most_common(6))} ..."
    )
    told = {
        "fork": "delivered to several devices",
        "per_recipient": "captured once per recipient",
        "both_sides": "captured by both clusters",
        "resend": "sent again after a reconnect",
        "no_ids": "forked without any id",
        "reused_id": "an id used for two texts",
        "foreign_id": "somebody else's id",
    }
    out.print(
        "Among them: " + ", ".join(f"{styles[style]} {what}" for style, what in told.items() if styles[style]) + "."
    )


def truth() -> Iterator[dict[str, Any]]:
    """What was really sent, a message at a time."""
    with gzip.open(SAMPLE / "truth.jsonl.gz", "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def show(client: Client, settings: Settings) -> bool:
    """Show what came of it; whether it is what it must be."""
    control, archive = settings.clickhouse.control_database, settings.clickhouse.archives[0].name
    title("What was merged, and why")
    merged = f"SELECT rule, count() AS captures FROM `{control}`.journal FINAL WHERE status = 'merged' GROUP BY rule ORDER BY captures DESC"
    table("rule|captures", rows(client, merged))
    example = rows(
        client,
        "SELECT into_event_id AS message, groupArray(rule) AS rules, groupArray(cluster) AS clusters, "
        f"any(substring(body, 1, 60)) AS text FROM `{archive}`.merges FINAL GROUP BY into_event_id "
        "ORDER BY length(rules) DESC, message LIMIT 1",
    )
    for one in example:
        out.print(
            f'e.g. "{one["text"]}" ({one["message"]}): {len(one["rules"])} more captures, by {", ".join(sorted(set(one["rules"])))}'
        )
    title("What each recipient's archive holds")
    table(
        "recipient|messages|from",
        rows(
            client,
            'SELECT recipient, uniqExact(into, partition) AS messages, uniqExact(sender) AS "from" '
            f"FROM `{archive}`.copies FINAL GROUP BY recipient ORDER BY messages DESC LIMIT 5",
        ),
    )
    questions(client, control, archive)
    return hold_against_truth(client, settings, control, archive)


def questions(client: Client, control: str, archive: str) -> None:
    """Ask what auditors ask, in SQL that they can type themselves."""
    title("An auditor's questions, in SQL")
    asked = {
        "Who wrote about sudo, and how many were given it?": f"SELECT substring(toString(sent), 1, 19) AS sent, sent_by, substring(text, 1, 50) AS text, "
        f"length(reached) AS readers FROM `{archive}`.transcript WHERE hasToken(lower(text), 'sudo') ORDER BY sent LIMIT 3",
        "Did every capture get its verdict?": f"SELECT decision, count() AS verdicts FROM `{control}`.verdicts GROUP BY decision",
        "Is there a gap, or a hash that does not fit?": "SELECT partition, count() AS records, max(sequence) + 1 - count() AS missing, "
        f"countIf(hash != recomputed_hash) AS altered FROM `{control}`.journal FINAL GROUP BY partition ORDER BY partition",
    }
    for question, sql in asked.items():
        out.print(f"\n{question}", style="bold")
        out.print(f"  {' '.join(sql.split())}", style="dim")
        found = rows(client, sql)
        table("|".join(found[0]) if found else "nothing", found)


def hold_against_truth(client: Client, settings: Settings, control: str, archive: str) -> bool:
    """Hold the archive against what was really sent, and against its own journal."""
    title("Is it all there?")
    sent = list(truth())
    due = {(min_capture(one), recipient) for one in sent for recipient in one["recipients"]}
    kept = rows(client, f"SELECT event_id FROM `{archive}`.messages FINAL")
    held = rows(client, f"SELECT message_event_id, recipient FROM `{archive}`.copies FINAL")
    owner = {capture: min_capture(one) for one in sent for capture in one["captures"]}
    same_messages = Counter(owner[one["event_id"]] for one in kept) == Counter(map(min_capture, sent))
    same_copies = Counter((owner[one["message_event_id"]], one["recipient"]) for one in held) == Counter(due)
    out.print(
        f"messages: {len(sent)} were sent, {len(kept)} are in the archive: {'the same' if same_messages else 'NOT the same'}"
    )
    out.print(
        f"copies: {len(due)} were due, {len(held)} are in the archive: {'the same' if same_copies else 'NOT the same'}"
    )
    report = verify(client, settings, schemas=FixedSchemas())
    for fault in report.faults:
        out.print(fault.line())
    records = rows(client, f"SELECT count() AS n FROM `{control}`.journal FINAL")[0]["n"]
    out.print(
        f"compliance verify: {records} journal records, every row derived again: {'whole' if report.whole else 'NOT whole'}"
    )
    return same_messages and same_copies and report.whole


def min_capture(message: Mapping[str, Any]) -> str:
    """A name for a message of the truth."""
    return str(min(message["captures"]))


def what_next(*, real: bool) -> None:
    """Say what this did not prove and how to start the next bigger one."""
    title("What this does not prove, and what is next")
    if real:
        out.print(
            "One broker on one machine, chDB in ClickHouse's place (no users, roles or row policies): not power loss, "
            "not several hosts.\nThe same by hand: .venv/bin/compliance local up. In containers: docker compose up. "
            "Faults: make test runs workers and brokers into SIGKILL."
        )
    else:
        out.print(
            "Without Kafka there are no transactions, no several workers and no restarts to prove anything about.\n"
            "With Java 17 and Maven, make demo runs on a real Kafka; with Docker: docker compose up."
        )
    out.print("Nobody has signed anything yet: whoever can rewrite the whole archive can rewrite the chain with it.")


def title(text: str) -> None:
    """A heading."""
    out.print(f"\n{text}", style="bold cyan")


def table(columns: str, found: list[dict[str, Any]]) -> None:
    """Rows, under their columns."""
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for column in columns.split("|"):
        shown.add_column(column, overflow="fold")
    for row in found:
        shown.add_row(*(str(value) for value in row.values()))
    out.print(shown)


if __name__ == "__main__":
    sys.exit(main())
