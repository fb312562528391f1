"""The whole pipeline over a file, in one process, without Kafka: `compliance process`.

An archive's first file begins an ingest partition; its lines are the offsets, and its arrival is the largest captured_at
so far. A further file goes on in the same partition, where captures of one message meet across files, its lines numbered
from the next multiple of 2^32; only one from before the window begins a partition of its own. The archive in the directory
holds all there is to know: run again, it goes on where the journal ends. A file is recognised by its first record, and its
lines are held against those in the journal, so nothing is taken twice or mistaken for something else.
"""

from __future__ import annotations

import fcntl
import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from clickhouse_connect.driver.client import Client

from pipeline.archive.client import connect_embedded
from pipeline.archive.migrations import migrate
from pipeline.archive.sink import Cut, Sink
from pipeline.engines import assemble
from pipeline.engines.restore import LINES, File, Stored
from pipeline.engines.spool import Spool
from pipeline.errors import BadInput, Misconfigured
from pipeline.jsonl import BadLine, Parsed, parse_line, read_lines
from pipeline.policy.api import EmptyPolicy, Policy
from pipeline.policy_source import load
from pipeline.records import Ingest
from pipeline.registry import FixedSchemas
from pipeline.settings import Settings
from pipeline.stages.journal import Head, genesis
from pipeline.stages.transform import Partition, Step
from pipeline.terminal import Progress, no_progress

BATCH_LINES: Final = 20_000
BATCH_BYTES: Final = 128 * 1024 * 1024
REPORT_LINES: Final = 1000


class Summary(NamedTuple):
    """What one run did; `already` lines were in the archive from an earlier one."""

    events: int
    accepted: int
    merged: int
    rejected: int
    copies: int
    findings: int
    already: int
    seconds: float


def process_file(
    source: str,
    into: Path,
    *,
    policy: Path | None = None,
    from_line: int = 1,
    settings: Settings,
    progress: Progress = no_progress,
) -> Summary:
    """Run a file of events through the pipeline into the archive in a directory.

    Args:
        source: path of a file of JSON lines, also gzip; "-" for standard input.
        into: the directory; made if missing, continued if there.
        policy: the policy file; None for that of the settings.
        from_line: go on at this line (from 1); what comes before it must be in the archive already.
        settings: merge, limits and databases are taken from here.
        progress: told how many lines are done.

    Raises:
        BadInput: the policy cannot come into force; a line is no event, or the file is not the one that was begun: what
            came before it is archived.
        Misconfigured: the directory cannot be used.
    """
    file = policy or settings.policy.file
    judged_by = EmptyPolicy() if file is None else load(file, settings.policy)
    if source != "-":
        try:
            Path(source).stat()  # before a directory is made for it
        except OSError as error:
            raise BadInput(f"{source}: {error.strerror}") from None
    began = time.monotonic()
    settings = settings.model_copy(update={"clickhouse": settings.clickhouse.embedded()})
    with _locked(into):
        client = connect_embedded(into / "clickhouse")
        try:
            migrate(client, settings)
            spool = Spool(into, Sink(client, settings, FixedSchemas(), worker="process"))
            spool.recover()
            run = _Run(source, client, spool, settings, judged_by)
            try:
                run.take_all(from_line, progress)
            except BadInput:
                run.flush()
                raise
            run.flush()
            return run.summary(time.monotonic() - began)
        finally:
            client.close()


