"""The core's tests on the compiled package: `python -m tests.support.compiled HOME TEST...`; first, what all steps hash to.

HOME is where `make compiled` put the package; `-` for the checkout, and without tests for the hash alone. The first line
says which file a stage came from, the second the SHA-256 over all that the core makes of the sample and of damaged bytes.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

SAMPLE = Path(__file__).resolve().parents[2] / "pipeline" / "local" / "sample" / "events.jsonl.gz"
SEED = 1


def main() -> int:
    home, *tests = sys.argv[1:]
    if home != "-":
        sys.path.insert(0, home)  # before the first import of the package
    from pipeline.stages import dedup

    print(Path(dedup.__file__).name)
    print(_digest(), flush=True)
    if not tests:
        return 0
    import pytest

    return int(pytest.main(["-q", "--no-header", "-p", "no:cacheprovider", *tests]))


def _digest() -> str:
    from pipeline.engines import assemble
    from pipeline.policy.api import EmptyPolicy
    from pipeline.records import Ingest
    from pipeline.registry import FixedSchemas
    from pipeline.settings import Settings
    from pipeline.stages.journal import genesis

    settings, policy = Settings(), EmptyPolicy()
    tools = assemble.tools(settings, FixedSchemas(), partitions=8, topic="im.events")
    state = assemble.partition(settings, tools, genesis("lineage", 0))
    found = hashlib.sha256()
    for offset, (key, value) in enumerate(_records()):
        step = state.process(Ingest(offset, 1_700_000_000_000 + offset, key, value, None), policy)
        found.update(repr((step.status, step.rule, step.journal, step.verdict, step.others)).encode())
        for copy in step.copies.records:
            found.update(repr(copy).encode())
    return found.hexdigest()


def _records() -> Iterator[tuple[bytes, bytes | None]]:
    """Each capture of the sample, then one with a byte changed or cut short, and now and then nothing."""
    from pipeline.jsonl import parse_line

    chance = random.Random(SEED)
    for number, line in enumerate(gzip.decompress(SAMPLE.read_bytes()).splitlines(), 1):
        parsed = parse_line(line, source="sample", number=number)
        key, value = parsed.conversation.encode(), parsed.value
        yield key, value
        at = chance.randrange(len(value))
        damaged = bytearray(value)
        damaged[at] = chance.randrange(256)
        yield key, bytes(damaged)
        yield key, value[:at] or None


if __name__ == "__main__":
    sys.exit(main())
