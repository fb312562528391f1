"""Findings that the archive worker itself raises, on PREFIX.findings: the pipeline is whom they are about."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

import structlog
from confluent_kafka import KafkaError, Message, Producer

from pipeline.codec import RecordCodec
from pipeline.errors import Unavailable
from pipeline.kafka_clients import producer_config, topic_name
from pipeline.registry import load_schema, open_schemas

if TYPE_CHECKING:
    from pipeline.engines.inserter import Outage
    from pipeline.records import Severity
    from pipeline.settings import Settings

PERSON: Final = "pipeline"
"""Whom these findings are about, and their key."""
_FLUSH_S: Final = 10.0

log = structlog.get_logger(__name__)


class Notes:
    """Produces findings in the background; a context manager that sends what is left at its end."""

    def __init__(self, settings: Settings, worker: str) -> None:
        """`worker`: the name of the worker that raises them."""
        self._topic, self._worker = topic_name(settings, "findings"), worker
        self._settings = settings
        self._codec: RecordCodec | None = None
        self._producer = Producer(producer_config(settings))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        left = self._producer.flush(_FLUSH_S)
        if left:
            log.warning("findings could not be sent", count=left)

    def outage(self, outage: Outage) -> None:
        """ClickHouse is away, or back."""
        place = f"{self._worker}/{outage.begin}"
        if outage.end is None:
            self.raise_finding("archive_unavailable", "high", outage.reason, place, at=outage.begin)
        else:
            seconds = (outage.end - outage.begin) / 1000
            self.raise_finding("archive_back", "informational", f"was away for {seconds:.1f} s", place, at=outage.end)

    def raise_finding(self, rule: str, severity: Severity, detail: str, place: str, *, at: int | None = None) -> None:
        """Produce one finding.

        Args:
            rule: its name.
            severity: OCSF's.
            detail: what happened; never message text.
            place: makes its id, with the rule: the same place is the same finding.
            at: when it was noticed, in milliseconds since 1970; default: now.
        """
        finding = {
            "finding_id": f"archive/{rule}/{place}",
            "rule": rule,
            "severity": severity,
            "person": PERSON,
            "event_id": "",
            "conversation": "",
            "spans": [],
            "detail": detail,
            "lineage": "",
            "partition": -1,
            "sequence": -1,
            "found_at": time.time_ns() // 1_000_000 if at is None else at,
        }
        try:
            if self._codec is None:
                number = open_schemas(self._settings.kafka).id_of("finding")
                self._codec = RecordCodec(load_schema("finding"), number)
            value = self._codec.encode(finding)
            self._producer.produce(self._topic, key=PERSON.encode(), value=value, on_delivery=_on_delivery)
        except (Unavailable, BufferError) as error:  # the archive goes on without it; the log has it as well
            log.warning("a finding could not be sent", rule=rule, place=place, detail=str(error))
        self._producer.poll(0)


def _on_delivery(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        log.warning("a finding could not be sent", error=error.name(), detail=error.str())
