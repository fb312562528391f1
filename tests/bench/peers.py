"""The same hot path on other engines, as the maintainers' shared folder has it, on the same broker and the same events."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

from pipeline.local.process import cache_directory
from tests.bench.load import PARTITIONS, SHARED, Input

PEERS = SHARED / "peers"
TOPIC = "peer.events"
OUTPUTS = "peer.journal,peer.verdicts,peer.copies"
SHARE = 0.96
"""Of the events, so many are counted: the last ones of each partition come in a trickle."""
QUIX_EVENTS = 60_000
TIMEOUT_S = 900.0


class Skipped(Exception):
    """A peer that cannot run here, and why."""


def load(bootstrap: str, made: Input) -> None:
    """Fresh topics of the peers with the events in them."""
    if not PEERS.is_dir():
        raise Skipped("there is no shared folder beside the checkout")
    tool = [sys.executable, str(SHARED / "tools" / "load_topic.py"), str(made.file), bootstrap, TOPIC]
    options = ["--partitions", str(PARTITIONS), "--repeat", str(made.repeat), "--also", OUTPUTS]
    _run([*tool, *options], "load_topic")


def kafka_streams(bootstrap: str, folder: Path, made: Input) -> dict[str, Any]:
    """Kafka Streams, one thread."""
    if shutil.which("mvn") is None:
        raise Skipped("no Maven")
    out = cache_directory() / "bench-kafka-streams"
    _once(out, lambda at: _run(
        ["mvn", "-q", "-B", "-f", str(PEERS / "kafka_streams"), "package", "dependency:copy-dependencies", f"-Dout={at}",
         f"-DoutputDirectory={at}/lib"], "Maven"))  # fmt: skip
    java = ["java", "-Xmx1g", f"-Djava.io.tmpdir={folder}", f"-Devents={int(made.events * SHARE)}"]
    return _figures(_run([*java, "-cp", f"{out}/lib/*:{out}/classes", "Peer", bootstrap, TOPIC], "Kafka Streams"))


def quix(bootstrap: str, folder: Path, made: Input) -> dict[str, Any]:
    """Quix Streams, in a virtual environment of its own."""
    out = cache_directory() / "bench-quix"
    _once(out, _install_quix)
    events = min(QUIX_EVENTS, int(made.events * SHARE))
    command = [str(out / "bin" / "python"), str(PEERS / "quix_peer.py"), bootstrap, TOPIC, str(events)]
    return _figures(_run(command, "Quix Streams", TMPDIR=str(folder)))


def _install_quix(at: Path) -> None:
    venv.create(at, with_pip=True)
    _run(
        [str(at / "bin" / "python"), "-m", "pip", "install", "-q", "quixstreams", "fastavro"], "pip install quixstreams"
    )


def _once(out: Path, make: Any) -> None:
    """Make a folder of the cache, once and for all runs; a half-made one is made anew."""
    out.parent.mkdir(parents=True, exist_ok=True)
    done = out / "made"
    with Path(f"{out}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(out, ignore_errors=True)
            out.mkdir()
            make(out)
            done.touch()


def _run(command: list[str], what: str, **environment: str) -> str:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment = {**inherited, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
            timeout=TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Skipped(f"{what}: {error}") from None
    if done.returncode:
        raise Skipped(f"{what} ended with {done.returncode}: {' '.join((done.stdout + done.stderr).split())[-500:]}")
    return done.stdout


def _figures(output: str) -> dict[str, Any]:
    """The line of JSON among what it prints."""
    for line in output.splitlines():
        if line.startswith("{"):
            found: dict[str, Any] = json.loads(line)
            return found
    raise Skipped(f"it printed no figures: {output[-500:]}")
