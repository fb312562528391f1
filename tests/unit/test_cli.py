"""The command line: exit status, one line for an error, JSON for machines. What the commands call is faked here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from pipeline import cli
from pipeline.errors import BadInput, Misconfigured, Unavailable
from pipeline.jsonl import BadLine

Fake = Callable[..., ModuleType]


class Ran(NamedTuple):
    status: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    monkeypatch.delenv("COMPLIANCE_DEBUG", raising=False)

    def run(*arguments: str) -> Ran:
        status = cli.main(arguments)
        return Ran(status, *capfd.readouterr())

    return run


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put a module with these names in the place of a real one."""

    def fake(name: str, **names: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
        parent, _, child = name.rpartition(".")
        monkeypatch.setattr(import_module(parent), child, module, raising=False)
        return module

    return fake


def raising(error: Exception) -> Callable[..., Any]:
    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def one_line(text: str) -> bool:
    return text.startswith("compliance: ") and text.count("\n") == 1 and text.endswith("\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["bogus"],
        ["process"],
        ["process", "x.jsonl"],
        ["process", "x.jsonl", "--into", "d", "--from-line", "0"],
        ["export", "everything", "--from", "."],
        ["export", "messages"],
        ["export", "messages", "--from", ".", "--clickhouse", "http://x"],
        ["export", "messages", "--from", "no/such/directory"],
        ["verify"],
        ["verify", "--clickhouse", "http://user:hunter2@host/db"],
        ["run", "alerts"],
        ["status", "--config", "no/such/file.toml"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_one_line_and_status_2(run: Callable[..., Ran], arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.status == 2
    assert ran.out == ""
    assert one_line(ran.err)
    assert "hunter2" not in ran.err


def test_no_command_shows_the_help_and_is_wrong_use(run: Callable[..., Ran]) -> None:
    ran = run()
    assert ran.status == 2
    assert "process" in ran.out + ran.err


def test_help_is_no_error(run: Callable[..., Ran]) -> None:
    assert run("--help").status == run("process", "-h").status == 0


@pytest.mark.parametrize(
    "error", [BadInput("a.jsonl line 7: sent_at: no offset"), Misconfigured("x"), Unavailable("a\nb")]
)
def test_errors_of_ours_are_one_line_and_status_2(run: Callable[..., Ran], fake: Fake, error: Exception) -> None:
    fake("pipeline.engines.embedded", process_file=raising(error))
    ran = run("process", "a.jsonl", "--into", "d")
    assert (ran.status, ran.out) == (2, "")
    assert one_line(ran.err)
    assert " ".join(str(error).split()) in ran.err


def test_a_file_that_cannot_be_read_is_named(run: Callable[..., Ran], fake: Fake) -> None:
    fake("pipeline.engines.embedded", process_file=raising(PermissionError(13, "Permission denied", "a.jsonl")))
    assert run("process", "a.jsonl", "--into", "d") == (2, "", "compliance: a.jsonl: Permission denied\n")


def test_a_defect_says_so_without_a_traceback(
    run: Callable[..., Ran], fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake("pipeline.engines.embedded", process_file=raising(KeyError("lost")))
    ran = run("process", "a.jsonl", "--into", "d")
    assert ran.status == 70
    assert one_line(ran.err)
    assert "this is a defect" in ran.err
    monkeypatch.setenv("COMPLIANCE_DEBUG", "1")
    assert "Traceback" in run("process", "a.jsonl", "--into", "d").err


def test_process_passes_its_arguments_and_prints_json_last(run: Callable[..., Ran], fake: Fake) -> None:
    class Summary(NamedTuple):
        events: int
        seconds: float

    seen: dict[str, Any] = {}

    def process_file(source: str, into: Path, **named: Any) -> Summary:
        seen.update(named, source=source, into=into)
        named["progress"](1, 2)
        return Summary(7, 0.5)

    fake("pipeline.engines.embedded", process_file=process_file)
    ran = run("process", "-", "--into", "d", "--from-line", "3", "--json")
    assert (ran.status, ran.err) == (0, "")
    assert json.loads(ran.out.splitlines()[-1]) == {"events": 7, "seconds": 0.5}
    assert (seen["source"], seen["into"], seen["from_line"], seen["policy"]) == ("-", Path("d"), 3, None)


def test_a_bad_line_names_the_line_to_go_on_with(run: Callable[..., Ran], fake: Fake) -> None:
    bad = BadLine("a.jsonl", 51, "sent_at", "a time without offset")
    fake("pipeline.engines.embedded", process_file=raising(bad))
    ran = run("process", "a.jsonl", "--into", "d")
    assert ran.status == 2
    assert one_line(ran.err)
    assert ran.err.startswith("compliance: a.jsonl: line 51: sent_at: a time without offset")
    assert "--from-line 51" in ran.err


def test_topics_create_says_what_it_made(run: Callable[..., Ran], fake: Fake) -> None:
    fake("pipeline.topics", create=lambda _settings, _routes: ["im.events"])
    assert run("topics", "create").out == "im.events\n"
    assert json.loads(run("topics", "create", "--json").out) == {"created": ["im.events"]}


def test_status_for_people_and_machines(run: Callable[..., Ran], fake: Fake) -> None:
    state = {"drained": False, "lag": {"transform": 1200}}
    fake("pipeline.status", status=lambda _settings: state, away=lambda _settings: "")
    assert run("status").out == "not drained\ntransform behind  1,200\n"
    assert json.loads(run("status", "--json").out) == {**state, "clickhouse": "answers"}
    fake("pipeline.status", status=lambda _settings: state, away=lambda _settings: "no answer")
    assert "no answer" in run("status").err
    assert json.loads(run("status", "--json").out) == {**state, "clickhouse": "no answer"}


def test_starting_loads_nothing_heavy() -> None:
    heavy = {"chdb", "clickhouse_connect", "confluent_kafka", "fastavro", "numpy", "pandas", "pyarrow", "rich.progress"}
    code = f"import sys, pipeline.cli; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_ends_cleanly_at_a_signal(number: signal.Signals) -> None:
    code = (
        "import sys, types; module = types.ModuleType('pipeline.engines.transform')\n"
        "def run_transform(settings, stop, health): print('up', flush=True); assert stop.wait(30); print('ended', flush=True)\n"
        "module.run_transform = run_transform; sys.modules[module.__name__] = module\n"
        "from pipeline import cli; sys.exit(cli.main(['run', 'transform']))"
    )
    environment = os.environ | {"COMPLIANCE_METRICS__PORT": "0", "COMPLIANCE_METRICS__HOST": "127.0.0.1"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        worker.send_signal(number)
        out, err = worker.communicate(timeout=30)
    assert (worker.returncode, out) == (0, b"ended\n")
    assert json.loads(err)["port"] > 0  # the free port that /metrics was given is logged


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    code = "from pipeline.terminal import print_lines; print_lines(b'{}\\n' for _ in range(1_000_000))"
    command = f"{sys.executable} -c {json.dumps(code)} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False, timeout=60)
    assert done.stdout == b"{}\n"
    assert b"BrokenPipe" not in done.stderr
