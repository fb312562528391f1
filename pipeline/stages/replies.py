"""What is said of an ingest record beside the journal: its verdict, findings, a dead letter."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from pipeline.codec import RecordCodec, delivered_files, long, optional_text, text, texts, wire_header
from pipeline.errors import Poison
from pipeline.policy.api import PolicyText
from pipeline.records import DECISIONS, Event, FindingNote, Ingest, Produced
from pipeline.stages.dedup import Record
from pipeline.stages.journal import Journal

_DECISION_BYTE: Final = {decision: long(number) for number, decision in enumerate(DECISIONS)}
_NO_FILES: Final = delivered_files(())
_AS_SENT: Final = _DECISION_BYTE["ok"] + text("") + optional_text(None) + _NO_FILES + texts(()) + texts(())


class Replies:
    """Makes them for the record that the journal has just taken.

    Args:
        journal: of the partition; its newest record is the one that is spoken of.
        verdict_schema_id: of verdicts, which are encoded by hand: there is one for each event.
        findings: codec of findings.
        dead_letters: codec of dead letters.
        policies: codec of policies in force.
        topic: name of the ingest topic or file.
    """

    def __init__(
        self,
        journal: Journal,
        verdict_schema_id: int,
        findings: RecordCodec,
        dead_letters: RecordCodec,
        policies: RecordCodec,
        topic: str,
    ) -> None:
        self._journal, self._topic = journal, topic
        self._findings, self._dead_letters, self._policies = findings, dead_letters, policies
        self._wire = wire_header(verdict_schema_id)
        self._place = text(journal.lineage) + long(journal.partition)

    def verdict(self, event: Event, record: Record | None, policy: str, message: str) -> Produced:
        """The verdict on an event, from what its message has on record (None: ok, as sent).

        Args:
            event: the capture's.
            record: of its message.
            policy: digest of the policy that judged.
            message: event_id of the message's first capture.
        """
        value = self._verdict(event["event_id"], _AS_SENT if record is None else _said(record), policy, message)
        return Produced("verdicts", event["conversation"].encode(), value)

    def refusal(self, event_id: str, key: bytes | None, reason: str) -> Produced:
        """The verdict on an event that cannot be taken."""
        said = _DECISION_BYTE["blocked"] + text(reason) + optional_text(None) + _NO_FILES + texts(()) + texts(())
        return Produced("verdicts", key, self._verdict(event_id, said, "", ""))

    def _verdict(self, event_id: str, said: bytes, policy: str, message: str) -> bytes:
        sequence = long(self._journal.sequence)
        return b"".join((self._wire, text(event_id), said, _digest(policy), text(message), self._place, sequence))

    def findings(self, notes: Iterable[FindingNote], event_id: str, conversation: str, at: int) -> tuple[Produced, ...]:
        """Findings on an event; `at`: its arrival in milliseconds."""
        return tuple([self._finding(number, note, event_id, conversation, at) for number, note in enumerate(notes)])

    def _finding(self, number: int, note: FindingNote, event_id: str, conversation: str, at: int) -> Produced:
        journal = self._journal
        value = {
            "finding_id": f"{journal.lineage}/{journal.partition}/{journal.sequence}/{number}",
            "rule": note.rule,
            "severity": note.severity,
            "person": note.person,
            "event_id": event_id,
            "conversation": conversation,
            "spans": [{"start": span.start, "end": span.end} for span in note.spans],
            "detail": note.detail,
            "lineage": journal.lineage,
            "partition": journal.partition,
            "sequence": journal.sequence,
            "found_at": at,
        }
        return Produced("findings", note.person.encode(), self._findings.encode(value))

    def in_force(self, policy: PolicyText, at: int) -> Produced:
        """A policy that came into force with the newest journal record; `at`: its arrival in milliseconds."""
        journal = self._journal
        value = {
            "digest": policy.digest,
            "content": policy.content,
            "groups": policy.groups,
            "approved_by": list(policy.approved_by),
            "lineage": journal.lineage,
            "partition": journal.partition,
            "sequence": journal.sequence,
            "at": at,
        }
        return Produced("policies", policy.digest.encode(), self._policies.encode(value))

    def dead_letter(self, record: Ingest, poison: Poison) -> Produced:
        """The record as it was, and why it could not be taken."""
        value = {
            "value": record.value,
            "key": record.key,
            "headers": [{"name": name, "value": value} for name, value in record.headers or ()],
            "topic": self._topic,
            "partition": self._journal.partition,
            "offset": record.offset,
            "stage": poison.stage,
            "reason": str(poison),
            "lineage": self._journal.lineage,
            "sequence": self._journal.sequence,
            "at": record.arrival,
        }
        return Produced("dead-letters", record.key, self._dead_letters.encode(value))


def _said(record: Record) -> bytes:
    return b"".join(
        (
            _DECISION_BYTE[record.decision],
            text(record.reason),
            optional_text(record.delivered_body),
            delivered_files(record.delivered_files),
            texts(record.blocked()),
            texts(record.rules),
        )
    )


@lru_cache(maxsize=64)
def _digest(policy: str) -> bytes:
    return text(policy)
