"""The command line: arguments in, one call into the pipeline, its result out.

Exit status: 0 done; 1 a check that did not hold; 2 wrong use, bad input or a setting that cannot work, with one line
on stderr (of a policy file, one for each fault); 70 a defect of the pipeline; 75 a worker that a call to Kafka did not come back to: start it again. Modules that take long to load (chDB, Kafka's client) load in the command.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from pydantic import ValidationError

from pipeline import logs, terminal
from pipeline.errors import BadFile, BadInput, ComplianceError
from pipeline.options import AsJson, Config
from pipeline.policy_cli import policy_app
from pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from types import FrameType

    from pipeline.local.up import Addresses

CHECK_FAILED: Final = 1
WRONG_USE: Final = 2
PROGRESS_LINES: Final = 1000
DEFECT: Final = 70  # EX_SOFTWARE: no caller may take a defect for a check that did not hold

app = typer.Typer(
    name="compliance",
    help="Captures of instant messages in, a complete and provable archive out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
topics_app = typer.Typer(no_args_is_help=True, help="The Kafka topics.")
deadletters_app = typer.Typer(
    no_args_is_help=True, help="Records that could not be taken: look at them, put them back."
)
local_app = typer.Typer(no_args_is_help=True, help="A real Kafka and a ClickHouse on this machine, without Docker.")
app.add_typer(topics_app, name="topics")
app.add_typer(deadletters_app, name="deadletters")
app.add_typer(local_app, name="local")
app.add_typer(policy_app, name="policy")


class What(StrEnum):
    """What can be exported."""

    MESSAGES = "messages"
    COPIES = "copies"
    MERGES = "merges"
    VERDICTS = "verdicts"
    JOURNAL = "journal"
    FINDINGS = "findings"
    POLICIES = "policies"
    ALERTS = "alerts"
    DEAD_LETTERS = "dead-letters"


class Kind(StrEnum):
    """Workers that `run` knows."""

    TRANSFORM = "transform"
    ARCHIVE = "archive"


From = Annotated[Path | None, typer.Option("--from", metavar="DIR", help="An archive that `process` made.")]
ClickHouse = Annotated[
    str | None,
    typer.Option("--clickhouse", metavar="URL", help="http(s)://user@host:port/database; no password in it."),
]


@app.command()
def process(
    events: Annotated[str, typer.Argument(metavar="EVENTS.jsonl", help="A file, also .gz; - for standard input.")],
    into: Annotated[Path, typer.Option("--into", metavar="DIR", help="The archive: made if missing, else continued.")],
    policy: Annotated[
        Path | None,
        typer.Option(
            "--policy",
            metavar="POLICY.yaml",
            help="Rules to judge by. Left out: policy.file of the settings; without it everything is ok as sent.",
        ),
    ] = None,
    from_line: Annotated[
        int, typer.Option("--from-line", min=1, metavar="N", help="Go on at this line, after mending the file.")
    ] = 1,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Run the whole pipeline over a file, embedded: neither Kafka nor a server is needed.

    At the first bad line it stops with exit status 2, naming file, line and field; what came before is archived whole.
    Running the same file again into the same DIR changes nothing that is there.
    """
    settings = load_settings(config)
    from pipeline.engines.embedded import process_file
    from pipeline.jsonl import BadLine

    with terminal.progress("lines") as progress:
        try:
            summary = process_file(
                events, into, policy=policy, from_line=from_line, settings=settings, progress=progress
            )
        except BadLine as error:
            go_on = f"all before it is archived; mend it and go on with --from-line {error.number}"
            raise BadInput(f"{error} ({go_on})") from None
    fields = summary._asdict()
    (terminal.print_json if as_json else terminal.print_fields)(fields)


@app.command()
def export(
    what: Annotated[What, typer.Argument(metavar="WHAT", help=", ".join(What))],
    directory: From = None,
    clickhouse: ClickHouse = None,
    database: Annotated[
        str | None, typer.Option("--database", metavar="NAME", help="Archive database; needed where there are several.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", metavar="FILE", help="Left out: standard output.")] = None,
    config: Config = None,
) -> None:
    """Write JSON lines of what the archive holds."""
    settings = load_settings(config)
    with _archive(directory, clickhouse, settings) as (client, found):
        from pipeline.audit import export as exports

        lines = exports.export(client, found, what.value, database=database)
        if output is None:
            terminal.print_lines(lines)
        else:
            with output.open("wb") as file, terminal.progress(what.value) as progress:
                for number, line in enumerate(lines, 1):
                    file.write(line)
                    if number % PROGRESS_LINES == 0:
                        progress(number, None)