class _Run:
    """One file on its way into one archive."""

    def __init__(self, source: str, client: Client, spool: Spool, settings: Settings, policy: Policy) -> None:
        self._source, self._spool, self._settings = source, spool, settings
        self._tools = assemble.tools(settings, FixedSchemas(), partitions=0, topic=Path(source).name)
        self._stored = Stored(client, settings)
        self._policy = policy
        self._state: Partition | None = None
        self._file = File(0, 0, 0, 0)
        self._is_last = True
        self._archived: Iterator[tuple[int, bytes]] = iter(())
        self._routes: dict[str, list[bytes]] = {
            "journal": [], "copies": [], "findings": [], "dead-letters": [], "policies": []
        }  # fmt: skip
        self._following: Counter[str] = Counter()
        self._bytes = 0
        self._counts: Counter[str] = Counter()
        self._arrival = 0

    def take_all(self, from_line: int, progress: Progress) -> None:
        """Read and process to the end of the file."""
        for number, line in read_lines(self._source):
            if number < from_line and self._state is not None and number <= self._file.lines:
                continue
            try:
                parsed = parse_line(line, source=self._source, number=number)
            except BadLine as error:
                raise BadInput(f"{error}; once mended, go on with --from-line {number}") from None
            state = self._state or self._begin(parsed, from_line)
            if number >= from_line:
                self._take(state, number, parsed)
            elif number > self._file.lines:
                raise BadInput(f"{self._source}: --from-line {from_line} would leave out line {number}")
            if number % REPORT_LINES == 0:
                progress(number, None)

    def _begin(self, first: Parsed, from_line: int) -> Partition:
        """Find the file that begins with this record, or its place behind all others."""
        stored = self._stored
        files = stored.files()
        known = stored.beginning_with(hashlib.sha256(first.value).digest(), files)
        if known is not None:
            head, self._file = stored.head(known.partition), known
            self._is_last = known == [file for file in files if file.partition == known.partition][-1]
        else:
            head = self._behind(first, files)
            self._file = File(head.partition, head.offset // LINES + 1 if head.sequence >= 0 else 0, -1, 0)
        state = assemble.partition(self._settings, self._tools, head)
        for entry in stored.entries(head):
            state.fold(entry)
        state.merge.forget_below(head.floor)
        self._state, self._arrival = state, head.arrival
        self._following.update(stored.offsets(head))
        self._archived = stored.raw(head, self._file, from_line)
        return state

    def _behind(self, first: Parsed, files: Sequence[File]) -> Head:
        """The head that a new file goes on from: of the partition that arrived last, if it still remembers that time."""
        heads = [self._stored.head(partition) for partition in sorted({file.partition for file in files})]
        if not heads:
            return genesis(secrets.token_hex(8), 0)
        latest = max(heads, key=lambda head: head.arrival)
        if first.captured_at // 1000 >= latest.arrival - self._settings.merge.window_s * 1000:
            return latest
        return genesis(latest.lineage, len(heads))

    def _take(self, state: Partition, number: int, parsed: Parsed) -> None:
        self._arrival = max(self._arrival, parsed.captured_at // 1000)
        if number <= self._file.lines:
            line, raw = next(self._archived, (0, b""))
            if (line, raw) != (number, parsed.value):
                raise BadInput(
                    f"{self._source}: line {number}: not what was archived from this file before; "
                    "a file that begins as that one did must be that one"
                )
            self._counts["already"] += 1
            return
        if not self._is_last:
            raise BadInput(
                f"{self._source}: line {number}: the file has grown since another one was archived; "
                "put what is new into a file of its own"
            )
        if number >= LINES:
            raise BadInput(f"{self._source}: line {number}: at most {LINES - 1:,} lines")
        offset = self._file.number * LINES + number
        step = state.process(Ingest(offset, self._arrival, parsed.conversation.encode(), parsed.value), self._policy)
        self._put(step)
        if len(self._routes["journal"]) >= BATCH_LINES or self._bytes >= BATCH_BYTES:
            self.flush()

    def _put(self, step: Step) -> None:
        copies = [value for _, value in step.copies.records]
        self._counts["events"] += 1
        self._counts[step.status] += 1
        self._routes["journal"].append(step.journal)
        self._routes["copies"] += copies
        self._counts["copies"] += len(copies)
        for record in step.others:
            if record.value is not None and record.topic in self._routes:  # no compliance server is here to be sent any
                self._routes[record.topic].append(record.value)
                self._counts[record.topic] += 1
        self._bytes += len(step.journal) + step.copies.size

    def flush(self) -> None:
        """Insert what has been made so far."""
        if self._state is None or not self._routes["journal"]:
            return
        cuts = []
        for topic, values in self._routes.items():
            if values:
                first = self._following[topic]
                self._following[topic] = first + len(values)
                cuts.append(Cut(topic, self._state.journal.partition, first, first + len(values) - 1, values))
        self._routes = {topic: [] for topic in self._routes}
        self._bytes = 0
        self._spool.insert(cuts)

    def summary(self, seconds: float) -> Summary:
        """What was done."""
        count = self._counts
        return Summary(
            count["events"],
            count["accepted"],
            count["merged"],
            count["rejected"],
            count["copies"],
            count["findings"],
            count["already"],
            round(seconds, 3),
        )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time: ClickHouse would refuse the second one with less grace."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError as error:
        raise Misconfigured(f"{directory}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Misconfigured(f"{directory}: another process is at work in it") from None
        yield
