"""The thread that writes cuts to the sink, one after the other, and waits out a database that is away.

The worker's loop hands cuts over and asks for what became of them; so the group is polled whatever the database does.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from pipeline.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipeline.archive.sink import Cut
    from pipeline.engines.buffers import Buffer

FIRST_PAUSE_S = 0.1
"""The pause before the first repetition; each further one is twice as long, up to a limit."""
_T = TypeVar("_T")


class ArchiveSink(Protocol):
    """Where cuts go. Both methods may be repeated with the same arguments and raise Unavailable or Misconfigured."""

    def write(self, cut: Cut) -> int:
        """Write a cut's rows, then its batch record; the number of rows."""
        ...

    def outage(self, began: datetime, ended: datetime, error: str) -> None:
        """Put on record that the database was away; `error`: class of the first error."""
        ...


@dataclass(eq=False, slots=True)
class Job:
    """A cut on its way: whose it is, and when its last record arrived (milliseconds since 1970)."""

    buffer: Buffer
    cut: Cut
    arrival: int
    written: bool = False


@dataclass(frozen=True, slots=True)
class Outage:
    """The database is away since `begin` (milliseconds since 1970), or was until `end`."""

    begin: int
    reason: str
    error: str
    """Class of the first error, for the archive: its text may name hosts."""
    end: int | None = None


class Inserter:
    """Owns the sink: makes it, in its own thread, and calls it from there alone.

    Args:
        make_sink: connects; raises Unavailable or Misconfigured.
        pause_max_s: longest pause between two tries while the database is away.
    """

    def __init__(self, make_sink: Callable[[], ArchiveSink], pause_max_s: float) -> None:
        self._make_sink, self._pause_max_s = make_sink, pause_max_s
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Outage | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._progress = threading.Event()
        self._failure: BaseException | None = None
        self._outage: Outage | None = None
        self._sink: ArchiveSink | None = None
        # A daemon: a database that never answers must not keep a process alive that was told to end.
        self._thread = threading.Thread(target=self._run, name="inserter", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Hand a cut over; its plan must be committed."""
        self._jobs.put(job)

    def done(self) -> list[Job]:
        """What came back since the last call, in order; `written` is false only where the buffer was dropped meanwhile.

        Raises:
            Misconfigured: the sink says so. Any other error of the sink comes out here as well.
        """
        self._progress.clear()
        if self._failure is not None:
            raise self._failure
        return _drained(self._done)

    def events(self) -> list[Outage | None]:
        """What was learnt of the database since the last call: outages that began or ended; None: it answered."""
        return _drained(self._events)

    def wait(self, timeout_s: float) -> bool:
        """Wait until there may be something for `done`; whether there is."""
        return self._progress.wait(timeout_s)

    def close(self, timeout_s: float) -> bool:
        """Let the insert in flight finish, begin nothing more; whether it ended within `timeout_s`."""
        self._stop.set()
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._insist(self._connect, lambda: False)
            while (job := self._jobs.get()) is not None:
                self._write(job)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the worker's thread
            self._failure = error
        self._progress.set()

    def _connect(self) -> ArchiveSink:
        self._sink = self._make_sink()
        self._events.put(None)
        return self._sink

    def _write(self, job: Job) -> None:
        sink = self._sink
        if sink is None:  # told to end before the database ever answered
            return
        job.written = self._insist(lambda: sink.write(job.cut), lambda: job.buffer.dropped) is not None
        if job.written or not self._stop.is_set():
            self._done.put(job)
            self._progress.set()

    def _insist(self, call: Callable[[], _T], abandoned: Callable[[], bool]) -> _T | None:
        """Call until it is answered; None: abandoned, or told to end, before it was."""
        pause, answer, answered = FIRST_PAUSE_S, None, False
        while not (self._stop.is_set() or abandoned()):
            try:
                if not answered:
                    answer, answered = call(), True
                self._back()
            except Unavailable as error:
                self._away(error)
                self._stop.wait(pause)
                pause = min(pause * 2, self._pause_max_s)
            else:
                return answer
        return answer

    def _away(self, error: Unavailable) -> None:
        if self._outage is None:
            self._outage = Outage(_now(), str(error), type(error.__cause__ or error).__name__)
            self._events.put(self._outage)

    def _back(self) -> None:
        if self._outage is None or self._sink is None:
            return
        begin, end = self._outage.begin, _now()
        self._sink.outage(_moment(begin), _moment(end), self._outage.error)
        self._events.put(replace(self._outage, end=end))
        self._outage = None


def _now() -> int:
    return time.time_ns() // 1_000_000


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _drained(source: queue.SimpleQueue[_T]) -> list[_T]:
    found = []
    while True:
        try:
            found.append(source.get_nowait())
        except queue.Empty:
            return found
