from __future__ import annotations

import socket
from pathlib import Path

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError
from urllib3.exceptions import ProtocolError

from pipeline.archive.client import archive_databases, connect, control_database, reaction, translated
from pipeline.errors import Misconfigured, Unavailable
from pipeline.settings import ClickHouse, Database, Settings


def settings(url: str, **more: object) -> Settings:
    return Settings(clickhouse=ClickHouse(url=url, timeout_s=2, **more))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_the_control_database_is_the_urls_and_keeps_the_archive_unless_others_do() -> None:
    one = settings("http://u@h:8123/control")
    assert control_database(one) == "control"
    assert archive_databases(one) == ("control",)
    assert archive_databases(settings("http://u@h/c", databases=(Database(name="a"), Database(name="b")))) == ("a", "b")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://u@h:8123/", "database name"),
        ("http://u@h:8123/a`b", "database name"),
        ("ftp://u@h/x", "of the form"),
        ("http://u@h:port/x", "port"),
        ("http://u:secret@h/x", "password_file"),
    ],
)
def test_a_url_that_is_none_is_named_without_its_password(url: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named) as caught:
        connect(settings(url))
    assert "secret" not in str(caught.value)


def test_nobody_listening_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        connect(settings(f"http://default@127.0.0.1:{free_port()}/x"))


def test_a_password_file_that_is_not_there_is_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="password_file"):
        connect(settings("http://u@127.0.0.1:1/x", password_file=tmp_path / "none"))


@pytest.mark.parametrize(
    ("error", "due"),
    [
        (DatabaseError("Code: 60", code=60), Misconfigured),
        (DatabaseError("Code: 516", code=516), Misconfigured),
        (DatabaseError("too many parts", code=252), Unavailable),
        (DatabaseError("memory limit", code=241), Unavailable),
        (DatabaseError("no space", code=243), Unavailable),
        (DatabaseError("never heard of", code=98765), Unavailable),
        (DatabaseError("HTTP driver received HTTP status 503"), Unavailable),
        (DatabaseError("HTTP driver received HTTP status 401"), Misconfigured),
        (OperationalError("[SSL: CERTIFICATE_VERIFY_FAILED]"), Misconfigured),
        (OperationalError("Error executing HTTP request"), Unavailable),
        (ProgrammingError("unknown setting"), Misconfigured),
        (ProtocolError("Connection broken"), Unavailable),
        (ConnectionResetError(), Unavailable),
        (TimeoutError(), Unavailable),
    ],
)
def test_each_error_asks_for_one_reaction(error: Exception, due: type[Exception]) -> None:
    assert type(reaction(error)) is due
    with pytest.raises(due), translated():
        raise error


def test_a_missing_table_names_the_command_that_makes_it_and_stays_on_one_line() -> None:
    said = str(reaction(DatabaseError("Code: 60.\nUnknown table", code=60)))
    assert "compliance migrate" in said
    assert "\n" not in said
