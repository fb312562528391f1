"""JSON lines of what the archive holds, for auditors and other programs.

ClickHouse writes the lines itself, one query for each export, so that neither side holds more than a few megabytes of
them. Every row is read with FINAL, in an order that depends on nothing but the archive's contents: lineage, partition,
sequence. Names are the event's where they mean the same; times are ISO 8601 in UTC, bytes are base64, hashes hex.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from pipeline.archive.client import archive_databases, control_database, translated
from pipeline.archive.views import verdicts
from pipeline.audit.stored import quoted, table_exists
from pipeline.errors import BadInput, Unavailable

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from pipeline.settings import Settings

CHUNK: Final = 1 << 20
SETTINGS: Final = (
    "output_format_json_quote_64bit_integers = 0, output_format_json_escape_forward_slashes = 0, "
    "prefer_column_name_to_alias = 1, join_algorithm = 'full_sorting_merge', join_use_nulls = 0, "
    "max_bytes_before_external_sort = 256000000, max_bytes_before_external_group_by = 256000000"
)

OF_ARCHIVES: Final = ("messages", "copies", "merges")
OF_CONTROL: Final = ("verdicts", "journal", "findings", "policies", "dead-letters")


def export(client: Client, settings: Settings, what: str, *, database: str | None = None) -> Iterator[bytes]:
    """One line of JSON for each record, each with its line feed.

    Args:
        client: of the archive.
        settings: name the control database and the archive databases.
        what: messages, copies, merges, verdicts, journal, findings, policies or dead-letters.
        database: the archive database, for messages, copies and merges; may be left out where there is only one.

    Raises:
        BadInput: there is no such export or database, or one of several databases must be named.
        Misconfigured: tables are missing.
        Unavailable: ClickHouse is away, or its answer broke off; what was given before is sound.
    """
    if what == "alerts":
        raise BadInput("export: alerts are not built yet")
    if what in OF_ARCHIVES:
        source = _archive(client, settings, database)
        sql = {"messages": _messages, "copies": _copies, "merges": _merges}[what](source)
    elif what in OF_CONTROL:
        source = quoted(control_database(settings))
        of_control = {"verdicts": _verdicts, "journal": _journal, "findings": _findings, "policies": _policies}
        sql = {**of_control, "dead-letters": _letters}[what](source)
    else:
        raise BadInput(f"export: {what!r} is none of {', '.join((*OF_ARCHIVES, *OF_CONTROL))}")
    return _lines(client, f"{sql} SETTINGS {SETTINGS} FORMAT JSONEachRow")


def _archive(client: Client, settings: Settings, database: str | None) -> str:
    known = archive_databases(settings)
    if database is None:
        if len(known) > 1:
            raise BadInput(f"--database: there are several, name one of {', '.join(known)}")
        return quoted(known[0])
    if database not in known and not table_exists(client, database, "messages"):
        raise BadInput(f"--database: {database!r} is no archive database; there are {', '.join(known)}")
    return quoted(database)


def _lines(client: Client, sql: str) -> Iterator[bytes]:
    with translated():
        stream: Any = client.raw_stream(sql)
    try:
        rest = b""
        while True:
            with translated():
                piece = stream.read(CHUNK)
            if not piece:
                break
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield _whole(line)
        if rest:
            yield _whole(rest)
    finally:
        stream.close()


def _whole(line: bytes) -> bytes:
    """The line, unless it is what a server writes behind the rows when a query fails on the way."""
    if not (line.startswith(b"{") and line.endswith(b"}")):
        raise Unavailable(f"ClickHouse's answer breaks off: {line[:200].decode(errors='replace')}")
    return line + b"\n"


def _time(column: str) -> str:
    return f"formatDateTime({column}, '%Y-%m-%dT%H:%i:%S.%f+00:00', 'UTC')"


def _attachments(column: str) -> str:
    parts = "x.name, x.display_name, x.media_type, x.size, x.sha256, x.uri, base64Encode(x.content)"
    kind = (
        "Array(Tuple(name String, display_name Nullable(String), media_type String, size Int64, sha256 Nullable(String), "
        "uri Nullable(String), content Nullable(String)))"
    )
    return f"CAST(arrayMap(x -> tuple({parts}), {column}) AS {kind})"


def _files(column: str) -> str:
    kind = "Array(Tuple(place Int32, display_name Nullable(String), content Nullable(String)))"
    return f"CAST(arrayMap(f -> tuple(f.place, f.display_name, base64Encode(f.content)), {column}) AS {kind})"


def _message_id(event_id: str, sequence: str, taken: str) -> str:
    return f"if({taken}, concat({event_id}, '~', toString({sequence})), {event_id})"


def _event(table: str) -> str:
    """The fields of an event that every row of messages, merges and copies has, apart from ids, bodies and recipients."""
    names = ("kind", "conversation", "conversation_type", "conversation_name", "sender", "sender_resource",
             "recipient_resource", "origin_id", "stanza_ids", "cluster", "refers_to", "thread", "attributes",
             "phase")  # fmt: skip
    plain = [f"{table}.{name} AS {name}" for name in names]
    times = [f"{_time(f'{table}.{name}')} AS {name}" for name in ("sent_at", "captured_at")]
    return ", ".join((*plain, *times, f"{_attachments(f'{table}.attachments')} AS attachments"))


def _place(table: str) -> str:
    return f"{table}.lineage AS lineage, {table}.partition AS partition, {table}.sequence AS sequence"


def _messages(database: str) -> str:
    """A message with all whom it reached by any capture; what most of them got, by count, the body as sent in a tie."""
    most = (
        "multiIf(c.people = 0, if(m.decision = 'blocked', NULL, m.body), empty(c.texts.1), NULL, "
        "c.texts.2[indexOf(c.texts.1, m.body)] = arrayMax(c.texts.2), m.body, "
        "c.texts.1[indexOf(c.texts.2, arrayMax(c.texts.2))])"
    )
    return f"""SELECT {_message_id("m.event_id", "m.sequence", "m.taken")} AS message_id, m.event_id AS event_id,
    {_event("m")}, m.body AS body, CAST({most} AS Nullable(String)) AS delivered_body,
    multiIf(c.people = 0, m.decision, c.blocked = c.people, 'blocked', c.changed > 0, 'modified', 'ok') AS decision,
    c.served AS recipients, m.rules AS rules, m.reason AS reason, m.policy AS policy, {_place("m")}, m.offset AS offset,
    {_time("m.arrival")} AS arrival
