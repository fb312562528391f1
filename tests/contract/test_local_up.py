"""`up` starts both servers, tells where they are, and leaves none behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import pytest

from pipeline.local import kafka

pytestmark = [pytest.mark.clickhouse, pytest.mark.slow]

PROGRAM = """
import json, pathlib, sys
from pipeline.local.up import up
up(pathlib.Path(sys.argv[1]), on_ready=lambda found: print(json.dumps(found.environment), flush=True))
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    yield process, json.loads(process.stdout.readline())
    process.kill()
    process.communicate()


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=1).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_both_answer_and_end_with_it(
    running: tuple[subprocess.Popen[str], dict[str, str]], number: signal.Signals
) -> None:
    process, environment = running
    url = environment["COMPLIANCE_CLICKHOUSE__URL"]
    addresses = [f"{urlsplit(url).hostname}:{urlsplit(url).port}"]
    with clickhouse_connect.get_client(dsn=url) as client:
        assert client.command("SELECT 1") == 1
    if kafka.available() is None:
        addresses.append(environment["COMPLIANCE_KAFKA__BOOTSTRAP_SERVERS"])
    assert all(map(_listens, addresses))
    process.send_signal(number)
    assert process.wait(30) == (-number if number == signal.SIGKILL else 0)
    deadline = time.monotonic() + 5
    while any(map(_listens, addresses)) and time.monotonic() < deadline:
        time.sleep(0.1)  # after SIGKILL the watchdogs need a moment
    assert not any(map(_listens, addresses))
