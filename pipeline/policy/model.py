"""The policy file as data: what may stand in it. How it is read, and with which words it is refused, is in document.py."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from pipeline.records import Severity

Kind = Literal[
    "other", "chat", "edit", "delete", "delete_range", "reaction", "receipt", "announcement", "broadcast", "poll",
    "skilltap_request", "skilltap_faq_add", "skilltap_faq_edit", "skilltap_faq_delete", "faq_add", "faq_edit",
    "faq_delete", "join", "leave", "presence", "login", "logout", "file_post", "file_delete", "room_delete",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
MICROSECONDS = 1_000_000


def _listed(value: Any) -> Any:
    """One word may stand where a list may."""
    return (value,) if isinstance(value, str) else value


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
    """A date is its first moment; where no zone is named, UTC."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
    return value


Who = Annotated[str, AfterValidator(_who)]
Whos = Annotated[tuple[Who, ...], BeforeValidator(_listed), Field(min_length=1)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(_listed), Field(min_length=1)]
Instant = Annotated[datetime, BeforeValidator(_instant)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]


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
            raise ValueError("until is not after since: this membership never holds")
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
    conversation_types: Annotated[
        tuple[Literal["direct", "group", "room", "broadcast"], ...] | None, BeforeValidator(_listed)
    ] = None
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


class Document(Part):
    """The whole file."""

    version: Literal[1]
    name: str = ""
    groups: dict[Id, tuple[Member, ...]] = {}
    walls: tuple[Wall, ...] = ()
