"""A server process of ours: started, killed, frozen and started again, and never left behind."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pipeline.errors import Misconfigured, Unavailable

# Below the kernel's ephemeral range: a client that knocks at a server's port while it is down could otherwise be given
# that very port as its own, connect to itself and keep the server from coming back.
_PORTS = range(15_000, 32_000)
_LOG_TAIL_BYTES = 4_000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment.

    Raises:
        Unavailable: no free port was found.
    """
    for _ in range(1_000):
        port = random.SystemRandom().choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise Unavailable(f"no free port between {_PORTS.start} and {_PORTS.stop}")


def cache_directory() -> Path:
    """Where downloads are kept: $COMPLIANCE_CACHE, else `compliance` in the user's cache directory."""
    if chosen := os.environ.get("COMPLIANCE_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "compliance"


class LocalProcess:
    """One child process, its output in `log`.

    It has a process group of its own, so that Ctrl-C reaches only its owner, who stops it in order. Should the owner
    die instead, a watchdog kills it.
    """

    def __init__(self, name: str, log: Path) -> None:
        self.name, self.log = name, log
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id.

        Raises:
            Unavailable: it does not run.
        """
        if self._process is None or self._process.poll() is not None:
            raise Unavailable(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there; a frozen one is."""
        return self._process is not None and self._process.poll() is None

    def start(
        self,
        command: Sequence[str],
        is_ready: Callable[[], bool],
        *,
        timeout_s: float,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """Start `command` and wait until `is_ready`.

        Raises:
            Misconfigured: it runs already, or another process answers in its place.
            Unavailable: it ended, or was not ready within `timeout_s` seconds; the text has the end of its log.
        """
        if self.running:
            raise Misconfigured(f"{self.name} runs already")
        if is_ready():
            raise Misconfigured(f"{self.name}: another process has its port")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        self._watchdog = _watch(self._process.pid)
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            status = self._process.poll()
            if status is not None or time.monotonic() > deadline:
                self.kill()
                what = f"not ready after {timeout_s:g} s" if status is None else f"ended with status {status}"
                raise Unavailable(f"{self.name} {what}: {self._log_tail()}")
            time.sleep(0.05)

    def stop(self, timeout_s: float = 30.0) -> None:
        """End it with SIGTERM, or SIGKILL after `timeout_s` seconds; nothing happens if it does not run."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGCONT)  # a frozen process would not see the SIGTERM
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._forget()

    def kill(self) -> None:
        """SIGKILL; nothing happens if it does not run."""
        if self._process is not None and self.running:
            self._process.kill()
        self._forget()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def _forget(self) -> None:
        if self._watchdog is not None:  # first, lest it kills a stranger that is given the same id
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
        if self._process is not None:
            self._process.wait()
            self._process = None

    def _log_tail(self) -> str:
        return self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace").strip() or "its log is empty"


def _watch(pid: int) -> subprocess.Popen[bytes]:
    """A shell that kills `pid` once the pipe from this process breaks, that is, when this process is gone."""
    shell = shutil.which("sh") or "/bin/sh"
    script = 'while read -r line; do :; done; kill -9 "$1" 2>/dev/null'
    return subprocess.Popen([shell, "-c", script, "watchdog", str(pid)], stdin=subprocess.PIPE, start_new_session=True)
