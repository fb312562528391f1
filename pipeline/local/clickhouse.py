"""ClickHouse over HTTP without a ClickHouse server: chDB in a process of its own (see clickhouse_http).

`python -m pipeline.local.clickhouse --port PORT --path DIRECTORY` runs one in the foreground until SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import http.client
import importlib.util
import signal
import sys
import threading
from pathlib import Path

from pipeline.errors import Misconfigured
from pipeline.local.process import LocalProcess, free_port


def available() -> str | None:
    """Why no ClickHouse can be started here, in a few words; None if one can."""
    return None if importlib.util.find_spec("chdb") else "no chDB"


class LocalClickHouse:
    """One server, its data and its port kept over stops and kills; `url` is for `clickhouse_connect` and the settings."""

    def __init__(self, directory: Path, port: int | None = None) -> None:
        """Nothing is started yet.

        Args:
            directory: where the data (in `data`) and the server's output lie; made if missing.
            port: port on 127.0.0.1; none: a free one.
        """
        self.directory = directory
        self.port = port or free_port()
        self.url = f"http://default@127.0.0.1:{self.port}/default"
        directory.mkdir(parents=True, exist_ok=True)
        self._process = LocalProcess("ClickHouse", directory / "clickhouse.log")

    @property
    def pid(self) -> int:
        """Process id of the server; Unavailable if it does not run."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server's process is there."""
        return self._process.running

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the server and wait until it answers.

        Raises:
            Misconfigured: no chDB, or it runs already.
            Unavailable: it was not ready within `timeout_s` seconds.
        """
        if reason := available():
            raise Misconfigured(f"no ClickHouse can be started: {reason}")
        data = self.directory / "data"
        command = [sys.executable, "-m", "pipeline.local.clickhouse", "--port", str(self.port), "--path", str(data)]
        source = str(Path(__file__).parents[2])  # the child finds this package wherever it is started
        self._process.start(command, self._answers, timeout_s=timeout_s, env={"PYTHONPATH": source})

    def stop(self) -> None:
        """End it cleanly (SIGTERM)."""
        self._process.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it (SIGSTOP)."""
        self._process.pause()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        self._process.resume()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1.0)
        try:
            connection.request("GET", "/ping")
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    from pipeline.local.clickhouse_http import Server  # noqa: PLC0415 - only the server's process loads the engine

    parser = argparse.ArgumentParser(description="ClickHouse's HTTP interface over chDB")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.path.mkdir(parents=True, exist_ok=True)
    server = Server(arguments.port, arguments.path)
    for number in (signal.SIGTERM, signal.SIGINT):
        # shutdown() waits for serve_forever(), which the handler itself interrupts: hence the thread
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.close()


if __name__ == "__main__":
    main()