@app.command()
def verify(
    directory: From = None, clickhouse: ClickHouse = None, config: Config = None, as_json: AsJson = False
) -> None:
    """Check that the archive is whole: sequence and hash chain, and every row derived again from the journal.

    Exit status 0 where it is whole; 1 where not, with the first place that is not, a line each kind.
    """
    settings = load_settings(config)
    with _archive(directory, clickhouse, settings) as (client, found), terminal.progress("journal records") as progress:
        from pipeline.audit.verify import verify as check
        from pipeline.registry import FixedSchemas

        schemas = FixedSchemas() if directory is not None else None  # `process` writes with the fixed ids
        report = check(client, found, lambda _what, done, total: progress(done, total), schemas)
    if as_json:
        terminal.print_json({"whole": report.whole} | asdict(report))
    else:
        for fault in report.faults:
            typer.echo(fault.line())
        for database in report.elsewhere:
            typer.echo(f"not looked at: database {database}, which the settings do not name")
        if report.whole:
            typer.echo("whole")
        for database in report.elsewhere:
            typer.echo(f"not looked at: database {database}, which the journal names and the settings do not")
        terminal.print_fields({f"checked {table}": rows for table, rows in report.checked.items()})
    if not report.whole:
        raise typer.Exit(CHECK_FAILED)


@app.command()
def migrate(config: Config = None, as_json: AsJson = False) -> None:
    """Create the databases and tables in ClickHouse, or bring them up to this version."""
    settings = load_settings(config)
    from pipeline.archive.client import connect
    from pipeline.archive.migrations import migrate as apply

    applied = apply(connect(settings), settings)
    if as_json:
        terminal.print_json({"applied": list(applied)})
    else:
        typer.echo("\n".join(f"version {one} applied" for one in applied) or "nothing to do")


