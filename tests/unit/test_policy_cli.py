"""`compliance policy ...`: exit status, one line for an error, JSON lines out."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.policy.detectors import DETECTORS
from pipeline.policy_cli import Entity


def lines(texts: list[str]) -> str:
    return "".join(json.dumps({"text": text}) + "\n" for text in texts)


def test_a_line_for_each_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(lines(["é 4012888888881881 and 4111-1111-1111-1111", "none", "<b>4012</b>888888881881"]))
    assert cli.main(["policy", "detect", "--entity", "credit_card", str(file)]) == 0
    out = capfd.readouterr().out.splitlines()
    assert [json.loads(line) for line in out] == [
        {"spans": [[2, 18], [23, 42]]},
        {"spans": []},
        {"spans": [[3, 23]]},
    ]


def test_a_threshold(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(lines(["536904399"]))
    assert cli.main(["policy", "detect", "--entity", "us_ssn", "--at-least", "likely", str(file)]) == 0
    assert capfd.readouterr().out == '{"spans":[]}\n'


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines(["jo@example.org"]).encode())))
    assert cli.main(["policy", "detect", "--entity", "email", "-"]) == 0
    assert capfd.readouterr().out == '{"spans":[[0,14]]}\n'


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"text": 1}', '"text"', ""])
def test_a_bad_line_is_named(line: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(lines(["fine"]) + line + "\n")
    assert cli.main(["policy", "detect", "--entity", "iban", str(file)]) == 2
    assert "line 2" in capfd.readouterr().err


def test_a_file_that_is_not_there(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["policy", "detect", "--entity", "iban", str(tmp_path / "absent")]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_every_detector_has_its_name() -> None:
    assert [one.value for one in Entity] == list(DETECTORS)
