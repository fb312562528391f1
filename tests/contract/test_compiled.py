"""The core as C extensions does what the core in Python does, byte for byte, and passes the core's tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "compiled"
TESTS = (
    "tests/properties",
    "tests/unit/test_avro_reader.py",
    "tests/unit/test_dedup.py",
    "tests/unit/test_fanout.py",
    "tests/unit/test_journal.py",
    "tests/unit/test_partitioner.py",
    "tests/unit/test_transform.py",
    "tests/unit/test_transform_rejected.py",
)


def _run(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.compiled", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5_000:] + done.stderr[-2_000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_compiled_core_is_the_core() -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("no headers of Python")
    made = subprocess.run(["make", "compiled"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stdout + made.stderr

    python, compiled = _run("-"), _run(str(HOME), *TESTS)

    assert python[0] == "dedup.py"
    assert compiled[0].endswith(".so")
    assert compiled[1] == python[1]
