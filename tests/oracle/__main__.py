"""`make oracle`: both corpora as captures through `compliance process`, and the archive held against the true answer.

A line each run, and how many came out as they should; exit status 1 where one did not. Corpora that are not there are
skipped by name.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.support import shared
from tests.support.pipeline import Captures, compliance, export_all, verify
from tests.support.truth import Archive, Ingested, faults, journal_faults, read_rows


@dataclass(frozen=True)
class Run:
    """One simulation to be held against its truth."""

    corpus: str
    seed: int
    max_recipients: int
    limit: int | None

    @property
    def name(self) -> str:
        """For a person."""
        return f"{self.corpus} seed {self.seed}, {self.max_recipients} recipients at most"


def check_file(captures: Captures, directory: Path) -> tuple[str, list[str]]:
    """Take a file through `compliance process`; what it said, and what is not as it must be."""
    done = compliance("process", str(captures.events), "--into", str(directory / "archive"), "--json")
    if done.returncode != 0:
        return "", [f"process ended with status {done.returncode}: {done.stderr}"]
    said = done.stdout.splitlines()[-1]
    export_all(directory, "--from", str(directory / "archive"))
    archive = Archive.read(directory)
    rows = captures.rows
    found = faults(read_rows(captures.truth), rows, archive)
    found += journal_faults(
        (Ingested(0, number, row["event_id"]) for number, row in enumerate(rows, 1)), archive.journal
    )
    found += shared.check_archive(captures.truth, captures.events, directory)
    found += verify("--from", str(directory / "archive"))
    return said, found


def simulated(run: Run) -> tuple[str, list[str]]:
    """Make the captures of a run and check them; what `process` said, and what is not as it must be."""
    with tempfile.TemporaryDirectory(prefix="oracle-") as scratch:
        directory = Path(scratch)
        shared.simulate(run.corpus, directory, seed=run.seed, max_recipients=run.max_recipients, limit=run.limit)
        return check_file(Captures(directory / "events.jsonl", directory / "truth.jsonl"), directory)


def _report(run: Run) -> bool:
    began = time.monotonic()
    said, found = simulated(run)
    counts = json.loads(said) if said else {}
    numbers = ", ".join(
        f"{counts[name]:,} {name}" for name in ("events", "accepted", "merged", "copies") if name in counts
    )
    verdict = "as it should be" if not found else "NOT as it should be"
    print(f"{run.name}: {numbers}: {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
    for fault in found:
        print(f"  {fault}", flush=True)
    return not found


def main() -> int:
    """Run what the options name."""
    parser = argparse.ArgumentParser(prog="make oracle", description=__doc__)
    parser.add_argument("--corpora", nargs="+", default=shared.CORPORA, metavar="NAME")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5], metavar="N")
    parser.add_argument("--max-recipients", nargs="+", type=int, default=[12, 60], metavar="N")
    parser.add_argument("--limit", type=int, metavar="LINES", help="of each log; default: all")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at a time; each takes a gigabyte or two")
    chosen = parser.parse_args()
    runs = []
    for corpus in chosen.corpora:
        if reason := shared.missing(corpus):
            print(f"{corpus}: skipped: {reason}")
            continue
        runs += [Run(corpus, seed, most, chosen.limit) for seed in chosen.seeds for most in chosen.max_recipients]
    with ThreadPoolExecutor(chosen.jobs) as pool:
        good = sum(pool.map(_report, runs))
    print(f"{good} of {len(runs)} runs as it should be")
    return 0 if good == len(runs) else 1


if __name__ == "__main__":
    sys.exit(main())
