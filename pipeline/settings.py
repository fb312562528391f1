"""The settings: one frozen tree, read once at start from a TOML file and the environment.

Environment: `COMPLIANCE_` and the path joined by `__` (COMPLIANCE_KAFKA__BOOTSTRAP_SERVERS). The environment wins over
the file. Secrets come from files (`*_file`), never from a command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from pipeline.errors import Misconfigured

PositiveInt = Annotated[int, Field(gt=0)]
MIB = 1024 * 1024


class Section(BaseModel):
    """A part of the tree: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Kafka(Section):
    bootstrap_servers: str = "127.0.0.1:9092"
    """Brokers, host:port joined by commas."""
    prefix: Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]+$")] = "im"
    """What every topic's and group's name begins with: PREFIX.events, PREFIX.journal ..."""
    partitions: PositiveInt = 8
    """Partitions of each topic that `topics create` makes."""
    replication: PositiveInt = 1
    """Replication factor of each topic; 3 in production, with min.insync.replicas 2."""
    min_insync: PositiveInt = 1
    """min.insync.replicas of each topic; 2 in production."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How clients connect."""
    sasl_mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] = "SCRAM-SHA-512"
    """SASL mechanism, with a SASL protocol."""
    sasl_username: str = ""
    """SASL user."""
    sasl_password_file: Path | None = None
    """File with the SASL password."""
    ca_file: Path | None = None
    """CA certificate (PEM) that brokers must be signed by."""
    certificate_file: Path | None = None
    """Client certificate (PEM), for mutual TLS."""
    key_file: Path | None = None
    """Its key (PEM)."""
    registry_url: str = ""
    """Schema registry; empty: the ids fixed in schemas/ (event 1, journal 2, copy 3 ...)."""
    session_timeout_ms: PositiveInt = 10_000
    """A worker that is silent for so long loses its partitions."""
    extra: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """Further librdkafka properties for every client."""


def _own(name: str) -> str:
    if name.casefold() in {"system", "information_schema"}:
        raise ValueError(f"{name} is ClickHouse's own")
    return name