@app.command()
def produce(
    events: Annotated[str, typer.Argument(metavar="EVENTS.jsonl", help="A file, also .gz; - for standard input.")],
    from_line: Annotated[int, typer.Option("--from-line", min=1, metavar="N", help="Begin at this line.")] = 1,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put the events of a file into the ingest topic, as a messaging server would.

    At the first bad line it stops with exit status 2, naming file, line and field; what came before was taken.
    """
    settings = load_settings(config)
    from pipeline.produce import produce_file

    with terminal.progress("lines") as progress:
        taken = produce_file(settings, events, from_line=from_line, progress=progress)
    (terminal.print_json if as_json else terminal.print_fields)({"events": taken})


@topics_app.command("create")
def topics_create(config: Config = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing, as the settings say; refuse those that are there but made otherwise."""
    settings = load_settings(config)
    from pipeline.topics import create

    routes: tuple[str, ...] = ()
    if settings.policy.file is not None:
        from pipeline.policy_source import load

        routes = load(settings.policy.file, settings.policy).routes
    created = create(settings, routes)
    if as_json:
        terminal.print_json({"created": list(created)})
    else:
        typer.echo("\n".join(created) or "nothing to do")


@app.command()
def run(worker: Annotated[Kind, typer.Argument(metavar="WORKER", help=", ".join(Kind))], config: Config = None) -> None:
    """Run one worker until SIGTERM or SIGINT, which end it cleanly with status 0."""
    settings = load_settings(config)
    stop = _stop_on_signals()
    from pipeline.health import Health, HealthServer, StuckGuard

    health = Health()
    with HealthServer(health, settings.metrics.host, settings.metrics.port):
        if worker is Kind.TRANSFORM:
            from pipeline.engines.transform import run_transform

            with StuckGuard(health):
                run_transform(settings, stop, health)
        else:
            from pipeline.engines.drain import run_archive

            run_archive(settings, stop, health=health)


@app.command()
def status(config: Config = None, as_json: AsJson = False) -> None:
    """Tell what is still on its way: records behind for each stage, and whether all in Kafka is in ClickHouse."""
    settings = load_settings(config)
    from pipeline.status import away
    from pipeline.status import status as ask

    state = ask(settings)
    archive = away(settings)
    if as_json:
        terminal.print_json({**state, "clickhouse": archive or "answers"})
        return
    typer.echo("drained: all that is in Kafka is in ClickHouse" if state["drained"] else "not drained")
    terminal.print_fields({f"{stage} behind": lag for stage, lag in state["lag"].items()})
    if archive:
        terminal.complain(f"what was archived cannot be looked at now: {archive}")


@deadletters_app.command("list")
def deadletters_list(
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many.")] = 100,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List the dead letters: where from, at which stage, why and when; with --json their bytes too."""
    settings = load_settings(config)
    from pipeline import deadletters

    for letter in deadletters.listed(settings, limit=limit):
        if as_json:
            terminal.print_json(letter)
        else:
            place = f"{letter['topic']}/{letter['partition']}@{letter['offset']}"
            typer.echo(f"{letter['at']}  {place}  {letter['stage']}: {letter['reason']}")


@deadletters_app.command("replay")
def deadletters_replay(
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="TOPIC/PARTITION@OFFSET...", help="As `list` names them; none: all.")
    ] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Put dead letters back where they came from, their bytes as they were, after whatever refused them is mended."""
    settings = load_settings(config)
    from pipeline import deadletters

    replayed = deadletters.replay(settings, letters or ())
    if as_json:
        terminal.print_json({"replayed": replayed})
    else:
        typer.echo(f"{replayed:,} put back")


@local_app.command("up")
def local_up(
    directory: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="Where their data lies; it is still there at the next start.")
    ] = Path(".local"),
    kafka_port: Annotated[int | None, typer.Option("--kafka-port", help="Left out: a free one.")] = None,
    clickhouse_port: Annotated[int | None, typer.Option("--clickhouse-port", help="Left out: a free one.")] = None,
) -> None:
    """Start a real Kafka (Java 17 and Maven) and a ClickHouse over HTTP here, and keep them until Ctrl-C.

    Prints the settings that send every command to them, as lines for a shell.
    """
    from pipeline.local.up import up

    up(directory, kafka_port=kafka_port, clickhouse_port=clickhouse_port, on_ready=_show_addresses)


def _show_addresses(addresses: Addresses) -> None:
    typer.echo(addresses.exports)
    sys.stdout.flush()
    if addresses.no_kafka is not None:
        terminal.complain(f"no Kafka: {addresses.no_kafka}")
    sys.stderr.write("compliance: up; Ctrl-C ends it\n")


@contextmanager
def _archive(directory: Path | None, url: str | None, settings: Settings) -> Iterator[tuple[Any, Settings]]:
    """A client of the archive that --from or --clickhouse names, and the settings that fit it."""
    if (directory is None) == (url is None):
        raise BadInput("give either --from DIR or --clickhouse URL")
    from pipeline.archive.client import connect, connect_embedded

    if directory is not None:
        if not (directory / "clickhouse").is_dir():
            raise BadInput(f"--from {directory}: no archive is there")
        settings = settings.model_copy(update={"clickhouse": settings.clickhouse.embedded()})
        client = connect_embedded(directory / "clickhouse")
    else:
        settings = _with_url(settings, str(url))
        client = connect(settings)
    try:
        yield client, settings
    finally:
        client.close()


def _with_url(settings: Settings, url: str) -> Settings:
    section = settings.clickhouse
    try:
        named = type(section).model_validate({**dict(section), "url": url})
    except ValidationError as error:
        raise BadInput(f"--clickhouse: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None
    return settings.model_copy(update={"clickhouse": named})


def _stop_on_signals() -> threading.Event:
    """An event that SIGTERM and SIGINT set; a second SIGINT interrupts at once."""
    stop = threading.Event()

    def ask_to_stop(number: int, _frame: FrameType | None) -> None:
        stop.set()
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    return stop


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit status. Errors end as one line on stderr, never as a traceback."""
    logs.configure()
    try:
        return int(app(args=arguments, standalone_mode=False, prog_name="compliance") or 0)
    except typer.TyperException as error:
        if message := error.format_message():  # none: no command was named, and the help has been shown
            terminal.complain(f"{message} (--help tells more)")
        return WRONG_USE
    except BadFile as error:
        terminal.complain_of_each(str(error).splitlines())
        return WRONG_USE
    except ComplianceError as error:
        terminal.complain(str(error))
        return WRONG_USE
    except OSError as error:
        if error.filename is None:
            return _defect(error)
        terminal.complain(f"{error.filename}: {error.strerror}")
        return WRONG_USE
    except Exception as error:  # noqa: BLE001 - the last line of defence
        return _defect(error)


def _defect(error: Exception) -> int:
    if os.environ.get("COMPLIANCE_DEBUG") == "1":
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {error}"
    terminal.complain(f"{text}; this is a defect, COMPLIANCE_DEBUG=1 shows where")
    return DEFECT


if __name__ == "__main__":
    sys.exit(main())