FROM (SELECT * FROM {database}.messages FINAL) AS m
LEFT JOIN (
    SELECT lineage, partition, into, arraySort(groupUniqArray(toString(recipient))) AS served, count() AS people,
        countIf(decision = 'blocked') AS blocked, countIf(decision != 'ok') AS changed,
        sumMapIf([coalesce(delivered_body, body)], [toUInt64(1)], decision != 'blocked') AS texts
    FROM {database}.copies FINAL GROUP BY lineage, partition, into
) AS c ON c.lineage = m.lineage AND c.partition = m.partition AND c.into = m.sequence
ORDER BY m.lineage, m.partition, m.sequence"""


def _copies(database: str) -> str:
    return f"""SELECT c.message_event_id AS event_id, {_message_id("c.message_event_id", "c.into", "c.taken")} AS message_id,
    c.event_id AS capture_event_id, c.recipient AS recipient, c.decision AS decision,
    if(c.decision = 'blocked', NULL, coalesce(c.delivered_body, c.body)) AS delivered_body, c.body AS body,
    {_files("c.delivered_files")} AS delivered_files, c.direction AS direction, c.rules AS rules, c.reason AS reason, {_event("c")}, c.database AS database, {_place("c")},
    c.copy_index AS copy_index, c.into AS into
FROM {database}.copies AS c FINAL
ORDER BY c.lineage, c.partition, c.sequence, c.copy_index"""


def _merges(database: str) -> str:
    return f"""SELECT g.event_id AS event_id, g.into_event_id AS into,
    {_message_id("g.into_event_id", "g.into", "g.taken")} AS into_message_id, g.rule AS rule, g.also AS also,
    g.new_recipients AS new_recipients, g.new_databases AS new_databases, {_event("g")}, g.body AS body,
    g.recipients AS recipients, {_place("g")}, g.into AS into_sequence, g.offset AS offset,
    {_time("g.arrival")} AS arrival
