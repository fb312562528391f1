"""The policy file as data: what may stand in it. How it is read, and with which words it is refused, is in document.py."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.policy.patterns import BadPattern, Pattern, check
from pipeline.records import Direction, Severity

Kind = Literal[
    "other", "chat", "edit", "delete", "delete_range", "reaction", "receipt", "announcement", "broadcast", "poll",
    "skilltap_request", "skilltap_faq_add", "skilltap_faq_edit", "skilltap_faq_delete", "faq_add", "faq_edit",
    "faq_delete", "join", "leave", "presence", "login", "logout", "file_post", "file_delete", "room_delete",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
Entity = Literal[
    "credit_card", "us_ssn", "us_itin", "iban", "us_aba_routing", "phone", "email", "national_id"
]  # fmt: skip
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)


def _listed(value: Any) -> Any:
    """One word may stand where a list may."""
    return (value,) if isinstance(value, str) else value


def _members(value: Any) -> Any:
    """One member may stand where several may."""
    return (value,) if isinstance(value, str | dict) else value


def _who(value: str) -> str:
    """An address (`ann@bank.example`), addresses by pattern (`*@bank.example`), or, without @, a group's name."""
    text = value.strip()
    if not text or any(one.isspace() for one in text):
        raise ValueError("write an address (ann@bank.example), a pattern (*@bank.example) or a group's name")
    if text.count("*") > 1:
        raise ValueError("at most one * in a pattern")
    if "*" in text and "@" not in text:
        raise ValueError("a pattern is one of addresses: it has an @, as in *@bank.example")
    return text


def _instant(value: Any) -> Any:
    """A date is its first moment; where no zone is named, UTC. A bare year would be seconds to pydantic."""
    if isinstance(value, datetime):  # from a library, not from a file
        return value
    try:
        made = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        made = None
    if made is None:
        raise ValueError("write a date, as in 2026-04-01, or a moment, as in 2026-04-01T09:00:00+02:00")
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def _clock(value: Any) -> Any:
    """Hours and minutes of a wall clock. A bare number would be seconds to pydantic, and an offset a zone of its own."""
    found = _CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        raise ValueError("write hours and minutes, as in 08:30 or 19:00; the time zone stands in `zone`")
    return time(int(found[1]), int(found[2]))


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone of the IANA database, such as Europe/Berlin") from None
    return value


_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_DOMAIN: Final = re.compile(r"[\w-]+(\.[\w-]+)*")
_PERIOD: Final = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d)")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def _period(value: Any) -> Any:
    """A number with a unit, as in 30m, 8h, 1d."""
    if not isinstance(value, str) or (found := _PERIOD.fullmatch(value.strip())) is None:
        raise ValueError("write a number with a unit: 90s, 30m, 8h or 1d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _file_name(value: str) -> str:
    if not value or value.count("*") > 1:
        raise ValueError("a file's name, with at most one * in it, as in *.exe")
    return value


def _usable(text: str, *, keyword: bool) -> str:
    try:
        check(Pattern("", text, keyword=keyword))
    except BadPattern as error:
        place = "" if error.position is None else f"at its character {error.position + 1}: "
        raise ValueError(f"{place}{error.why}") from None
    return text


Keyword = Annotated[str, AfterValidator(lambda text: _usable(text, keyword=True))]
Expression = Annotated[str, AfterValidator(lambda text: _usable(text, keyword=False))]


def _conversation(value: str) -> str:
    if not value or value.count("*") > 1:
        raise ValueError("a conversation's id or name, with at most one * in it, as in room:trading-*")
    return value


def _domain(value: str) -> str:
    if not _DOMAIN.fullmatch(value):
        raise ValueError("a domain, as in bank.example, without @ and *; each subdomain is one of its own")
    return value


Clock = Annotated[time, BeforeValidator(_clock)]
Period = Annotated[timedelta, BeforeValidator(_period)]
Who = Annotated[str, AfterValidator(_who)]
Whos = Annotated[tuple[Who, ...], BeforeValidator(_listed), Field(min_length=1)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_listed), Field(min_length=1)]
ConversationTypes = Annotated[
    tuple[Literal["direct", "group", "room", "broadcast"], ...], BeforeValidator(_listed), Field(min_length=1)
]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


