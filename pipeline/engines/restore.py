"""What an archive holds of a partition, read back to go on from: head, window, lines."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from clickhouse_connect.driver.client import Client

from pipeline.archive.client import rows, translated
from pipeline.settings import Settings
from pipeline.stages.journal import Head

_ENTRY: Final = (
    "status, base64Encode(raw) AS raw, databases, sequence, toUnixTimestamp64Milli(arrival) AS arrival, floor, rule, "
    "into, taken, decision, reason, rules, policy, outcomes, new_recipients"
)
LINES: Final = 1 << 32
"""Offsets that a file has in its partition: one for each line, and then some."""
_NUMBERS: Final = {"output_format_json_quote_64bit_integers": 0}


class File(NamedTuple):
    """A file in the archive: its offsets are `number` * LINES and its lines."""

    partition: int
    number: int
    """0, 1, 2 ... in its partition."""
    first: int
    """Sequence of its first record."""
    lines: int
    """Up to which it is archived."""


class Stored:
    """The journal in an archive.

    Args:
        client: of the archive.
        settings: name the control database.
    """

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client = client
        self._journal = f"`{settings.clickhouse.control_database}`.journal"
        self._findings = f"`{settings.clickhouse.control_database}`.findings"
        self._policies = f"`{settings.clickhouse.control_database}`.policies"

    def files(self) -> list[File]:
        """All that there are, in the order in which their partitions began and they were taken."""
        sql = (
            f"SELECT partition, intDiv(offset, {LINES}) AS number, min(sequence) AS first, max(offset) % {LINES} AS lines "
            f"FROM {self._journal} FINAL GROUP BY partition, number ORDER BY partition, number"
        )
        return [File(**{name: int(value) for name, value in row.items()}) for row in rows(self._client, sql)]

    def beginning_with(self, digest: bytes, files: Sequence[File]) -> File | None:
        """The one of these files whose first record's value has this SHA-256."""
        if not files:
            return None
        firsts = ", ".join(f"({file.partition}, {file.first})" for file in files)
        sql = (
            f"SELECT partition, sequence FROM {self._journal} FINAL "
            f"WHERE (partition, sequence) IN ({firsts}) AND SHA256(raw) = unhex('{digest.hex()}')"
        )
        found = {(int(row["partition"]), int(row["sequence"])) for row in rows(self._client, sql)}
        return next((file for file in files if (file.partition, file.first) in found), None)

    def head(self, partition: int) -> Head:
        """Where a partition's journal stands."""
        sql = (
            "SELECT lineage, partition, sequence, hex(hash) AS hash, offset, floor, "
            "toUnixTimestamp64Milli(arrival) AS arrival "
            f"FROM {self._journal} FINAL WHERE partition = {partition} ORDER BY sequence DESC LIMIT 1"
        )
        found = rows(self._client, sql)[0]
        newest = rows(
            self._client,
            f"SELECT digest FROM {self._policies} FINAL WHERE lineage = '{found['lineage']}' AND partition = {partition} "
            "ORDER BY sequence DESC LIMIT 1",
        )
        policy = newest[0]["digest"] if newest else ""
        return Head(**{**found, "hash": bytes.fromhex(found["hash"]), "floor_arrival": 0, "policy": policy})

    def entries(self, head: Head) -> Iterator[dict[str, Any]]:
        """The journal records that a fold needs, from the head's floor on."""
        for entry in self._stream(
            f"SELECT {_ENTRY} FROM {self._of(head)} AND sequence >= {head.floor} ORDER BY sequence"
        ):
            entry["raw"] = base64.b64decode(entry["raw"])
            yield entry

    def raw(self, head: Head, file: File, since: int) -> Iterator[tuple[int, bytes]]:
        """Line and value of every record of a file from line `since` on, in order."""
        begin = file.number * LINES
        for entry in self._stream(
            f"SELECT offset, base64Encode(raw) AS raw FROM {self._of(head)} "
            f"AND offset >= {begin + since} AND offset < {begin + LINES} ORDER BY sequence"
        ):
            yield entry["offset"] - begin, base64.b64decode(entry["raw"])

    def offsets(self, head: Head) -> dict[str, int]:
        """The offset that follows in each topic: they are counted, for there is no broker to give them."""
        sql = f"SELECT sum(copies) AS copies, countIf(status = 'rejected') AS rejected FROM {self._of(head)}"
        counted = rows(self._client, sql)[0]
        of_partition = f"lineage = '{head.lineage}' AND partition = {head.partition}"
        findings = rows(self._client, f"SELECT count() AS n FROM {self._findings} FINAL WHERE {of_partition}")
        policies = rows(self._client, f"SELECT count() AS n FROM {self._policies} FINAL WHERE {of_partition}")
        return {
            "journal": head.sequence + 1,
            "copies": int(counted["copies"]),
            "dead-letters": int(counted["rejected"]),
            "findings": int(findings[0]["n"]),
            "policies": int(policies[0]["n"]),
        }

    def _of(self, head: Head) -> str:
        return f"{self._journal} FINAL WHERE lineage = '{head.lineage}' AND partition = {head.partition}"

    def _stream(self, sql: str) -> Iterator[dict[str, Any]]:
        with translated(), self._client.raw_stream(sql, fmt="JSONEachRow", settings=_NUMBERS) as stream:
            rest = b""
            while piece := stream.read(1 << 20):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    yield json.loads(line)
            if rest:
                yield json.loads(rest)
