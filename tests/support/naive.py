"""Merging as INGEST.md tells it, over plain lists, with no thought of speed or memory: what the core is held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Fields = dict[str, Any]
Id = tuple[str, str]


@dataclass
class Message:
    """A message that a capture can still belong to."""

    sequence: int
    arrival: int
    event_id: str
    taken: bool
    content: tuple[Any, ...]
    reached: list[str]
    ids: set[Id]
    captures: set[tuple[str, bytes]]
    sent_at: int
    paths: set[tuple[Any, ...]]
    delivered: set[tuple[str, Id]] = field(default_factory=set)
    """Texts that it was delivered with, each with the ids of the captures that came with or after it."""
    blocked: list[str] = field(default_factory=list)
    texts: set[str] = field(default_factory=set)
    due: dict[str, str | None] = field(default_factory=dict)
    """By recipient, where it is not the text as sent: the text, None if blocked."""
    altered: set[Id] = field(default_factory=set)
    """Ids of the captures that came with or after something was to be given otherwise than sent."""


@dataclass(frozen=True)
class Answer:
    """What the text says becomes of a capture."""

    status: str
    rule: str
    into: int
    also: tuple[int, ...]
    new_recipients: tuple[str, ...]
    taken: bool
    floor: int
    blocked: tuple[str, ...]
    findings: tuple[str, ...]


def ids_of(event: Fields) -> set[Id]:
    """Every id a capture has, with who gave it; the client is ''."""
    return set(event["stanza_ids"].items()) | ({("", event["origin_id"])} if event["origin_id"] else set())


def content_of(event: Fields, body: str) -> tuple[Any, ...]:
    """Conversation, sender and content, with this text as its body."""
    return (event["conversation"], event["sender"], event["kind"], body, event["refers_to"], event["thread"],
            repr(event["attachments"]))  # fmt: skip


def path_of(event: Fields) -> tuple[Any, ...]:
    """Which way a capture came."""
    return event["cluster"], frozenset(event["recipients"]), event["recipient_resource"]


class Naive:
    """All messages of one partition, in their order.

    Args:
        window: milliseconds.
    """

    def __init__(self, window: int) -> None:
        self.window = window
        self.messages: list[Message] = []
        self.sequence = -1
        self.now = 0

    def take(
        self, event: Fields, value: bytes, arrival: int, blocks: frozenset[str], rewrites: dict[str, str]
    ) -> Answer:
        """Take a capture under a policy that blocks some recipients and puts something behind others' text."""
        self.sequence += 1
        self.now = max(self.now, arrival)
        self.messages = [one for one in self.messages if one.arrival >= self.now - self.window]
        floor = self.messages[0].sequence if self.messages else self.sequence
        recipients = list(dict.fromkeys(event["recipients"]))

        with_its_event_id = [
            one for one in self.messages if event["event_id"] in {event_id for event_id, _ in one.captures}
        ]
        for one in with_its_event_id:
            if (event["event_id"], value) in one.captures:
                return self._answer("merged", "retry", one, (), (), floor, ())
        fits = {} if with_its_event_id else self._fits(event)
        if not fits:
            taken = bool(with_its_event_id)
            message = Message(
                self.sequence, self.now, event["event_id"], taken, content_of(event, event["body"]), [], ids_of(event),
                {(event["event_id"], value)}, event["sent_at"], {path_of(event)},
            )  # fmt: skip
            self.messages.append(message)
            self._reach(message, event, recipients, blocks, rewrites)
            reused = ("event_id_reused",) if taken else ()
            leaks = self._leaks(message, event) + self._third_text(message, event)
            return self._answer("accepted", "", message, (), (), floor, (*reused, *leaks))

        message, *others = sorted(fits.values(), key=lambda one: one.sequence)
        rule = self._rule(message, event)
        new = [recipient for recipient in recipients if recipient not in message.reached]
        self._bind(message, event, value)
        self._reach(message, event, new, blocks, rewrites)
        also = tuple(one.sequence for one in others)
        leaks = self._leaks(message, event) + self._otherwise(message, event, new)
        return self._answer("merged", rule, message, also, tuple(new), floor, leaks)

    def _fits(self, event: Fields) -> dict[int, Message]:
        content = content_of(event, event["body"])
        ids = ids_of(event)
        fits = {}
        for one in self.messages:
            same = one.content == content
            by_id = same and bool(one.ids & ids)
            by_path = (same and not ids and not one.ids and one.sent_at == event["sent_at"]
                       and path_of(event) not in one.paths)  # fmt: skip
            if by_id or by_path or self._fits_delivered(one, event):
                fits[one.sequence] = one
        return fits

    def _fits_delivered(self, one: Message, event: Fields) -> bool:
        if event["phase"] != "delivered":
            return False
        but_for_the_body = content_of(event, "")
        same = tuple("" if place == 3 else part for place, part in enumerate(one.content)) == but_for_the_body
        return same and any((event["body"], an_id) in one.delivered for an_id in ids_of(event))

    def _rule(self, message: Message, event: Fields) -> str:
        if message.content != content_of(event, event["body"]):
            return "delivered"
        shared = message.ids & ids_of(event)
        if not shared:
            return "delivered" if ids_of(event) else "path"
        return "origin_id" if ("", event["origin_id"]) in shared else "stanza_id"

    def _bind(self, message: Message, event: Fields, value: bytes) -> None:
        message.captures.add((event["event_id"], value))
        if message.content != content_of(event, event["body"]):
            return
        message.paths.add(path_of(event))
        others = [one for one in self.messages if one is not message and one.content == message.content]
        message.ids |= {an_id for an_id in ids_of(event) if not any(an_id in one.ids for one in others)}

    def _reach(
        self, message: Message, event: Fields, new: list[str], blocks: frozenset[str], rewrites: dict[str, str]
    ) -> None:
        message.reached += new
        message.blocked += [recipient for recipient in new if recipient in blocks]
        message.texts |= {
            event["body"] + rewrites[recipient]
            for recipient in new
            if recipient in rewrites and recipient not in blocks
        }
        message.due |= {recipient: event["body"] + rewrites[recipient] for recipient in new if recipient in rewrites}
        message.due |= {recipient: None for recipient in new if recipient in blocks}
        message.delivered |= {(text, an_id) for text in message.texts for an_id in ids_of(event)}
        if message.due:
            message.altered |= ids_of(event)

    def _leaks(self, message: Message, event: Fields) -> tuple[str, ...]:
        if event["phase"] != "delivered":
            return ()
        got = dict.fromkeys(event["recipients"])
        return tuple("delivered_though_blocked" for recipient in got if recipient in message.blocked)

    def _otherwise(self, message: Message, event: Fields, new: list[str]) -> tuple[str, ...]:
        """Whom a capture that fits shows to have been delivered another text than was due."""
        if event["phase"] != "delivered":
            return ()
        sent = message.content[3]
        got = [recipient for recipient in dict.fromkeys(event["recipients"]) if recipient not in new]
        wrong = [one for one in got if message.due.get(one, sent) not in (None, event["body"])]
        return ("delivered_otherwise",) * len(wrong)

    def _third_text(self, message: Message, event: Fields) -> tuple[str, ...]:
        """The same where it fits no message, but has the id of one that was to be delivered otherwise than sent."""
        if event["phase"] != "delivered":
            return ()
        for one in self.messages:
            same = one.content[:2] == message.content[:2] and one.altered & ids_of(event)
            if one is not message and same:
                got = dict.fromkeys(event["recipients"])
                blocked = [recipient for recipient in got if recipient in one.blocked]
                return ("delivered_though_blocked",) * len(blocked) + ("delivered_otherwise",) * (
                    len(got) - len(blocked)
                )
        return ()

    def _answer(
        self, status: str, rule: str, message: Message, also: tuple[int, ...], new: tuple[str, ...], floor: int,
        findings: tuple[str, ...],
    ) -> Answer:  # fmt: skip
        return Answer(status, rule, message.sequence, also, new, message.taken, floor, tuple(message.blocked), findings)
