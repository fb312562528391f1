"""`compliance process`: a file into an archive, begun again after errors, mends and kills. chDB is one engine a process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from pipeline.jsonl import event_to_json
from tests.support.captures import START, capture

pytestmark = pytest.mark.clickhouse
COMMAND = [sys.executable, "-m", "pipeline.cli"]
SPOOLED = "inserting.avro"
CRASH = """
import os, sys
from pipeline.archive.sink import Sink
from pipeline.cli import main
writes, stop = [0], int(sys.argv.pop(1))
write = Sink.write
def writing(self, cut):
    if writes[0] == stop:
        os.kill(os.getpid(), 9)
    writes[0] += 1
    return write(self, cut)
Sink.write = writing
main()
"""
"""The command, killed before its n-th insert: the plan stands on disk, some of its cuts are inserted."""


INTERRUPTED = """
import sys
from pipeline.stages.fanout import Copies, FanOut
from pipeline.cli import main
copies, calls = FanOut.copies, [0]
def interrupted(self, *arguments):
    made, calls[0] = copies(self, *arguments), calls[0] + 1
    return made if calls[0] < 20 else Copies(made.count, made.size, broken(made.records))
def broken(records):
    yield next(records)
    raise KeyboardInterrupt
FanOut.copies = interrupted
main()
"""
"""The command, interrupted among the copies of the twentieth message."""


def events(count: int, random: Random) -> list[bytes]:
    """Lines of captures: messages, forks and retries of earlier ones, and ids that came with other bytes."""
    made: list[dict[str, Any]] = []
    for number in range(count):
        at = START * 1000 + number * 1_000_000
        what = random.random()
        if made and what < 0.1:
            made.append(random.choice(made))
            continue
        fields: dict[str, Any] = {"event_id": f"event-{number}", "captured_at": at}
        if made and what < 0.4:
            message = random.choice(made[-200:])
            fields = {**message, **fields, "recipients": [f"p{random.randrange(20)}@beta.example"]}
        else:
            fields |= {"origin_id": f"o{number}", "sent_at": at, "body": f"message {number}",
                       "conversation": f"room:{number % 7}"}  # fmt: skip
        if what > 0.99 and made:
            fields["event_id"] = random.choice(made)["event_id"]
        made.append(capture(**fields))
    return [orjson.dumps(event_to_json(one)) + b"\n" for one in made]


def process(file: Path, into: Path, *more: str, status: int = 0) -> dict[str, Any]:
    """Run the command; its summary."""
    done = subprocess.run(
        [*COMMAND, "process", str(file), "--into", str(into), "--json", *more],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    if status:
        return {"error": done.stderr}
    return dict(orjson.loads(done.stdout))


def archive(into: Path) -> dict[str, list[bytes]]:
    """All that is exported, but for the lineage, which is random, and what is made from it."""
    found = {}
    for what in ("messages", "copies", "merges", "verdicts", "findings", "journal"):
        done = subprocess.run([*COMMAND, "export", what, "--from", str(into)], capture_output=True, check=True)
        rows = [orjson.loads(line) for line in done.stdout.splitlines()]
        for row in rows:
            for name in ("lineage", "hash", "previous_hash", "finding_id", "duplicate_of"):
                row.pop(name, None)
        found[what] = sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS) for row in rows)
    return found


def verify(into: Path) -> None:
    done = subprocess.run([*COMMAND, "verify", "--from", str(into)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def write(file: Path, lines: Sequence[bytes]) -> Path:
    file.write_bytes(b"".join(lines))
    return file


def test_a_file_and_then_again(tmp_path: Path, seed: int) -> None:
    lines = events(300, Random(seed))
    file, into = write(tmp_path / "events.jsonl", lines), tmp_path / "archive"
    summary = process(file, into)
    assert summary["events"] == 300 == summary["accepted"] + summary["merged"] + summary["rejected"]
    first = archive(into)
    assert len(first["journal"]) == len(first["verdicts"]) == 300
    assert (len(first["messages"]), len(first["copies"])) == (summary["accepted"], summary["copies"])
    again = process(file, into)
    assert (again["events"], again["already"], again["copies"]) == (0, 300, 0)
    assert archive(into) == first
    verify(into)


def test_a_server_that_the_settings_name_has_nothing_to_do_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, into = write(tmp_path / "events.jsonl", events(20, Random(4))), tmp_path / "archive"
    process(file, into)
    monkeypatch.setenv("COMPLIANCE_CLICKHOUSE__URL", "http://default@127.0.0.1:1/elsewhere")
    assert process(file, into)["already"] == 20
    verify(into)


def test_a_bad_line_and_the_mended_file(tmp_path: Path, seed: int) -> None:
    lines = events(60, Random(seed))
    bad = orjson.dumps({**orjson.loads(lines[30]), "sent_at": "2024-01-01T00:00:00"}) + b"\n"
    file, into = write(tmp_path / "events.jsonl", [*lines[:30], bad, *lines[31:]]), tmp_path / "archive"
    error = process(file, into, status=2)["error"]
    assert error.count("\n") == 1
    for part in ("events.jsonl", "31", "sent_at", "without offset", "--from-line 31"):
        assert part in error
    assert len(archive(into)["journal"]) == 30
    write(file, lines)
    assert "leave out line 31" in process(file, into, "--from-line", "33", status=2)["error"]
    assert process(file, into, "--from-line", "31")["events"] == 30
    assert process(file, into, "--from-line", "31")["already"] == 30, "the same command again"
    whole = tmp_path / "whole"
    process(file, whole)
    assert archive(into) == archive(whole)
    assert process(file, into)["already"] == 60
    verify(into)


def test_from_line_does_not_leave_out_the_first(tmp_path: Path) -> None:
    file = write(tmp_path / "events.jsonl", events(3, Random(1)))
    assert "leave out line 1" in process(file, tmp_path / "archive", "--from-line", "2", status=2)["error"]


def test_blank_lines_are_counted(tmp_path: Path) -> None:
    one, two = events(2, Random(1))
    file, into = write(tmp_path / "events.jsonl", [b"\n", one, b"\n", b"  \n", two]), tmp_path / "archive"
    process(file, into)
    journal = sorted((row["sequence"], row["offset"]) for row in map(orjson.loads, archive(into)["journal"]))
    assert journal == [(0, 2), (1, 5)]
    verify(into)


def test_a_file_in_parts_is_the_whole_file(tmp_path: Path, seed: int) -> None:
    chance = Random(seed)
    lines = events(120, chance)
    new = [
        number for number in range(1, 120) if lines[number] not in lines[:number]
    ]  # a file is known by its first record
    cuts = [0, *sorted(chance.sample(new, 2)), 120]
    into, whole = tmp_path / "archive", tmp_path / "whole"
    parts = [write(tmp_path / f"{start}.jsonl", lines[start:end]) for start, end in pairwise(cuts)]
    for part in parts:
        process(part, into)
    process(write(tmp_path / "whole.jsonl", lines), whole)

    def told(into: Path) -> dict[str, list[bytes]]:
        rows = archive(into)
        places = {"offset": None, "skipped": None}
        return {
            what: sorted(orjson.dumps({**orjson.loads(row), **places}, option=orjson.OPT_SORT_KEYS) for row in found)
            for what, found in rows.items()
        }

    assert told(into) == told(whole), (seed, cuts)
    journal = sorted(map(orjson.loads, archive(into)["journal"]), key=lambda row: row["sequence"])
    assert [(row["partition"], row["offset"]) for row in journal] == [
        (0, (number << 32) + line)
        for number, (start, end) in enumerate(pairwise(cuts))
        for line in range(1, end - start + 1)
    ]
    verify(into)
    before = archive(into)
    for part in reversed(parts):
        assert process(part, into)["events"] == 0
    assert archive(into) == before
    write(parts[0], [*lines[: cuts[1]], lines[-1]])
    assert f"line {cuts[1] + 1}: the file has grown" in process(parts[0], into, status=2)["error"]
    assert archive(into) == before


def test_a_file_from_before_the_window_is_a_partition_of_its_own(tmp_path: Path) -> None:
    into = tmp_path / "archive"
    lines = events(40, Random(2))

    def later(line: bytes) -> bytes:
        event = orjson.loads(line)
        for name in ("sent_at", "captured_at"):
            event[name] = (datetime.fromisoformat(event[name]) + timedelta(days=1)).isoformat()
        return orjson.dumps({**event, "event_id": event["event_id"] + "-later"}) + b"\n"

    process(write(tmp_path / "two.jsonl", list(map(later, lines[:20]))), into)
    process(write(tmp_path / "one.jsonl", lines[20:]), into)
    process(write(tmp_path / "three.jsonl", list(map(later, lines[20:]))), into)
    journal = [orjson.loads(row) for row in archive(into)["journal"]]
    assert Counter(row["partition"] for row in journal) == {0: 40, 1: 20}
    verify(into)


def test_another_file_that_begins_alike_is_refused(tmp_path: Path) -> None:
    into = tmp_path / "archive"
    lines = events(20, Random(3))
    process(write(tmp_path / "one.jsonl", lines), into)
    before = archive(into)
    other = write(tmp_path / "two.jsonl", [lines[0], *lines[2:]])
    error = process(other, into, status=2)["error"]
    assert "two.jsonl" in error
    assert "line 2" in error
    assert archive(into) == before


def test_interrupted_among_the_copies_of_a_message(tmp_path: Path, seed: int) -> None:
    file, into = write(tmp_path / "events.jsonl", events(60, Random(seed))), tmp_path / "archive"
    subprocess.run([sys.executable, "-c", INTERRUPTED, "process", str(file), "--into", str(into)], check=False)
    verify(into)
    process(file, into)
    process(file, tmp_path / "whole")
    assert archive(into) == archive(tmp_path / "whole")
    verify(into)


@pytest.mark.slow
@pytest.mark.parametrize("stop", [0, 1, 2])
def test_killed_between_the_plan_and_an_insert(tmp_path: Path, seed: int, stop: int) -> None:
    lines = events(199, Random(seed))
    # One id with other bytes, whatever the seed: without a finding there are two inserts, not three.
    other = orjson.dumps({**orjson.loads(lines[0]), "body": "something else"}) + b"\n"
    file = write(tmp_path / "events.jsonl", [*lines, other])
    into, whole = tmp_path / "archive", tmp_path / "whole"
    arguments = [sys.executable, "-c", CRASH, str(stop), "process", str(file), "--into", str(into)]
    assert subprocess.run(arguments, capture_output=True, check=False).returncode == -signal.SIGKILL
    assert (into / SPOOLED).exists()
    assert process(file, into)["already"] == 200
    assert not (into / SPOOLED).exists()
    process(file, whole)
    assert archive(into) == archive(whole)
    verify(into)


@pytest.mark.slow
def test_killed_at_random_moments(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    file = write(tmp_path / "events.jsonl", events(45_000, random))
    into, whole = tmp_path / "archive", tmp_path / "whole"
    began = time.monotonic()
    process(file, whole)
    longest = time.monotonic() - began
    for _ in range(6):
        running = subprocess.Popen(
            [*COMMAND, "process", str(file), "--into", str(into), "--json"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            running.wait(random.uniform(0.3, 1.0) * longest)
        except subprocess.TimeoutExpired:
            running.kill()
        running.wait()
    process(file, into)
    assert archive(into) == archive(whole)
    verify(into)