def _url(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("not of the form http(s)://user@host:port/database") from None
    _own(parts.path.strip("/"))
    return url


class Database(Section):
    """One archive database in ClickHouse, and what it keeps (INGEST: direction and databases)."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$"), AfterValidator(_own)]
    """Its name in ClickHouse."""
    domains: tuple[Annotated[str, Field(pattern=r"^\S+$")], ...] = ()
    """Domains of the clusters that it serves; empty: all of them."""
    keeps: Literal["both", "inbound"] = "both"
    """inbound: only what has a recipient in its domains; both: also what its domains send."""
    conversations: Annotated[tuple[Literal["direct", "group", "room", "broadcast"], ...], Field(min_length=1)] = (
        "direct",
        "group",
        "room",
        "broadcast",
    )
    """Conversation types that it keeps: rooms may have a database of their own."""


class ClickHouse(Section):
    url: Annotated[str, AfterValidator(_url)] = "http://default@127.0.0.1:8123/compliance"
    """http(s)://user@host:port/database; the database is the control database."""
    password_file: Path | None = None
    """File with the password."""
    ca_file: Path | None = None
    """CA certificate (PEM) that the server must be signed by."""
    databases: tuple[Database, ...] = ()
    """Archive databases; empty: one, the control database, for all messages in both directions."""
    timeout_s: Annotated[float, Field(gt=0)] = 60.0
    """How long one call may take, in seconds, before ClickHouse counts as away."""

    def embedded(self) -> ClickHouse:
        """The same for an archive in a directory: its control database is always called the same, whatever the url says."""
        return self.model_copy(update={"url": ClickHouse().url})

    @property
    def control_database(self) -> str:
        """The database in the url: journal, dead letters, batches and whatever else proves completeness."""
        return urlsplit(self.url).path.strip("/") or "compliance"

    @property
    def archives(self) -> tuple[Database, ...]:
        """The databases that keep messages; where none is set, the control database keeps them all."""
        return self.databases or (Database(name=self.control_database),)


class Merge(Section):
    window_s: PositiveInt = 3600
    """Captures of one message arrive within so many seconds of its first."""
    max_entries: PositiveInt = 8_000_000
    """Ids remembered for each partition; at the limit the oldest message is forgotten."""
    max_bytes: PositiveInt = 1024 * MIB
    """Bytes of memory for them, for each partition, by the worker's own estimate."""


class Limits(Section):
    event_bytes: PositiveInt = 8 * MIB
    """Largest event value; larger ones are dead letters."""
    recipients: PositiveInt = 100_000
    """Most recipients of one event."""
    id_bytes: PositiveInt = 64 * 1024
    """Longest id or address, in bytes of UTF-8."""
    fan_out_bytes: PositiveInt = 512 * MIB
    """Most bytes that the copies of one event may come to together."""


class Transform(Section):
    batch_events: PositiveInt = 8_000
    """Most events of one transaction."""
    batch_bytes: PositiveInt = 48 * MIB
    """A transaction that has produced so many bytes takes no further event."""
    transaction_timeout_ms: PositiveInt = 10_000
    """transaction.timeout.ms: how long an abandoned transaction may hold readers up."""
    fold_timeout_s: PositiveInt = 600
    """How long reading the state back from the journal may take."""


class Archive(Section):
    batch_rows: PositiveInt = 200_000
    """Most records of one insert."""
    batch_bytes: PositiveInt = 128 * MIB
    """Most bytes of one insert."""
    linger_ms: Annotated[int, Field(ge=0)] = 500
    """An insert waits so long for more records."""
    retry_max_s: Annotated[float, Field(gt=0)] = 10.0
    """Longest pause between two tries while ClickHouse is away."""


class Worker(Section):
    slot: Annotated[int, Field(ge=0)] = 0
    """This worker's slot; its transactional.id is made of it. Two workers in one slot fence each other."""


class Metrics(Section):
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Port of /metrics, /live and /ready; 0: any free one, which is logged."""
    host: str = "127.0.0.1"
    """Address it listens on."""


class Policy(Section):
    file: Annotated[Path | None, BeforeValidator(lambda value: None if value == "" else value)] = None
    """The policy file. None: everything is ok as sent."""
    check_every_s: float = Field(default=5.0, gt=0, le=3600)
    """How often the file is looked at for a change, in seconds."""
    groups_topic: bool = False
    """Whether groups that the policy names under `directory` come from the topic PREFIX.groups."""
    approvers: tuple[Path, ...] = ()
    """Ed25519 public keys (PEM) of those who may approve a policy; with any, one comes into force only signed."""
    approvals: int = Field(default=1, ge=1)
    """So many of the approvers must have signed."""

    @model_validator(mode="after")
    def _can_be_approved(self) -> Policy:
        if self.approvals > max(1, len(self.approvers)):
            raise ValueError(f"approvals is {self.approvals} and there are {len(self.approvers)} approvers")
        return self


class Settings(BaseSettings):
    """The whole tree."""

    model_config = SettingsConfigDict(
        env_prefix="COMPLIANCE_", env_nested_delimiter="__", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    kafka: Kafka = Kafka()
    clickhouse: ClickHouse = ClickHouse()
    merge: Merge = Merge()
    limits: Limits = Limits()
    transform: Transform = Transform()
    archive: Archive = Archive()
    worker: Worker = Worker()
    metrics: Metrics = Metrics()
    policy: Policy = Policy()

    @model_validator(mode="after")
    def _databases_are_distinct(self) -> Settings:
        names = [database.name for database in self.clickhouse.databases]
        if len(set(names)) != len(names):
            raise ValueError("clickhouse.databases: a name stands twice")
        return self


def load_settings(config: Path | None = None) -> Settings:
    """Read the settings from `config` (TOML) and the environment.

    Raises:
        Misconfigured: the file cannot be read or a value is wrong; the text names each setting.
    """

    class FromFile(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (env_settings, TomlConfigSettingsSource(settings_cls, toml_file=config))

    if config is not None and not config.is_file():
        raise Misconfigured(f"{config}: no such file")
    try:
        return FromFile()
    except ValidationError as error:
        raise Misconfigured("; ".join(_say(one) for one in error.errors())) from None
    except ValueError as error:  # not TOML, or a JSON value in the environment that is none
        raise Misconfigured(f"{config or 'environment'}: {error}") from None


def _say(error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"]) or "settings"
    return f"{path}: {error['msg']}"
