"""What auditors read instead of tables: FINAL is in it, ids are computed, captures that belong together are together."""

from __future__ import annotations

from pipeline.archive.tables import MESSAGES


def control_views(control: str) -> list[str]:
    """The views of the control database."""
    return [f"CREATE OR REPLACE VIEW `{control}`.verdicts AS\n{verdicts(control)}"]


def verdicts(control: str) -> str:
    """A verdict for every event; exports read this text, not the view, which somebody may have replaced."""
    return f"""SELECT event_id, decision, reason, rules, policy, status, if(status = 'accepted', event_id, into_event_id) AS message_event_id,
    into, lineage, partition, sequence, offset, arrival
FROM `{control}`.journal FINAL
WHERE event_id != '' AND status IN ('accepted', 'merged', 'rejected')"""


def archive_views(database: str) -> list[str]:
    """The views of an archive database, in the order in which they build on each other."""
    return [
        _folds(database), _duplicates(database), _message_view(database), _transcript(database), _revisions(database)
    ]  # fmt: skip


def _folds(database: str) -> str:
    """Messages that a capture joined: it fits them as well as the earlier message that it was merged into."""
    return f"""CREATE OR REPLACE VIEW `{database}`.folds AS
SELECT conversation, lineage, partition, arrayJoin(also) AS sequence,
    argMin(if(taken, concat(into_event_id, '~', toString(into)), into_event_id), into) AS folded_into
FROM `{database}`.merges FINAL
GROUP BY conversation, lineage, partition, sequence"""


def _duplicates(database: str) -> str:
    """Messages that share conversation, sender, content and an id with an earlier one, by any of their captures."""
    content = "sipHash128(toString((sender, kind, body, refers_to, thread, attachments)))"
    ids = (
        "arrayJoin(arrayConcat(if(empty(ifNull(origin_id, '')), [], [('origin', '', assumeNotNull(origin_id))]), "
        "arrayMap((server, id) -> ('stanza', toString(server), id), mapKeys(stanza_ids), mapValues(stanza_ids))))"
    )
    same = "conversation, content, id"
    place = "(arrival, lineage, partition, sequence)"
    return f"""CREATE OR REPLACE VIEW `{database}`.duplicates AS
SELECT conversation, lineage, partition, sequence, argMin(earliest.2, earliest.1) AS duplicate_of
FROM (
    SELECT conversation, lineage, partition, sequence, message_id,
        min(({place}, message_id)) OVER (PARTITION BY {same}) AS earliest
    FROM (
        SELECT conversation, lineage, partition, sequence, arrival, {content} AS content, {ids} AS id,
            if(taken, concat(event_id, '~', toString(sequence)), event_id) AS message_id
        FROM `{database}`.messages FINAL
        UNION ALL
        SELECT conversation, lineage, partition, into AS sequence, arrival, {content} AS content, {ids} AS id,
            if(taken, concat(into_event_id, '~', toString(into)), into_event_id) AS message_id
        FROM `{database}`.merges FINAL
    )
)
WHERE (earliest.1.2, earliest.1.3, earliest.1.4) != (lineage, partition, sequence)
GROUP BY conversation, lineage, partition, sequence"""


def _message_view(database: str) -> str:
    """Each message with its id, all whom it reached by any capture, and what became of it.

    The joins name the conversation too, so that a WHERE on it reaches every table's sort key.
    """
    own = ", ".join(f"m.`{c.name}` AS `{c.name}`" for c in MESSAGES.columns if c.name not in ("recipients", "decision"))
    return f"""CREATE OR REPLACE VIEW `{database}`.message_view AS
SELECT if(m.taken, concat(m.event_id, '~', toString(m.sequence)), m.event_id) AS message_id,
    {own},
    c.served AS recipients,
    multiIf(empty(c.served), m.decision, c.blocked = length(c.served), 'blocked', c.changed > 0, 'modified', 'ok') AS decision,
    if(empty(c.served), if(m.decision = 'blocked', NULL, m.body), c.most) AS delivered_body,
    d.duplicate_of AS duplicate_of,
    f.folded_into AS folded_into
FROM (SELECT * FROM `{database}`.messages FINAL) AS m
LEFT JOIN (
    SELECT conversation, lineage, partition, into,
        arraySort(groupUniqArray(toString(recipient))) AS served,
        uniqExactIf(recipient, decision = 'blocked') AS blocked,
        countIf(decision != 'ok') AS changed,
        topKIf(1)(coalesce(delivered_body, body), decision != 'blocked')[1] AS top,
        if(blocked = length(served), NULL, top) AS most
    FROM `{database}`.copies FINAL
    GROUP BY conversation, lineage, partition, into
) AS c ON c.conversation = m.conversation AND c.lineage = m.lineage AND c.partition = m.partition AND c.into = m.sequence
LEFT JOIN `{database}`.duplicates AS d
    ON d.conversation = m.conversation AND d.lineage = m.lineage AND d.partition = m.partition AND d.sequence = m.sequence
LEFT JOIN `{database}`.folds AS f
    ON f.conversation = m.conversation AND f.lineage = m.lineage AND f.partition = m.partition AND f.sequence = m.sequence"""


