"""What an archive holds of a partition, read back to go on from: head, window, lines."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any, Final

from clickhouse_connect.driver.client import Client

from pipeline.archive.client import rows, translated
from pipeline.settings import Settings
from pipeline.stages.journal import Head

_ENTRY: Final = (
    "status, base64Encode(raw) AS raw, databases, sequence, toUnixTimestamp64Milli(arrival) AS arrival, floor, rule, "
    "into, taken, decision, reason, rules, policy, outcomes, new_recipients"
)
_NUMBERS: Final = {"output_format_json_quote_64bit_integers": 0}


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

    def lineage(self) -> str | None:
        """Of the records that are there; None where there are none."""
        found = rows(self._client, f"SELECT lineage FROM {self._journal} LIMIT 1")
        return str(found[0]["lineage"]) if found else None

    def partitions(self) -> int:
        """How many there are."""
        return int(rows(self._client, f"SELECT uniqExact(partition) AS n FROM {self._journal}")[0]["n"])

    def partition_beginning_with(self, digest: bytes) -> int | None:
        """The partition whose first record's value has this SHA-256."""
        sql = f"SELECT partition FROM {self._journal} WHERE sequence = 0 AND SHA256(raw) = unhex('{digest.hex()}')"
        found = rows(self._client, sql)
        return int(found[0]["partition"]) if found else None

    def head(self, partition: int) -> Head:
        """Where a partition's journal stands."""
        sql = (
            "SELECT lineage, partition, sequence, hex(hash) AS hash, offset, floor, "
            "toUnixTimestamp64Milli(arrival) AS arrival "
            f"FROM {self._journal} FINAL WHERE partition = {partition} ORDER BY sequence DESC LIMIT 1"
        )
        found = rows(self._client, sql)[0]
        return Head(**{**found, "hash": bytes.fromhex(found["hash"]), "floor_arrival": 0})

    def entries(self, head: Head) -> Iterator[dict[str, Any]]:
        """The journal records that a fold needs, from the head's floor on."""
        for entry in self._stream(
            f"SELECT {_ENTRY} FROM {self._of(head)} AND sequence >= {head.floor} ORDER BY sequence"
        ):
            entry["raw"] = base64.b64decode(entry["raw"])
            yield entry

    def raw(self, head: Head, since: int) -> Iterator[tuple[int, bytes]]:
        """Ingest offset and value of every record from offset `since` on, in order."""
        for entry in self._stream(
            f"SELECT offset, base64Encode(raw) AS raw FROM {self._of(head)} AND offset >= {since} ORDER BY sequence"
        ):
            yield entry["offset"], base64.b64decode(entry["raw"])

    def offsets(self, head: Head) -> dict[str, int]:
        """The offset that follows in each topic: they are counted, for there is no broker to give them."""
        sql = f"SELECT sum(copies) AS copies, countIf(status = 'rejected') AS rejected FROM {self._of(head)}"
        counted = rows(self._client, sql)[0]
        of_findings = f"lineage = '{head.lineage}' AND partition = {head.partition}"
        findings = rows(self._client, f"SELECT count() AS n FROM {self._findings} FINAL WHERE {of_findings}")
        return {
            "journal": head.sequence + 1,
            "copies": int(counted["copies"]),
            "dead-letters": int(counted["rejected"]),
            "findings": int(findings[0]["n"]),
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