class WrongPart(ValueError):
    """What is wrong with a part of the file, and by which of its keys."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(why)
        self.key = key


class Part(BaseModel):
    """A part of the file: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Member(Part):
    """Somebody in a group, for a time. In the file a bare string is one who always is."""

    who: Who
    since: Instant | None = None
    until: Instant | None = None
    """Exclusive."""

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {"who": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _in_order(self) -> Member:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise WrongPart("until", "until is not after since: this membership never holds")
        return self


class Rule(Part):
    """What every rule has, of whatever sort."""

    id: Id
    owner: str = ""
    """Who answers for it."""
    reason: str = ""
    """What the originator is told."""
    severity: Severity = "medium"


class Exceptions(Part):
    """Who may cross a wall."""

    people: Annotated[tuple[Who, ...], BeforeValidator(_listed)] = ()
    """The wall does not stand for them: what they send and what they are sent passes."""
    chaperones: Annotated[tuple[Who, ...], BeforeValidator(_listed)] = ()
    """While one of these is in the conversation (sends it or is sent it), the wall is open."""


class Wall(Rule):
    """People between whom nothing passes: `between` two sides both ways, or `from` one side `to` the other."""

    between: tuple[Whos, Whos] | None = None
    source: Annotated[Whos | None, Field(alias="from")] = None
    target: Annotated[Whos | None, Field(alias="to")] = None
    kinds: Kinds | None = None
    """None: all, presence and files too."""
    conversation_types: ConversationTypes | None = None
    exceptions: Annotated[Exceptions, Field(alias="except")] = Exceptions()

    @model_validator(mode="after")
    def _sides(self) -> Wall:
        one_way = self.source is not None or self.target is not None
        if (self.between is None) != one_way:
            raise ValueError("a wall has either `between: [side, side]` or both `from` and `to`")
        if one_way and (self.source is None or self.target is None):
            raise ValueError("a wall of one direction has both `from` and `to`")
        return self

    @property
    def directions(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """(senders, recipients) between whom nothing passes."""
        if self.between is not None:
            one, other = self.between
            return (one, other), (other, one)
        return ((self.source or (), self.target or ()),)


class Hours(Part):
    """When in the week it was sent, by a wall clock."""

    days: Annotated[tuple[Day, ...], BeforeValidator(_listed), Field(min_length=1)] = DAYS
    source: Annotated[Clock, Field(alias="from")] = time(0)
    target: Annotated[Clock | None, Field(alias="to")] = None
    """Exclusive; none: until midnight. Earlier than `from`: past midnight, and the day is that of `from`. The same as
    `from`: the whole day."""
    zone: Annotated[str, AfterValidator(_zone)] = "UTC"


class Content(Part):
    """What the text must hold: any of these, so many times."""

    entities: Annotated[tuple[Entity, ...], BeforeValidator(_listed)] = ()
    keywords: Annotated[tuple[Keyword, ...], BeforeValidator(_listed)] = ()
    """Words as they are written, whole, in any case."""
    patterns: Annotated[tuple[Expression, ...], BeforeValidator(_listed)] = ()
    """Regular expressions of RE2."""
    at_least: Literal["weak", "likely", "strong"] = "strong"
    """How sure a detector must be."""
    count: Annotated[int, Field(ge=1)] = 1

    @model_validator(mode="after")
    def _looks_for_something(self) -> Content:
        if not (self.entities or self.keywords or self.patterns):
            raise ValueError("looks for nothing: name entities, keywords or patterns")
        return self


class Files(Part):
    """What some attachment must be like: all that is named must hold for the same one, and of a list any."""

    types: Annotated[
        tuple[Annotated[str, Field(pattern=r"^[a-z0-9.+-]+/([a-z0-9.+-]+|\*)$")], ...] | None,
        BeforeValidator(_listed), Field(min_length=1),
    ] = None  # fmt: skip
    """Media types as detected from the content, whatever the name says (`application/pdf`, `image/*`); without content,
    as declared."""
    names: Annotated[
        tuple[Annotated[str, AfterValidator(_file_name)], ...] | None, BeforeValidator(_listed), Field(min_length=1)
    ] = None
    """By the name or the displayed name, in any case: `*.exe`."""
    larger_than: Annotated[int, Field(ge=0)] | None = None
    """Bytes."""
    archive: bool | None = None
    encrypted: bool | None = None
    """Protected by a password."""
    more_than: Annotated[int, Field(ge=0)] = 0
    """So many attachments that are like this, and more."""


class Condition(Part):
    """What an event must be like; all that is named must hold, and of a list any one."""

    kinds: Kinds | None = None
    senders: Whos | None = None
    recipients: Whos | None = None
    """Those of the recipients whom the rule is about; left out: all."""
    directions: Annotated[tuple[Direction, ...] | None, BeforeValidator(_listed), Field(min_length=1)] = None
    """Of each recipient, seen from the file's `domains`."""
    clusters: Annotated[tuple[str, ...] | None, BeforeValidator(_listed), Field(min_length=1)] = None
    conversations: Annotated[
        tuple[Annotated[str, AfterValidator(_conversation)], ...] | None, BeforeValidator(_listed), Field(min_length=1)
    ] = None
    """By id or by the name that people call it, in any case, with at most one * in it: `room:trading-*`."""
    conversation_types: ConversationTypes | None = None
    hours: Hours | None = None
    content: Content | None = None
    files: Files | None = None


class FileChange(Part):
    """What is given in the place of an attachment."""

    name: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """The name that it is shown by."""
    content: Annotated[str, Field(max_length=65_536)] | None = None
    """Overwrites what is in it."""

    @model_validator(mode="after")
    def _changes_something(self) -> FileChange:
        if self.name is None and self.content is None:
            raise ValueError("changes nothing: give a name, a content or both")
        return self


class EventRule(Rule):
    """What is done with events that are like this."""

    when: Condition = Condition()
    unless: Condition | None = None
    """Not where this holds as well; for each recipient."""
    action: Literal["ok", "block", "modify", "alert", "route", "disclaim"]
    """ok: no later rule is asked for these recipients. alert: a finding, and it is delivered as sent. modify: delivered
    with `replace` in the place of what `when.content` found, and with `file` in the place of what `when.files` found.
    route: also sent to the compliance server `to`. disclaim: `text` is put before or after what is delivered; on a join
    it is the reason that the one who joins is told."""
    replace: Annotated[str, Field(max_length=65_536)] = "[removed]"
    file: FileChange | None = None
    to: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")] | None = None
    """Behind `im.route.` the name of a topic."""
    text: Annotated[str, Field(min_length=1, max_length=65_536)] | None = None
    place: Literal["before", "after"] = "after"
    once_every: Period | None = None
    """Once in a conversation and so long a time; left out: with each message. What is forgotten with the merge window,
    or by a full memory, is said again sooner."""

    @model_validator(mode="after")
    def _has_what_its_action_needs(self) -> EventRule:
        if self.action == "modify" and self.when.content is None and (self.when.files is None or self.file is None):
            raise WrongPart(
                "action",
                "modify replaces what when.content finds, or with `file` what when.files finds: say what that is",
            )
        if self.action == "modify" and self.file is not None and self.when.files is None:
            raise WrongPart("file", "file says what is given in the place of what when.files finds: name those")
        if (self.action == "route") != (self.to is not None):
            key = "action" if self.to is None else "to"
            raise WrongPart(key, "the action route has `to`, the name of a compliance server, and no other has it")
        if (self.action == "disclaim") != (self.text is not None):
            key = "action" if self.text is None else "text"
            raise WrongPart(key, "the action disclaim has a `text`, and no other has it")
        for name, action in _BELONGS.items():
            if self.action != action and name in self.model_fields_set:
                raise WrongPart(name, f"{name} is for the action {action}")
        return self


_BELONGS: Final = {"replace": "modify", "file": "modify", "place": "disclaim", "once_every": "disclaim"}


class Document(Part):
    """The whole file."""

    version: Literal[1]
    name: str = ""
    domains: Annotated[tuple[Annotated[str, AfterValidator(_domain)], ...], BeforeValidator(_listed)] = ()
    """Ours: what is sent between them is internal."""
    groups: dict[Id, Annotated[tuple[Member, ...], BeforeValidator(_members)]] = {}
    directory: Annotated[tuple[Id, ...], BeforeValidator(_listed)] = ()
    """Groups that come from the groups topic (`policy.groups_topic`); until they are there they have no members."""
    walls: tuple[Wall, ...] = ()
    rules: tuple[EventRule, ...] = ()