def _transcript(database: str) -> str:
    """A conversation as people saw it: late duplicates and folded messages told once, with everybody they reached."""
    return f"""CREATE OR REPLACE VIEW `{database}`.transcript AS
SELECT conversation, min(sent_at) AS sent, argMin(sender, place) AS sent_by, argMin(kind, place) AS what,
    argMin(body, place) AS text, argMin(decision, place) AS outcome, argMin(delivered_body, place) AS delivered,
    arraySort(groupUniqArrayArray(recipients)) AS reached, argMin(message_id, place) AS message, count() AS kept_as
FROM (
    SELECT *, (arrival, lineage, partition, sequence) AS place,
        multiIf(duplicate_of != '', duplicate_of, folded_into != '', folded_into, message_id) AS root
    FROM `{database}`.message_view
)
GROUP BY conversation, root"""


def _revisions(database: str) -> str:
    """What edits, deletions and reactions are about: each message beside what was done to it, allowed or not.

    By the ids that they refer to; `delete_range` by the times in its attributes; `room_delete` is about all before it.
    """
    ids = (
        "arrayJoin(arrayDistinct(arrayFilter(id -> id != '', "
        "arrayConcat([ifNull(origin_id, '')], mapValues(stanza_ids))))) AS id"
    )
    message_id = "if(taken, concat(event_id, '~', toString(sequence)), event_id)"
    of_merged = "if(taken, concat(into_event_id, '~', toString(into)), into_event_id)"
    doing = (
        f"{message_id} AS by_message, sender AS by_whom, kind AS what, sent_at AS at, body AS text, decision, reason"
    )
    messages = f"`{database}`.messages FINAL"
    moment = "parseDateTime64BestEffortOrNull(attributes['{}'], 6, 'UTC')"
    since, until = moment.format("from"), moment.format("to")
    original = f"{message_id} AS message, sender AS sent_by, sent_at AS sent, body AS was"
    return f"""CREATE OR REPLACE VIEW `{database}`.revisions AS
SELECT o.conversation AS conversation, o.message AS message, o.sent_by AS sent_by, o.sent AS sent, o.was AS was,
    d.what AS what, d.by_message AS by_message, d.by_whom AS by_whom, d.at AS at, d.text AS text, d.decision AS decision,
    d.reason AS reason
FROM (SELECT conversation, {original} FROM {messages}) AS o
INNER JOIN (
    SELECT DISTINCT conversation, message, id FROM (
        SELECT conversation, {message_id} AS message, {ids} FROM {messages}
        UNION ALL SELECT conversation, {of_merged} AS message, {ids} FROM `{database}`.merges FINAL
    )
) AS i ON i.conversation = o.conversation AND i.message = o.message
INNER JOIN (SELECT conversation, assumeNotNull(refers_to) AS id, {doing} FROM {messages} WHERE ifNull(refers_to, '') != '') AS d
    ON d.conversation = i.conversation AND d.id = i.id
WHERE d.by_message != o.message
UNION ALL
SELECT o.conversation, o.message, o.sent_by, o.sent, o.was, d.what, d.by_message, d.by_whom, d.at, d.text, d.decision, d.reason
FROM (SELECT conversation, {original} FROM {messages} WHERE kind NOT IN ('delete_range', 'room_delete')) AS o
INNER JOIN (
    SELECT conversation, {doing}, if(kind = 'room_delete', toDateTime64(0, 6, 'UTC'), {since}) AS since,
        if(kind = 'room_delete', sent_at, {until}) AS until
    FROM {messages} WHERE kind IN ('delete_range', 'room_delete')
) AS d ON d.conversation = o.conversation
WHERE o.sent >= d.since AND o.sent <= d.until"""
