"""A transform worker as a process of its own, as it runs in production, and what can be seen of it from outside."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from bisect import bisect_left
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.error import URLError

from pipeline.local.process import free_port
from pipeline.settings import Settings
from tests.bench.load import ROOT

READY_S = 60.0
TICK = os.sysconf("SC_CLK_TCK")


COMPILED = ROOT / "build" / "compiled"


def is_compiled() -> bool:
    """Whether `make compiled` has been run (`make bench` does)."""
    return (COMPILED / ".stamp").exists()


class Worker:
    """`compliance run transform` with metrics on; a context manager that ends it."""

    def __init__(self, settings: Settings, slot: int, folder: Path, home: Path | None = None) -> None:
        """`home`: where the package lies: the checkout, or where `make compiled` put it; left out: the compiled one, if any."""
        self._port = free_port()
        self._samples: list[tuple[float, float]] = []
        kafka = settings.kafka
        environment = {
            "COMPLIANCE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
            "COMPLIANCE_KAFKA__PREFIX": kafka.prefix,
            "COMPLIANCE_KAFKA__PARTITIONS": str(kafka.partitions),
            "COMPLIANCE_WORKER__SLOT": str(slot),
            "COMPLIANCE_METRICS__HOST": "127.0.0.1",
            "COMPLIANCE_METRICS__PORT": str(self._port),
        }
        self._log = folder / f"{kafka.prefix}-{slot}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pipeline.cli", "run", "transform"],
                env={**os.environ, **environment},
                cwd=home or (COMPILED if is_compiled() else ROOT),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while True:
            try:
                self._get("ready")
            except (URLError, OSError):
                self.check()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return

    def check(self) -> None:
        """It must run still, in its first session: else the figures say nothing."""
        if self._process.poll() is not None or b"session ended" in self._log.read_bytes():
            raise RuntimeError(f"the worker failed: {self._log.read_text()[-2000:]}")

    def metrics(self) -> dict[str, float]:
        """Samples by name and labels, as Prometheus scrapes them; none before the worker listens."""
        try:
            text = self._get("metrics")
        except (URLError, OSError):
            self.check()
            return {}
        return {
            name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
        }

    def sample(self) -> None:
        """Note the clock and the CPU seconds, of all threads, up to now."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        self._samples.append((time.time(), (int(fields[11]) + int(fields[12])) / TICK))

    def cpu_at(self, moment: float) -> float:
        """CPU seconds at a time, between two samples."""
        after = bisect_left(self._samples, (moment, 0.0))
        if after == 0 or after == len(self._samples):
            return self._samples[min(after, len(self._samples) - 1)][1]
        (began, low), (ended, high) = self._samples[after - 1 : after + 1]
        return low + (high - low) * (moment - began) / (ended - began)

    def peak_mb(self) -> float:
        """Largest resident size so far, in MB (10^6 bytes)."""
        peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{self.pid}/status").read_text())
        assert peak is not None
        return int(peak[1]) * 1024 / 1e6

    def _get(self, page: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/{page}", timeout=10) as answer:
            return str(answer.read().decode())
