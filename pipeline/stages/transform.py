"""One partition of the transform stage: decode, merge, judge, fan out; one journal record for each ingest record.

A function of (state, record, policy): no client, no clock. The engines hand in records and produce what comes out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pipeline.codec import EventCodec, RecordCodec
from pipeline.errors import Poison
from pipeline.policy.api import EmptyPolicy, Policy
from pipeline.policy.past import Past
from pipeline.records import (
    OK,
    Capture,
    Event,
    FindingNote,
    Ingest,
    Judgement,
    Outcome,
    Produced,
    Status,
)
from pipeline.stages.decode import Bounds, event_id_of, read
from pipeline.stages.dedup import Fit, MergeState, Record
from pipeline.stages.delivered import (
    blocked_for,
    by_recipient,
    changed_by,
    delivered_bytes,
    judgement_of,
    most_delivered,
    most_files,
    note_delivered,
    wrongly_delivered,
)
from pipeline.stages.fanout import Copies, FanOut, Place
from pipeline.stages.identity import Identity, identify
from pipeline.stages.journal import Entry, Head, Journal
from pipeline.stages.partitioner import Partitioner
from pipeline.stages.replies import Replies

NO_POLICY: Final = EmptyPolicy.digest
NO_COPIES: Final = Copies(0, 0, iter(()))


@dataclass(frozen=True, slots=True)
class Tools:
    """What all partitions of a worker share: how records are read and made."""

    events: EventCodec
    findings: RecordCodec
    dead_letters: RecordCodec
    policies: RecordCodec
    journal_schema_id: int
    verdict_schema_id: int
    fan_out: FanOut
    partitioner: Partitioner
    bounds: Bounds
    topic: str = "events"
    """Name of the ingest topic or file, for dead letters."""


class Step(NamedTuple):
    """What became of one ingest record. All of it belongs in one transaction."""

    status: Status
    rule: str
    journal: bytes
    verdict: Produced | None = None
    copies: Copies = NO_COPIES
    others: tuple[Produced, ...] = ()
    """Findings, dead letters, records sent on."""


class Partition:
    """The state of one ingest partition and what is done with its records.

    Args:
        head: where its journal stands.
        merge: what it remembers; `fold` fills it.
        tools: shared with the worker's other partitions.
    """

    def __init__(self, head: Head, merge: MergeState, tools: Tools) -> None:
        self.journal = Journal(head, tools.journal_schema_id)
        self.merge = merge
        self._tools = tools
        self._replies = Replies(
            self.journal, tools.verdict_schema_id, tools.findings, tools.dead_letters, tools.policies, tools.topic
        )
        self._past = Past()
        self._in_force = head.policy
        # The largest arrival so far; where there is something to fold, as it was when the oldest of that came.
        self._now = head.floor_arrival if head.sequence >= head.floor else max(head.arrival, head.floor_arrival)

    @property
    def head(self) -> Head:
        """Where the journal stands now."""
        floor, arrival = self.merge.floor(self.journal.sequence + 1)
        return self.journal.head(floor, arrival if self.merge.messages else self._now, self._in_force)

    def process(self, record: Ingest, policy: Policy) -> Step:
        """Take one ingest record.

        Args:
            record: the next one; offsets only ever rise.
            policy: the policy in force.
        """
        self._now = self._past.now = max(self._now, record.arrival)
        self.merge.forget_before(self._now - self._tools.bounds.window_ms)
        try:
            capture = read(record, self._tools.events, self._tools.bounds)
            event = capture.event
            home = self._tools.partitioner.partition(event["conversation"])
            if home not in (-1, self.journal.partition):
                return self._reroute(record, event, home)
            identity = identify(capture)
            fit = self.merge.find(identity)
            if fit is None or fit.rule == "reused":
                return self._accept(record, capture, identity, policy, reused=fit is not None)
            return self._merge(record, capture, identity, policy, fit)
        except Poison as poison:
            return self._reject(record, poison)

    def gap(self, until: int, arrival: int) -> Step:
        """Put on record that the ingest offsets up to `until` were gone before they could be read."""
        self._now = max(self._now, arrival)
        first = self.journal.offset + 1
        entry = Entry("gap", b"", until, arrival, self._floor(), reason=f"ingest offsets {first} to {until} are gone")
        note = FindingNote("gap", "critical", "pipeline", f"partition {self.journal.partition}: {entry.reason}")
        journal = self.journal.append(entry)
        return Step("gap", "", journal, others=self._replies.findings((note,), "", "", arrival))

    # -- what becomes of it --------------------------------------------------------------------------------------

    def _accept(self, record: Ingest, capture: Capture, identity: Identity, policy: Policy, *, reused: bool) -> Step:
        event, tools = capture.event, self._tools
        recipients = tuple(dict.fromkeys(event["recipients"]))
        judgement = self._judge(policy, event, recipients, again=False)
        databases = tools.fan_out.databases(event, recipients)
        sequence = self.journal.sequence + 1
        place = Place(self.journal.lineage, self.journal.partition, sequence, sequence, event["event_id"], reused)
        outcomes = by_recipient(judgement, recipients)
        copies = NO_COPIES
        if recipients and databases:
            copies = tools.fan_out.copies(capture, place, outcomes, [(name, recipients) for name in databases])
            self._check_fan_out(copies, event)
        entry = Entry(
            "accepted",
            capture.value,
            record.offset,
            record.arrival,
            self._floor(),
            event["event_id"],
            into=sequence,
            taken=reused,
            decision=judgement.decision,
            reason=judgement.reason,
            rules=judgement.rules,
            policy=policy.digest,
            outcomes=judgement.outcomes,
            databases=databases,
            copies=copies.count,
        )
        journal = self.journal.append(entry)
        number = self.merge.accept(
            identity, event, sequence, self._now, policy.digest, recipients, databases, reused=reused
        )
        notes = judgement.findings
        if judgement is not OK and (judgement.decision != "ok" or outcomes or judgement.rules):
            self._put_on_record(number, capture, judgement, outcomes)
        if policy.text is not None:  # without a policy there is nothing to remember it for
            self._past.take(event, self._now, judgement.decision, changed_by(judgement))
        if reused:
            notes += (FindingNote("event_id_reused", "medium", event["sender"], "the event_id came with other bytes"),)
        if event["phase"] == "delivered":
            notes += blocked_for(event, outcomes) + self._known_otherwise(event, number)
        verdict = self._replies.verdict(event, self.merge.record(number), policy.digest, event["event_id"])
        others = self._beside(record, event, policy, judgement, notes)
        return Step("accepted", "", journal, verdict, copies, others)

    def _merge(self, record: Ingest, capture: Capture, identity: Identity, policy: Policy, fit: Fit) -> Step:
        event, merge, number = capture.event, self.merge, fit.number
        reached = merge.recipients(number)
        new = () if fit.rule == "retry" else tuple([r for r in dict.fromkeys(event["recipients"]) if r not in reached])
        judgement = self._judge(policy, event, new, again=True) if new else OK
        kept = self._tools.fan_out.still(merge.databases(number))
        databases = _union(kept, self._tools.fan_out.databases(event, new)) if fit.rule != "retry" else kept
        new_databases = databases[len(kept) :]
        outcomes = by_recipient(judgement, new)
        message = merge.event_id(number)
        on_record = merge.record(number)
        place = Place(
            self.journal.lineage,
            self.journal.partition,
            self.journal.sequence + 1,
            merge.sequence(number),
            message,
            on_record is not None and on_record.taken,
        )
        copies = self._copies_of_merged(capture, place, outcomes, on_record, reached, new, databases, new_databases)
        if fit.rule != "retry":
            merge.bind(identity, number)
            self._combine(number, capture, judgement, outcomes, reached, new)
            if judgement.outcomes:
                self._past.shown(event, self._now, changed_by(judgement))
            merge.reach(number, new, databases)
        on_record = merge.record(number)
        digest = policy.digest if new else merge.policy(number)
        journal = self.journal.append(
            Entry(
                "merged",
                capture.value,
                record.offset,
                record.arrival,
                self._floor(),
                event["event_id"],
                fit.rule,
                place.into,
                message,
                place.taken,
                tuple([merge.sequence(other) for other in fit.also]),
                on_record.decision if on_record else "ok",
                on_record.reason if on_record else "",
                on_record.rules if on_record else (),
                digest,
                judgement.outcomes,
                databases,
                new_databases,
                new,
                copies.count,
            )
        )
        notes = judgement.findings
        if event["phase"] == "delivered" and on_record is not None and fit.rule != "retry":
            notes += wrongly_delivered(event, on_record.outcomes, frozenset(new), sent=fit.rule != "delivered")
        others = self._beside(record, event, policy if new else None, judgement, notes)
        return Step(
            "merged", fit.rule, journal, self._replies.verdict(event, on_record, digest, message), copies, others
        )

    def _copies_of_merged(
        self,
        capture: Capture,
        place: Place,
        outcomes: Mapping[str, Outcome],
        on_record: Record | None,
        reached: Collection[str],
        new: tuple[str, ...],
        databases: tuple[str, ...],
        new_databases: tuple[str, ...],
    ) -> Copies:
        """New recipients in every database, then in the new databases those whom the message had reached before."""
        parts: list[tuple[str, Collection[str]]] = [(name, new) for name in databases] if new else []
        if new_databases and reached:
            parts += [(name, tuple(reached)) for name in new_databases]
            outcomes = {**(on_record.outcomes if on_record else {}), **outcomes}
        if not parts:
            return NO_COPIES
        copies = self._tools.fan_out.copies(capture, place, outcomes, parts)
        self._check_fan_out(copies, capture.event)
        return copies

    def _reroute(self, record: Ingest, event: Event, home: int) -> Step:
        entry = Entry(
            "rerouted",
            record.value or b"",
            record.offset,
            record.arrival,
            self._floor(),
            event["event_id"],
            reason="another partition's conversation",
            to_partition=home,
        )
        journal = self.journal.append(entry)
        note = FindingNote(
            "misrouted", "low", event["sender"], f"sent on from partition {self.journal.partition} to {home}"
        )
        sent_on = Produced("events", event["conversation"].encode(), record.value, home)
        return Step(
            "rerouted",
            "",
            journal,
            others=(
                sent_on,
                *self._replies.findings((note,), event["event_id"], event["conversation"], record.arrival),
            ),
        )

    def _reject(self, record: Ingest, poison: Poison) -> Step:
        event_id = event_id_of(record, poison, self._tools.bounds)
        entry = Entry(
            "rejected",
            record.value or b"",
            record.offset,
            record.arrival,
            self._floor(),
            event_id,
            rule=poison.reason,
            decision="blocked",
            reason=str(poison),
        )
        journal = self.journal.append(entry)
        letter = self._replies.dead_letter(record, poison)
        verdict = self._replies.refusal(event_id, record.key, str(poison)) if event_id else None
        return Step("rejected", poison.reason, journal, verdict, others=(letter,))

    def _judge(self, policy: Policy, event: Event, recipients: tuple[str, ...], *, again: bool) -> Judgement:
        """The policy's judgement; what it fails on is a dead letter, blocked, and no end of the pipeline.

        Raises:
            Poison: the policy raised, or what it would have delivered fits no record.
        """
        self._past.again = again
        try:
            judgement = policy.judge(event, recipients, self._past)
        except Exception as error:
            raise Poison("judge", "policy_failed", type(error).__name__, event_id=event["event_id"]) from error
        if judgement.outcomes:
            size, most = sum([delivered_bytes(one) for one in judgement.outcomes]), 2 * self._tools.bounds.event_bytes
            if size > most:
                what = f"{size} bytes of changed texts and files, at most {most}"
                raise Poison("limits", "outcome_too_large", what, event_id=event["event_id"])
        return judgement

    def _beside(
        self,
        record: Ingest,
        event: Event,
        policy: Policy | None,
        judgement: Judgement,
        notes: tuple[FindingNote, ...],
    ) -> tuple[Produced, ...]:
        """Findings, the event for compliance servers, and the policy that judged it where it is new to the partition."""
        others: tuple[Produced, ...] = ()
        if notes:
            others = self._replies.findings(notes, event["event_id"], event["conversation"], record.arrival)
        if judgement.routes:
            key = event["conversation"].encode()
            others += tuple([Produced(f"route.{name}", key, record.value) for name in judgement.routes])
        if policy is not None and policy.text is not None and policy.digest != self._in_force:
            self._in_force = policy.digest
            others += (self._replies.in_force(policy.text, record.arrival),)
        return others

    # -- records -------------------------------------------------------------------------------------------------

    def _floor(self) -> int:
        return self.merge.floor(self.journal.sequence + 1)[0]

    def _check_fan_out(self, copies: Copies, event: Event) -> None:
        if copies.size > self._tools.bounds.fan_out_bytes:
            raise Poison(
                "limits",
                "fan_out_too_large",
                f"{copies.count} copies of {copies.size} bytes together, at most {self._tools.bounds.fan_out_bytes}",
                event_id=event["event_id"],
            )

    def _known_otherwise(self, event: Event, number: int) -> tuple[FindingNote, ...]:
        """Findings on a text that nobody decided on, of a message that its ids name."""
        known = self.merge.altered(event)
        record = None if known is None or known == number else self.merge.record(known)
        return () if record is None else wrongly_delivered(event, record.outcomes, (), sent=None)

    def _put_on_record(
        self, number: int, capture: Capture, judgement: Judgement, outcomes: Mapping[str, Outcome]
    ) -> None:
        record = self.merge.record_for_writing(number)
        record.decision, record.reason, record.rules = judgement.decision, judgement.reason, judgement.rules
        record.put(outcomes)
        record.delivered_body, record.delivered_files = most_delivered(judgement), most_files(judgement)
        self.merge.bind_delivered(capture, number)

    def _combine(
        self,
        number: int,
        capture: Capture,
        judgement: Judgement,
        outcomes: Mapping[str, Outcome],
        reached: Collection[str],
        new: tuple[str, ...],
    ) -> None:
        """Put on record what was decided for recipients that a merged capture brought."""
        record = self.merge.record(number)
        said = judgement.decision != "ok" or outcomes or judgement.rules
        if new and (said or (record is not None and record.decision != "ok")):
            record = self.merge.record_for_writing(number)
            if not reached:
                record.decision = judgement.decision
            elif record.decision != judgement.decision:
                record.decision = "modified"
            reasons = dict.fromkeys(reason for reason in (record.reason, judgement.reason) if reason)
            record.reason = "; ".join(reasons)
            record.rules = _union(record.rules, judgement.rules)
            record.put(outcomes)
            note_delivered(record, judgement)
        if record is not None:
            self.merge.bind_delivered(capture, number)

    # -- folding -------------------------------------------------------------------------------------------------

    def fold(self, entry: Mapping[str, Any]) -> None:
        """Take a decoded journal record into the merge state, as `process` left it there when it was made.

        Args:
            entry: the next record of this lineage; from one at or below the head's floor on.

        Raises:
            Poison: an event that was taken does not decode any more (its schema is gone).
        """
        merge = self.merge
        merge.forget_below(entry["floor"])
        self._now = max(self._now, entry["arrival"])
        if entry["status"] == "accepted":
            capture = self._tools.events.decode(entry["raw"])
            event = capture.event
            recipients = tuple(dict.fromkeys(event["recipients"]))
            number = merge.accept(
                identify(capture),
                event,
                entry["sequence"],
                self._now,
                entry["policy"],
                recipients,
                self._tools.fan_out.known(entry["databases"]),
                reused=entry["taken"],
            )
            judgement = judgement_of(entry)
            outcomes = by_recipient(judgement, recipients)
            if judgement.decision != "ok" or outcomes or judgement.rules:
                self._put_on_record(number, capture, judgement, outcomes)
            if entry["policy"] != NO_POLICY:
                self._past.take(event, self._now, judgement.decision, changed_by(judgement))
        elif entry["status"] == "merged" and entry["rule"] != "retry":
            found = merge.number_of(entry["into"])
            if found is not None:
                self._fold_merged(found, entry)

    def _fold_merged(self, number: int, entry: Mapping[str, Any]) -> None:
        capture = self._tools.events.decode(entry["raw"])
        new = tuple(entry["new_recipients"])
        self.merge.bind(identify(capture), number)
        judgement = judgement_of(entry)
        outcomes = by_recipient(judgement, new)
        record = self.merge.record(number)
        if new and (record is not None or judgement.decision != "ok" or outcomes or judgement.rules):
            record = self.merge.record_for_writing(number)
            record.decision, record.reason, record.rules = judgement.decision, judgement.reason, judgement.rules
            record.put(outcomes)
            note_delivered(record, judgement)
        self._past.shown(capture.event, self._now, changed_by(judgement))
        if record is not None:
            self.merge.bind_delivered(capture, number)
        self.merge.reach(number, new, self._tools.fan_out.known(entry["databases"]))


def _union(one: tuple[str, ...], other: Iterable[str]) -> tuple[str, ...]:
    more = [name for name in other if name not in one]
    return (*one, *more) if more else one
