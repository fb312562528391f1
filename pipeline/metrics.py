"""Every metric, declared once, with its meaning. Help texts are the documentation: docs/reference.md is made of them.

Metrics live in prometheus-client's default registry, so that the process's own (resident memory, CPU seconds, file
descriptors) stand beside them on /metrics. Nothing here ever carries an id, an address or message text as a label.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter that nobody here asks for

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_RECORDS: Final = (1, 10, 50, 100, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 50_000, 100_000, 200_000)

# --- transform: what comes in and goes out ---
RECORDS_IN = Counter(
    "compliance_records_in", "Records taken from a topic, by its route (events for ingest).", labelnames=("route",)
)
RECORDS_OUT = Counter(
    "compliance_records_out",
    "Records written in committed transactions, by route (journal, copies, verdicts, findings, dead-letters, policies, heads, route.NAME, events for rerouted ones).",
    labelnames=("route",),
)
MERGED = Counter(
    "compliance_merged",
    "Captures merged into an earlier message, by rule (retry, stanza_id, origin_id ...).",
    ("rule",),
)
REJECTED = Counter("compliance_rejected", "Records rejected to the dead letters, by reason.", labelnames=("reason",))
BATCH_RECORDS = Histogram("compliance_batch_records", "Ingest records of one transaction.", buckets=_RECORDS)
BATCH_SECONDS = Histogram(
    "compliance_batch_seconds", "Seconds from the first record of a batch to its commit.", buckets=_SECONDS
)
TRANSACTIONS = Counter(
    "compliance_transactions",
    "Transactions by outcome: committed, aborted, fenced (another worker took over), unknown (no answer in time).",
    labelnames=("outcome",),
)
SECONDS_BEHIND = Gauge(
    "compliance_seconds_behind",
    "Seconds between the arrival of the last processed record of a partition and its commit.",
    ("partition",),
)

# --- transform: the state ---
STATE_ENTRIES = Gauge("compliance_state_entries", "Ids remembered for merging, by partition.", ("partition",))
STATE_BYTES = Gauge(
    "compliance_state_bytes", "Bytes held for merging, by the worker's own estimate, by partition.", ("partition",)
)
REBUILD_SECONDS = Histogram(
    "compliance_rebuild_seconds",
    "Seconds from a partition's assignment until its state was folded back from head and journal.",
    buckets=(0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
FORGOTTEN = Counter(
    "compliance_forgotten_by_limit",
    "Messages forgotten before the window ended, because the memory limit was reached; their late duplicates become messages.",
    ("partition",),
)

# --- transform: the policy ---
POLICY_REFUSED = Gauge(
    "compliance_policy_refused", "1 while the policy file is one that cannot come into force and an older one judges."
)

# --- archive: the sink ---
SINK_ROWS = Counter("compliance_sink_rows", "Rows inserted into ClickHouse, by table.", labelnames=("table",))
SINK_SECONDS = Histogram(
    "compliance_sink_insert_seconds", "Seconds of one insert, by table.", labelnames=("table",), buckets=_SECONDS
)
SINK_WAITING = Gauge("compliance_sink_waiting", "1 while the archive worker waits for ClickHouse to come back, else 0.")
SINK_SECONDS_BEHIND = Gauge(
    "compliance_sink_seconds_behind",
    "Seconds between the arrival in its topic of the last archived record and its insert, by topic and partition.",
    ("topic", "partition"),
)

# --- a worker's session ---
PARTITIONS = Gauge("compliance_partitions_assigned", "Partitions that this worker holds now.")
RESTARTS = Counter(
    "compliance_session_restarts",
    "Times the session was thrown away and begun again, by the error's class.",
    ("cause",),
)
