"""What the archive worker does when a commit is refused, or not answered: a consumer that answers as told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from pipeline.archive.sink import Cut
from pipeline.engines import drain
from pipeline.engines.buffers import Buffer, Plan
from pipeline.engines.inserter import Inserter
from pipeline.errors import Doubt, Misconfigured
from pipeline.health import Health
from pipeline.settings import Settings

KEY = ("im.journal", 0)


class Group:
    """A consumer whose commits end as `answer` says."""

    def __init__(self) -> None:
        self.answer: int | None = None
        self.whole = False
        self.member = "one"
        self.committed: list[TopicPartition] = []

    def __call__(self, _config: dict[str, Any]) -> Group:
        return self

    def commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> list[Any]:
        assert not asynchronous
        error = None if self.answer is None else KafkaError(self.answer)
        if error is None:
            self.committed += offsets
        elif self.whole:
            raise KafkaException(error)

        class Result:
            def __init__(self, offset: TopicPartition) -> None:
                self.topic, self.partition, self.error = offset.topic, offset.partition, error

        return [Result(offset) for offset in offsets]

    def memberid(self) -> str:
        return self.member

    def close(self) -> None:
        pass


class Sink:
    def __init__(self) -> None:
        self.cuts: list[Cut] = []

    def write(self, cut: Cut) -> int:
        self.cuts.append(cut)
        return len(cut.values)

    def outage(self, *_: object) -> None:
        pass


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group()
    monkeypatch.setattr(drain, "Consumer", group)
    return group


@pytest.fixture
def sink() -> Sink:
    return Sink()


@pytest.fixture
def session(group: Group, sink: Sink) -> Iterator[drain._Session]:
    inserter = Inserter(lambda: sink, 0.01)
    session = drain._Session(Settings(), inserter, None, Health())  # type: ignore[arg-type]
    session._member = group.member
    session._buffers[KEY] = Buffer("journal", 0)
    session._buffers[KEY].append([b"a", b"b"], [4, 6], 0, now=0.0)
    yield session
    assert inserter.close(5)


def finish(session: drain._Session, until: Callable[[], bool]) -> None:
    for _ in range(200):
        session._settle()
        if until():
            return
        session._inserter.wait(0.05)
    raise AssertionError


def test_the_plan_stands_before_the_insert_and_the_end_after_it(
    session: drain._Session, group: Group, sink: Sink
) -> None:
    session._begin_cuts()
    (plan,) = group.committed
    assert (plan.topic, plan.partition, plan.offset, plan.metadata) == (*KEY, 4, Plan(4, 6).encode())
    finish(session, lambda: len(group.committed) == 2)
    assert [(cut.first, cut.last) for cut in sink.cuts] == [(4, 6)]
    assert (group.committed[1].offset, group.committed[1].metadata) == (7, "")
    assert session._buffers[KEY].in_flight == 0


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    "code", [KafkaError.ILLEGAL_GENERATION, KafkaError.UNKNOWN_MEMBER_ID, KafkaError.FENCED_INSTANCE_ID]
)
def test_a_zombies_plan_is_refused_and_nothing_is_inserted(
    session: drain._Session, group: Group, sink: Sink, code: int, whole: bool
) -> None:
    group.answer, group.whole = code, whole
    buffer = session._buffers[KEY]
    session._begin_cuts()
    assert buffer.dropped
    assert session._buffers == {}
    group.answer = None
    session._settle()
    assert (group.committed, sink.cuts) == ([], [])


def test_a_zombies_end_is_refused(session: drain._Session, group: Group, sink: Sink) -> None:
    session._begin_cuts()
    group.answer = KafkaError.ILLEGAL_GENERATION
    finish(session, lambda: not session._buffers)
    group.answer = None
    session._settle()
    assert len(sink.cuts) == 1
    assert [offset.offset for offset in group.committed] == [4]


def test_nothing_is_committed_under_another_name(session: drain._Session, group: Group, sink: Sink) -> None:
    group.member = ""
    session._begin_cuts()
    assert (group.committed, sink.cuts, session._buffers) == ([], [], {})


def test_a_refusal_that_the_group_does_not_explain_is_a_doubt(
    session: drain._Session, group: Group, monkeypatch: pytest.MonkeyPatch
) -> None:
    group.answer = KafkaError.ILLEGAL_GENERATION
    session._begin_cuts()
    session._wait_for_room()
    monkeypatch.setattr(time, "monotonic", lambda: 1e12)
    with pytest.raises(Doubt, match="commits are refused"):
        session._wait_for_room()


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.REBALANCE_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    ],
)
def test_what_may_be_answered_later_stays_owed(session: drain._Session, group: Group, sink: Sink, code: int) -> None:
    group.answer, group.whole = code, True
    session._begin_cuts()
    session._settle()
    assert sink.cuts == []
    group.answer = None
    finish(session, lambda: bool(sink.cuts))
    group.answer = code
    session._settle()
    group.answer = None
    finish(session, lambda: session._buffers[KEY].in_flight == 0)
    assert [offset.offset for offset in group.committed] == [4, 7]


def test_a_revoked_partition_is_not_committed_for(session: drain._Session, group: Group, sink: Sink) -> None:
    session._begin_cuts()
    session._on_revoke(group, [TopicPartition(*KEY)])  # type: ignore[arg-type]
    finish(session, lambda: not session._writing)
    assert [offset.offset for offset in group.committed] == [4]


def test_no_right_to_commit_is_for_a_person(session: drain._Session, group: Group) -> None:
    group.answer = KafkaError.GROUP_AUTHORIZATION_FAILED
    with pytest.raises(Misconfigured):
        session._begin_cuts()


def test_a_commit_without_an_answer_for_a_partition_stays_owed(session: drain._Session, group: Group) -> None:
    session._begin_cuts()
    group.commit = lambda **_: []  # type: ignore[method-assign]
    finish(session, lambda: bool(session._written))
    assert not session._buffers[KEY].dropped


def test_messages_of_an_assignment_that_has_just_begun_are_read_again(session: drain._Session, group: Group) -> None:
    sought: list[TopicPartition] = []
    group.seek = sought.append  # type: ignore[attr-defined]
    session._assigned[KEY] = 7
    session._buffers[KEY] = Buffer("journal", 0)

    class Fetched:
        def error(self) -> None: ...
        def topic(self) -> str:
            return KEY[0]

        def partition(self) -> int:
            return 0

    session._take([Fetched(), Fetched()])  # type: ignore[list-item]
    assert [(offset.topic, offset.partition, offset.offset) for offset in sought] == [(*KEY, 7)]
    assert len(session._buffers[KEY]) == 0
