"""The sink beside ClickHouse itself, which reads the very same containers from files.

    python -m tests.bench.sink EVENTS.jsonl [--rows N]

Prints one JSON object a line. `clickhouse_alone` is INSERT ... FROM INFILE into an empty table of the same layout; the
sink's time has everything in it: cutting rows, building containers, the digest, the batch record.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from clickhouse_connect.driver.client import Client

from pipeline.archive import container
from pipeline.archive.client import connect_embedded
from pipeline.archive.migrations import migrate
from pipeline.archive.sink import ONE_BLOCK, Cut, Sink
from pipeline.registry import FixedSchemas
from pipeline.settings import Settings
from tests.support.records import Chain, read_captures, simulate

ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--rows", type=int, default=200_000)
    arguments = parser.parse_args()
    for line in bench(arguments.events, arguments.rows):
        print(json.dumps(line), flush=True)


def bench(events: Path, rows: int = 200_000) -> Iterator[dict[str, Any]]:
    """One line for copies, one for the journal (whose cut fills messages and merges too)."""
    copies, journal = _material(events, rows)
    schemas = FixedSchemas()
    with tempfile.TemporaryDirectory() as folder:
        client = connect_embedded(Path(folder) / "db")
        try:
            yield _measure(client, Path(folder), "copies", copies, {
                "copies": (container.plain_writer(schemas.schema(3)), 3, [value[5:] for value in copies])})  # fmt: skip
            parts = [container.take_apart(value[5:]) for value in journal]
            row = container.row_writer(schemas.schema(2), schemas.schema(1))
            yield _measure(client, Path(folder), "journal", journal, {
                "journal": (container.plain_writer(schemas.schema(2)), 2, [value[5:] for value in journal]),
                "messages": (row, 1, [part.row for part in parts if part.status == container.ACCEPTED]),
                "merges": (row, 1, [part.row for part in parts if part.status == container.MERGED])})  # fmt: skip
        finally:
            client.close()


def _material(events: Path, rows: int) -> tuple[list[bytes], list[bytes]]:
    """Copies of all partitions, and one long journal partition."""
    chains: list[Chain] = simulate(read_captures(events, rows), partitions=1)
    return list(islice(chains[0].copies, rows)), list(islice(chains[0].journal, rows))


def _measure(
    client: Client, folder: Path, topic: str, values: list[bytes], alone: dict[str, tuple[Any, int, Sequence[bytes]]]
) -> dict[str, Any]:
    files = {}
    for table, (writer, schema_id, datums) in alone.items():
        files[table] = folder / f"{table}.avro"
        files[table].write_bytes(b"".join(container.container(writer, schema_id, datums)))
    sink_s, alone_s = [], []
    for _ in range(ROUNDS):
        sink = Sink(_fresh(client), Settings(), FixedSchemas(), "bench")
        began = time.perf_counter()
        sink.write(Cut(topic, 0, 0, len(values) - 1, values))
        sink_s.append(time.perf_counter() - began)
        _fresh(client)
        settings = ", ".join(f"{name} = {value}" for name, value in ONE_BLOCK.items() if name != "wait_end_of_query")
        began = time.perf_counter()
        for table, file in files.items():
            client.command(f"INSERT INTO compliance.{table} FROM INFILE '{file}' SETTINGS {settings} FORMAT Avro")
        alone_s.append(time.perf_counter() - began)
    return {
        "sink": topic,
        "records": len(values),
        "bytes_per_record": round(sum(map(len, values)) / len(values)),
        "rows_per_s": round(len(values) / min(sink_s)),
        "clickhouse_alone_rows_per_s": round(len(values) / min(alone_s)),
        "ratio": round(min(alone_s) / min(sink_s), 3),
    }


def _fresh(client: Client) -> Client:
    client.command("DROP DATABASE IF EXISTS compliance SYNC", use_database=False)
    migrate(client, Settings())
    return client


if __name__ == "__main__":
    main()
