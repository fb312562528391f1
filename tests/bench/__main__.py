"""All benchmarks in one run on one broker, one JSON object a line on stdout; what cannot run here says so.

    python -m tests.bench [--events N] [--only NAME,...] [--rounds N] [--full] [--json]

NAME: transform, peers, latency, sink, judging, memory. The machine should do nothing else meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson

from pipeline import logs
from pipeline.local import kafka
from pipeline.local.kafka import LocalKafka
from tests.bench import judging, latency, memory, peers, sink, transform
from tests.bench.load import Input, log_as_captures, make_input
from tests.bench.worker import is_compiled

NAMES = ("transform", "peers", "latency", "sink", "judging", "memory")
RATES = (200, 2_000, 10_000)
BROKER = {
    # Workers that start together share the partitions at once; what is measured is no rebalance.
    "group.initial.rebalance.delay.ms": 2_000,
}
Line = dict[str, Any]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, help="about so many; left out: the whole input, some 590,000")
    parser.add_argument("--only", default=",".join(NAMES), metavar="NAME,...", help="only these, in the order above")
    parser.add_argument("--rounds", type=int, default=1, help="one process and Kafka Streams so often, in turns")
    parser.add_argument("--full", action="store_true", help="memory over a million messages and 5 million events")
    parser.add_argument("--json", action="store_true", help="nothing but JSON: no progress on stderr")
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"--only: {', '.join(sorted(unknown))}: not one of {', '.join(NAMES)}")
    logs.configure()  # to stderr: stdout is for the figures
    failed = False
    with tempfile.TemporaryDirectory(prefix="compliance-bench-") as folder:
        bench = Bench(Path(folder), arguments)
        for line in bench.run(chosen):
            failed |= "failed" in line
            print(orjson.dumps(line).decode(), flush=True)
    return int(failed)


class Bench:
    """One run: the input, the broker, and which measurements are wanted."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self._folder = folder
        self._events: int | None = arguments.events
        self._rounds: int = arguments.rounds
        self._full: bool = arguments.full
        self._quiet: bool = arguments.json
        self._prefixes = 0

    def run(self, chosen: list[str]) -> Iterator[Line]:
        self._say("making the input")
        made = make_input(self._folder, self._events)
        yield {
            "run": "bench",
            "input": made.name,
            "events": made.events,
            "cpus": os.cpu_count(),
            "load_average": round(os.getloadavg()[0], 2),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        yield from self._on_kafka(chosen, made)
        if "sink" in chosen:
            yield from self._try("sink", lambda: sink.bench(made.file))
        if "judging" in chosen:
            yield from self._try("judging", lambda: judging.bench(self._folder))
        if "memory" in chosen:
            yield from self._memory()

    def _on_kafka(self, chosen: list[str], made: Input) -> Iterator[Line]:
        wanted = [name for name in ("transform", "peers", "latency") if name in chosen]
        if not wanted:
            return
        if reason := kafka.available():
            for name in wanted:
                yield {"skipped": name, "why": f"no Kafka can be started: {reason}"}
            return
        with ExitStack() as stack:
            broker = LocalKafka(self._folder / "kafka", overrides=BROKER, heap_mb=1_024)
            stack.callback(broker.stop)
            broker.start()
            at = broker.bootstrap
            yield from self._side_by_side(wanted, at, made)
            if "latency" in wanted:
                list(self._latency(at, made, max(RATES)))  # not counted: the broker's JVM compiles its hot paths first
                for rate in RATES:
                    yield from self._latency(at, made, rate)

    def _latency(self, at: str, made: Input, rate: int) -> Iterator[Line]:
        return self._try(
            f"latency at {rate} events/s", lambda: [latency.bench(at, self._folder, made, rate, self._prefix())]
        )

    def _side_by_side(self, wanted: Sequence[str], at: str, made: Input) -> Iterator[Line]:
        """Ours and the peers by turns, so that a noisy minute meets both."""

        def ours(processes: int, *, compiled: bool) -> Iterator[Line]:
            def measure() -> list[Line]:
                return [transform.bench(at, self._folder, made, processes, self._prefix(), compiled=compiled)]

            return self._try(f"transform in {processes}", measure)

        fast = is_compiled()
        if "transform" in wanted and not fast:
            yield {"skipped": "compiled", "why": "make compiled has not been run, or there is no C compiler"}
        for _ in range(self._rounds):
            if "transform" in wanted:
                yield from ours(1, compiled=fast)
            if "peers" in wanted:
                yield from self._peer("kafka-streams", lambda: peers.kafka_streams(at, self._folder, made), at, made)
        if "transform" in wanted:
            yield from ours(2, compiled=fast)
            if fast:
                yield from ours(1, compiled=False)
        if "peers" in wanted:
            yield from self._peer("quix-streams", lambda: peers.quix(at, self._folder, made), at, made)

    def _peer(self, name: str, measure: Callable[[], Line], at: str, made: Input) -> Iterator[Line]:
        def loaded() -> list[Line]:
            peers.load(at, made)
            return [measure()]

        yield from self._try(name, loaded)

    def _memory(self) -> Iterator[Line]:
        self._say("making the input with 12 recipients")
        source, _ = log_as_captures(self._folder, 12)
        window, flat = (2_120_000, 5_000_000) if self._full else (500_000, 500_000)
        yield from self._try("memory of a message", lambda: [memory.bench("window", source, window)])
        yield from self._try("memory of a full window", lambda: [memory.bench("flat", source, flat)])

    def _try(self, what: str, measure: Callable[[], Any]) -> Iterator[Line]:
        """One that fails does not take the others along."""
        self._say(what)
        try:
            yield from measure()
        except peers.Skipped as skipped:
            yield {"skipped": what, "why": str(skipped)}
        except Exception as error:  # noqa: BLE001 - said, and the exit status is 1
            yield {"failed": what, "why": f"{type(error).__name__}: {error}"}

    def _prefix(self) -> str:
        self._prefixes += 1
        return f"bench{self._prefixes}"

    def _say(self, what: str) -> None:
        if not self._quiet:
            sys.stderr.write(f"bench: {what}\n")


if __name__ == "__main__":
    sys.exit(main())
