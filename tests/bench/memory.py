"""Resident memory of the core: how much an accepted message in the window costs, and that a full window grows no more.

    python -m tests.bench.memory window|flat EVENTS.jsonl EVENTS

Each figure comes from a process of its own, with the garbage collector as the worker has it, and with nothing but the
core: no Kafka client, no buffers.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.engines import assemble
from pipeline.policy.api import EmptyPolicy
from pipeline.records import Ingest
from pipeline.registry import FixedSchemas
from pipeline.settings import Merge, Settings
from pipeline.stages.journal import genesis
from pipeline.stages.transform import Partition
from tests.bench.load import ROOT, captures

PAGE = os.sysconf("SC_PAGE_SIZE")
GIB = 1 << 30
MS_BETWEEN = 10
"""Arrival of one capture after the other: a hundred a second."""
SMALL_WINDOW_S = 300
"""Holds 30,000 captures then."""
WARM_UP = 2_000
"""Captures before the first look: code, caches of names and the like are there then."""


def bench(what: str, source: Path, events: int) -> dict[str, Any]:
    """One figure, from a process of its own."""
    command = [sys.executable, "-m", "tests.bench.memory", what, str(source), str(events)]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("window", "flat"))
    parser.add_argument("source", type=Path)
    parser.add_argument("events", type=int)
    arguments = parser.parse_args()
    gc.collect()
    gc.freeze()
    gc.disable()
    measure = _window if arguments.what == "window" else _flat
    print(json.dumps(measure(arguments.source, arguments.events)), flush=True)


def _window(source: Path, events: int) -> dict[str, Any]:
    """Growth for each accepted message, all of them in the window."""
    merge = Merge(window_s=10**9, max_entries=10**9, max_bytes=1 << 50)
    state, run = _partition(merge), _endless(source)
    accepted = _feed(state, run, WARM_UP)
    before, estimated = _resident(), state.merge.bytes
    accepted = _feed(state, run, events)
    grown = _resident() - before
    return {
        "memory": "all in the window",
        "events": events,
        "accepted": accepted,
        "entries": state.merge.entries,
        "bytes_per_message": round(grown / accepted),
        "bytes_per_message_by_own_estimate": round((state.merge.bytes - estimated) / accepted),
        "mb_per_million_accepted": round(grown / accepted),
        "rss_mb": round(_resident() / 1e6),
    }


def _flat(source: Path, events: int) -> dict[str, Any]:
    """Resident size at ten points of a long run with a small window; the first two let it fill."""
    state, run = _partition(Merge(window_s=SMALL_WINDOW_S)), _endless(source)
    _feed(state, run, WARM_UP)
    sizes, messages = [], []
    for _ in range(10):
        _feed(state, run, events // 10)
        sizes.append(round(_resident() / 1e6, 1))
        messages.append(state.merge.messages)
    return {
        "memory": "a full window",
        "events": events,
        "messages_in_window": messages[-1],
        "rss_mb_when_full": sizes[1],
        "rss_mb_at_end": sizes[-1],
        "grown_mb": round(sizes[-1] - sizes[1], 1),
        "rss_mb": sizes,
    }


def _partition(merge: Merge) -> Partition:
    settings = Settings(merge=merge)
    tools = assemble.tools(settings, FixedSchemas(), partitions=0, topic="bench")
    return assemble.partition(settings, tools, genesis("0123456789abcdef", 0))


def _endless(source: Path) -> Iterator[Ingest]:
    for offset, (key, value) in enumerate(captures(source, 1 << 30)):
        yield Ingest(offset, 1_700_000_000_000 + offset * MS_BETWEEN, key, value)


def _feed(state: Partition, run: Iterator[Ingest], events: int) -> int:
    """How many of them were accepted; what they become is made and thrown away, as the worker does."""
    policy, accepted = EmptyPolicy(), 0
    for record in islice(run, events):
        step = state.process(record, policy)
        accepted += step.status == "accepted"
        for _ in step.copies.records:
            pass
    return accepted


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


if __name__ == "__main__":
    main()
