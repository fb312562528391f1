"""The inserter: waits out a database that is away, says so once, gives up only what nobody wants any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

import pytest

from pipeline.archive.sink import Cut
from pipeline.engines.buffers import Buffer
from pipeline.engines.inserter import ArchiveSink, Inserter, Job
from pipeline.errors import Misconfigured, Unavailable

CUT = Cut("journal", 0, 3, 9, [b"x"])


class Sink:
    """Fails as often as told to, and notes what it is asked."""

    def __init__(self, failures: int = 0, outage_failures: int = 0) -> None:
        self.failures, self.outage_failures = failures, outage_failures
        self.cuts: list[Cut] = []
        self.outages: list[tuple[datetime, datetime, str]] = []

    def write(self, cut: Cut) -> int:
        if self.failures:
            self.failures -= 1
            raise Unavailable("away")
        self.cuts.append(cut)
        return len(cut.values)

    def outage(self, began: datetime, ended: datetime, error: str) -> None:
        if self.outage_failures:
            self.outage_failures -= 1
            raise Unavailable("away again")
        self.outages.append((began, ended, error))


def job() -> Job:
    return Job(Buffer("journal", 0), CUT, 0)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def results(inserter: Inserter, count: int = 1) -> list[Job]:
    found: list[Job] = []

    def enough() -> bool:
        found.extend(inserter.done())
        return len(found) >= count

    eventually(enough)
    return found


def test_it_repeats_the_same_cut_until_it_is_written() -> None:
    sink = Sink(failures=3)
    inserter = Inserter(lambda: sink, 0.01)
    one = job()
    inserter.submit(one)
    assert results(inserter) == [one]
    assert one.written
    assert sink.cuts == [CUT]
    assert inserter.close(5)


def test_an_outage_is_told_once_at_each_end_and_put_on_record() -> None:
    sink = Sink(failures=3, outage_failures=2)
    inserter = Inserter(lambda: sink, 0.01)
    inserter.submit(job())
    results(inserter)
    connected, began, ended = inserter.events()
    assert connected is None
    assert began is not None
    assert ended is not None
    assert (began.end, began.error, began.reason) == (None, "Unavailable", "away")
    assert ended.begin == began.begin
    assert len(sink.cuts) == 1  # the rows were not written again for the outage's row
    ((first, last, error),) = sink.outages
    assert first < last
    assert error == "Unavailable"
    assert inserter.close(5)


def test_it_waits_for_the_sink_to_be_made() -> None:
    tries = iter([Unavailable("no"), Unavailable("no"), None])

    def make() -> ArchiveSink:
        if (error := next(tries)) is not None:
            raise error
        return Sink()

    inserter = Inserter(make, 0.01)
    inserter.submit(job())
    results(inserter)
    assert [event is None or event.end is not None for event in inserter.events()] == [False, True, True]
    assert inserter.close(5)


def test_a_cut_that_is_nobodys_any_more_is_given_up() -> None:
    sink = Sink(failures=1_000_000)
    inserter = Inserter(lambda: sink, 0.01)
    one = job()
    inserter.submit(one)
    eventually(lambda: sink.failures < 999_998)
    one.buffer.drop()
    assert results(inserter) == [one]
    assert not one.written
    assert inserter.close(5)


def test_close_ends_the_waiting_and_reports_nothing_as_written() -> None:
    sink = Sink(failures=1_000_000)
    inserter = Inserter(lambda: sink, 10.0)
    inserter.submit(job())
    eventually(lambda: sink.failures < 1_000_000)
    assert inserter.close(5)
    assert inserter.done() == []


def test_misconfigured_comes_out_at_the_worker() -> None:
    def make() -> ArchiveSink:
        raise Misconfigured("no table")

    inserter = Inserter(make, 0.01)
    with pytest.raises(Misconfigured, match="no table"):
        results(inserter)
    assert inserter.close(5)
