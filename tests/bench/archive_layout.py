"""Sizes and query times of the archive's candidate layouts, on real captures. The answers are in docs/archive.md.

    python -m tests.bench.archive_layout EVENTS.jsonl [--limit N]

EVENTS.jsonl are captures in the ingest format, one JSON object a line. One JSON object a candidate goes to standard
output: bytes on disk (after OPTIMIZE FINAL) and milliseconds (median of five) of what auditors ask.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chdb

from pipeline.archive import container, tables
from pipeline.archive.tables import Table
from pipeline.registry import FixedSchemas
from tests.support.records import read_captures, simulate

IDENTITY = ("lineage", "partition", "sequence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--only", default="", help="copies, messages, journal or words")
    parser.add_argument("--candidate", default="", help="only those whose name has this in it")
    parser.add_argument("--grow", type=int, default=400_000, help="rows that questions are asked of (not for copies)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        chains = simulate(read_captures(arguments.events, arguments.limit))
        bench = Bench(chdb.connect(f"{folder}/db"), Path(folder), arguments.grow)  # type: ignore[no-untyped-call]
        if arguments.only in ("", "words"):
            bench.words(arguments.events)
        bench.load(chains)
        for kind, name, table in candidates():
            if arguments.only in ("", kind) and arguments.candidate in name:
                print(json.dumps({"table": kind, "candidate": name, **bench.measure(kind, table)}), flush=True)


def recoded(table: Table, codecs: dict[str, str]) -> Table:
    columns = tuple(column._replace(codec=codecs.get(column.name, column.codec)) for column in table.columns)
    return table._replace(columns=columns)


def retyped(table: Table, types: dict[str, str]) -> Table:
    columns = tuple(column._replace(type=types.get(column.name, column.type)) for column in table.columns)
    return table._replace(columns=columns)


ALL_WORDS = (
    "recipient", "direction", "decision", "reason", "database", "lineage", "kind", "conversation", "sender", "cluster",
    "sender_resource", "recipient_resource", "conversation_type", "conversation_name", "phase", "rule", "policy", "status",
)  # fmt: skip
WORDS = {
    "none": (),
    "recipient": ("recipient",),
    "all words": ALL_WORDS,
}


def worded(table: Table, words: tuple[str, ...]) -> Table:
    """The table with LowCardinality for these columns alone."""

    def kind(name: str, kind: str) -> str:
        bare = re.sub(r"LowCardinality\((Nullable\(String\)|String)\)", r"\1", kind)
        return f"LowCardinality({bare})" if name in words else bare

    return retyped(table, {column.name: kind(column.name, column.type) for column in table.columns})


def candidates() -> Iterator[tuple[str, str, Table]]:
    copies, messages, journal = tables.COPIES, tables.MESSAGES, tables.JOURNAL
    yield "copies", "as chosen", copies
    yield "copies", "recipient, sent_at", copies._replace(order_by=("recipient", "sent_at", *IDENTITY, "copy_index"))
    yield "copies", "conversation, sequence", copies._replace(order_by=("conversation", *IDENTITY, "copy_index"))
    yield "copies", "sequence", copies._replace(order_by=(*IDENTITY, "copy_index"))
    yield "copies", "no skip indexes", copies._replace(indexes=())
    yield "copies", "body ZSTD(1)", recoded(copies, {"body": "ZSTD(1)"})
    yield "copies", "body ZSTD(9)", recoded(copies, {"body": "ZSTD(9)"})
    yield "copies", "all LZ4", recoded(copies, dict.fromkeys((c.name for c in copies.columns), "LZ4"))
    for name, words in WORDS.items():
        yield "copies", f"LowCardinality: {name}", worded(copies, words)
    yield "messages", "as chosen", messages
    yield "messages", "LowCardinality: all words", worded(messages, ALL_WORDS)
    yield "messages", "no text index", messages._replace(indexes=messages.indexes[1:])
    grams = "by_word body TYPE text(tokenizer = ngrams(3), preprocessor = lower(body))"
    yield "messages", "text index of trigrams", messages._replace(indexes=(grams, *messages.indexes[1:]))
    bloom = "by_word lower(body) TYPE tokenbf_v1(8192, 3, 0) GRANULARITY 1"
    yield "messages", "no text index, token bloom filter", messages._replace(indexes=(bloom, *messages.indexes[1:]))
    yield "messages", "conversation, sequence", messages._replace(order_by=("conversation", *IDENTITY))
    yield "messages", "sequence", messages._replace(order_by=IDENTITY)
    yield "messages", "body ZSTD(1)", recoded(messages, {"body": "ZSTD(1)"})
    yield "messages", "body ZSTD(9)", recoded(messages, {"body": "ZSTD(9)"})
    ids = dict.fromkeys(("event_id", "origin_id", "stanza_ids"), "ZSTD(9)")
    yield "messages", "ids ZSTD(9)", recoded(messages, ids)
    yield (
        "messages",
        "times DoubleDelta",
        recoded(messages, dict.fromkeys(("sent_at", "captured_at"), "DoubleDelta, ZSTD(1)")),
    )
    yield "journal", "as chosen", journal
    yield "journal", "LowCardinality: all words", worded(journal, ALL_WORDS)
    yield "journal", "no ALIAS columns", journal._replace(columns=journal.columns[:-2])
    for level in (1, 6, 9):
        yield "journal", f"raw ZSTD({level})", recoded(journal, {"raw": f"ZSTD({level})"})
    yield "journal", "hashes ZSTD(1)", recoded(journal, {"hash": "ZSTD(1)", "previous_hash": "ZSTD(1)"})


class Bench:
    def __init__(self, connection: Any, folder: Path, grow: int) -> None:
        self._connection, self._folder, self._rows_wanted = connection, folder, grow
        self._rows: dict[str, int] = {}
        self._facts: dict[str, str] = {}

    def load(self, chains: list[Any]) -> None:
        schemas = FixedSchemas()
        journal = [value[5:] for chain in chains for value in chain.journal]
        parts = [container.take_apart(datum) for datum in journal]
        row = container.row_writer(schemas.schema(2), schemas.schema(1))
        self._file("journal", container.plain_writer(schemas.schema(2)), journal)
        self._file(
            "copies", container.plain_writer(schemas.schema(3)), [v[5:] for chain in chains for v in chain.copies]
        )
        self._file("messages", row, [part.row for part in parts if part.status == container.ACCEPTED])

    def words(self, events: Path, times: int = 40) -> None:
        """Word search alone, in millions of bodies. Nine repetitions of ten get words of their own: rare ones stay rare."""
        source = f"file('{events}', JSONEachRow, 'body String')"
        own = "if(n % 10 = 0, body, replaceRegexpAll(body, '([a-zA-Z]{6,})', concat('\\\\1', toString(n))))"
        self.query("CREATE DATABASE IF NOT EXISTS words")
        for name, index in (("none", ""), ("text", f", INDEX {tables.MESSAGES.indexes[0]}")):
            self.query(
                f"CREATE TABLE words.{name} (conversation String, sequence Int64, body String CODEC(ZSTD(3)){index}) "
                "ENGINE = ReplacingMergeTree ORDER BY (conversation, sequence)"
            )
            began = time.perf_counter()
            self.query(
                f"INSERT INTO words.{name} SELECT concat('room:', toString(n % 60)), rowNumberInAllBlocks(), {own} "
                f"FROM (SELECT body, arrayJoin(range({times})) AS n FROM {source}) SETTINGS async_insert = 0"
            )
            took = round(time.perf_counter() - began, 1)
            self.query(f"OPTIMIZE TABLE words.{name} FINAL")
            asked = {}
            for final in ("", " FINAL"):
                for word in ("pluggablity", "confluence", "fedora"):
                    found = f"hasAllTokens(body, '{word}')" if index else f"hasToken(lower(body), '{word}')"
                    asked[word + final] = self._timed(
                        f"SELECT count(), max(sequence), sum(length(body)) FROM words.{name}{final} WHERE {found}"
                    )
            size = self.query(
                "SELECT round(sum(bytes_on_disk) / sum(rows), 1), sum(rows) FROM system.parts "
                f"WHERE active AND database = 'words' AND table = '{name}'"
            ).split()
            line = {"bytes_per_row": float(size[0]), "rows": int(size[1]), "insert_s": took, "ms": asked}
            print(json.dumps({"table": "words", "candidate": f"index: {name}", **line}), flush=True)

    def _file(self, name: str, writer: Any, datums: list[bytes]) -> None:
        (self._folder / f"{name}.avro").write_bytes(b"".join(container.container(writer, 1, datums)))
        self._rows[name] = len(datums)

    def query(self, sql: str) -> str:
        return str(self._connection.query(sql, "TSVRaw").bytes().decode().strip())

    def measure(self, kind: str, table: Table) -> dict[str, Any]:
        self.query("DROP DATABASE IF EXISTS bench")
        self.query("CREATE DATABASE bench")
        self.query(table._replace(name=kind).create("bench"))
        began = time.perf_counter()
        self.query(
            f"INSERT INTO bench.{kind} FROM INFILE '{self._folder}/{kind}.avro' SETTINGS async_insert = 0, "
            "min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 100000000000, "
            "max_insert_block_size = 100000000 FORMAT Avro"
        )
        took = time.perf_counter() - began
        self.query(f"OPTIMIZE TABLE bench.{kind} FINAL")
        where = f"database = 'bench' AND table = '{kind}' AND active"
        size = int(self.query(f"SELECT sum(bytes_on_disk) FROM system.parts WHERE {where}"))
        largest = self.query(
            "SELECT arrayStringConcat(groupArray(name || ' ' || toString(share)), ', ') FROM (SELECT name, "
            f"round(data_compressed_bytes / {self._rows[kind]}, 1) AS share FROM system.columns "
            f"WHERE database = 'bench' AND table = '{kind}' ORDER BY share DESC LIMIT 6)"
        )
        indexes = int(self.query(
            f"SELECT sum(data_compressed_bytes) FROM system.data_skipping_indices WHERE database = 'bench' AND table = '{kind}'"
        ) or 0)  # fmt: skip
        return {
            "rows": self._rows[kind],
            "bytes_per_row": round(size / self._rows[kind], 2),
            "index_bytes_per_row": round(indexes / self._rows[kind], 2),
            "rows_per_s": round(self._rows[kind] / took),
            "largest": largest,
            "grown_to": self._grow(kind),
            "ms": {name: self._timed(sql) for name, sql in self._questions(kind).items()},
        }

    def _grow(self, kind: str) -> int:
        """The same rows again and again under other sequences, up to --grow: an archive worth searching."""
        again = 0 if kind == "copies" else self._rows_wanted // self._rows[kind]
        for number in range(1, again):
            names = self.query(
                f"SELECT arrayStringConcat(groupArray('`' || name || '`'), ', ') FROM system.columns WHERE "
                f"database = 'bench' AND table = '{kind}' AND default_kind = ''"
            )
            self.query(
                f"INSERT INTO bench.{kind} ({names}) SELECT * REPLACE (sequence + {number * 10_000_000} AS sequence) "
                f"FROM (SELECT {names} FROM bench.{kind} WHERE sequence < 10000000) SETTINGS async_insert = 0"
            )
        self.query(f"OPTIMIZE TABLE bench.{kind} FINAL")
        return int(self.query(f"SELECT count() FROM bench.{kind}"))

    def _timed(self, sql: str) -> float:
        times = []
        for _ in range(5):
            began = time.perf_counter()
            self.query(sql)
            times.append(time.perf_counter() - began)
        return round(statistics.median(times) * 1000, 1)

    def _questions(self, kind: str) -> dict[str, str]:
        if kind == "journal":
            asked = {"one capture": "SELECT count() FROM bench.journal FINAL WHERE event_id = 'event-1'"}
            if "recomputed_hash" in self.query("SHOW CREATE TABLE bench.journal"):
                asked["whole chain"] = "SELECT countIf(hash != recomputed_hash) FROM bench.journal FINAL"
            return asked
        person = "recipient" if kind == "copies" else "sender"
        if kind not in self._facts:
            self._facts[kind] = self.query(
                f"SELECT {person}, conversation, min(sent_at), sequence FROM bench.{kind} GROUP BY ALL "
                f"ORDER BY cityHash64({person}, conversation, sequence) LIMIT 1"
            )
        who, where, when, sequence = self._facts[kind].split("\t")
        span = (
            f"sent_at BETWEEN toDateTime64('{when}', 6, 'UTC') AND toDateTime64('{when}', 6, 'UTC') + INTERVAL 30 DAY"
        )
        columns = f"sum(length(body)), sum(length({person})), max(sent_at)"
        asked = {
            "person and time": f"{person} = '{who}' AND {span}",
            "person": f"{person} = '{who}'",
            "conversation and time": f"conversation = '{where}' AND {span}",
            "time": span,
            "sequence": f"partition = 1 AND sequence = {sequence}",
        }
        if kind == "messages":
            asked["word, rare"] = (
                "hasAllTokens(body, 'pluggablity')" if self._text_index() else "hasToken(lower(body), 'pluggablity')"
            )
            asked["word, common"] = (
                "hasAllTokens(body, 'fedora')" if self._text_index() else "hasToken(lower(body), 'fedora')"
            )
        return {
            name: f"SELECT {columns} FROM bench.{kind} FINAL WHERE {condition}" for name, condition in asked.items()
        }

    def _text_index(self) -> bool:
        return "splitByNonAlpha" in self.query("SHOW CREATE TABLE bench.messages")


if __name__ == "__main__":
    main()