FROM {database}.merges AS g FINAL
ORDER BY g.lineage, g.partition, g.sequence"""


def _verdicts(control: str) -> str:
    return f"""SELECT v.event_id AS event_id, v.decision AS decision, v.reason AS reason, v.rules AS rules,
    v.policy AS policy, v.status AS status, v.message_event_id AS message_event_id, {_place("v")}, v.offset AS offset,
    {_time("v.arrival")} AS arrival
FROM ({verdicts(control.strip("`"))}) AS v
ORDER BY v.lineage, v.partition, v.sequence"""


def _journal(control: str) -> str:
    kind = (
        "Array(Tuple(recipients Array(Int32), decision String, delivered_body Nullable(String), rules Array(String), "
        "reason String, delivered_files Array(Tuple(place Int32, display_name Nullable(String), content Nullable(String)))))"
    )
    outcomes = (
        "arrayMap(x -> tuple(x.recipients, x.decision, x.delivered_body, x.rules, x.reason, "
        f"{_files('x.delivered_files')}), j.outcomes)"
    )
    names = ("floor", "event_id", "rule", "into", "into_event_id", "taken", "also", "decision", "reason", "rules",
             "policy", "databases", "new_databases", "new_recipients", "copies", "to_partition", "schema_id")  # fmt: skip
    return f"""SELECT {_place("j")}, j.offset AS offset, j.status AS status, lower(hex(j.hash)) AS hash,
    lower(hex(j.previous_hash)) AS previous_hash, j.skipped AS skipped, {_time("j.arrival")} AS arrival,
    {", ".join(f"j.{name} AS {name}" for name in names)}, CAST({outcomes} AS {kind}) AS outcomes,
    base64Encode(j.raw) AS raw
FROM {control}.journal AS j FINAL
ORDER BY j.lineage, j.partition, j.sequence"""


def _findings(control: str) -> str:
    return f"""SELECT f.finding_id AS finding_id, f.rule AS rule, f.severity AS severity, f.person AS person,
    f.event_id AS event_id, f.conversation AS conversation, f.spans AS spans, f.detail AS detail, {_place("f")},
    {_time("f.found_at")} AS found_at
FROM {control}.findings AS f FINAL
ORDER BY f.lineage, f.partition, f.sequence, f.finding_id"""


def _policies(control: str) -> str:
    return f"""SELECT p.digest AS digest, p.content AS content, p.groups AS groups, p.approved_by AS approved_by,
    {_place("p")}, {_time("p.at")} AS at
FROM {control}.policies AS p FINAL
ORDER BY p.lineage, p.partition, p.sequence"""


def _letters(control: str) -> str:
    headers = (
        "CAST(arrayMap(x -> tuple(x.name, base64Encode(x.value)), d.headers) "
        "AS Array(Tuple(name String, value Nullable(String))))"
    )
    return f"""SELECT d.topic AS topic, d.partition AS partition, d.offset AS offset, d.stage AS stage,
    d.reason AS reason, base64Encode(d.value) AS bytes, base64Encode(d.key) AS key, {headers} AS headers,
    d.lineage AS lineage, d.sequence AS sequence, {_time("d.at")} AS at
FROM {control}.dead_letters AS d FINAL
ORDER BY d.lineage, d.topic, d.partition, d.offset"""
