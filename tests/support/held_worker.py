"""The command line with a producer that can be held inside a transaction: what a worker's freeze at that point is made of.

HELD_AT names the call that is held, HELD_BY a directory: once a file `hold` appears there, the next such call renames
it to `held` and waits for a file `go`. The rest of the process lives meanwhile, librdkafka's threads above all.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

import pipeline.engines.transform as engine
from pipeline.cli import main

POINTS = ("begin_transaction", "flush", "send_offsets_to_transaction", "commit_transaction")


class HeldProducer(Producer):
    """Waits where it is told to; `begin_transaction` is held behind the call, the others before it."""

    def begin_transaction(self, *arguments: Any) -> None:
        super().begin_transaction(*arguments)
        wait_at("begin_transaction")

    def flush(self, *arguments: Any) -> int:
        wait_at("flush")
        return int(super().flush(*arguments))

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        wait_at("send_offsets_to_transaction")
        super().send_offsets_to_transaction(*arguments)

    def commit_transaction(self, *arguments: Any) -> None:
        wait_at("commit_transaction")
        super().commit_transaction(*arguments)


def wait_at(point: str) -> None:
    """Wait, if this is the point and somebody asked for it."""
    directory = Path(os.environ["HELD_BY"])
    if point != os.environ["HELD_AT"] or not (directory / "hold").exists():
        return
    (directory / "hold").rename(directory / "held")
    while not (directory / "go").exists():
        time.sleep(0.02)


if __name__ == "__main__":
    vars(engine)["Producer"] = HeldProducer
    sys.exit(main())
