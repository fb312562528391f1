"""Settings: where values come from, and refusals that name the setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.errors import Misconfigured
from pipeline.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("COMPLIANCE_"):
            monkeypatch.delenv(name)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "compliance.toml"
    path.write_text(text)
    return path


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert settings.kafka.prefix == "im"
    assert settings.merge.window_s == 3600


def test_file_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _file(tmp_path, '[kafka]\nprefix = "file"\npartitions = 3\n')
    monkeypatch.setenv("COMPLIANCE_KAFKA__PREFIX", "environment")
    settings = load_settings(config)
    assert (settings.kafka.prefix, settings.kafka.partitions) == ("environment", 3)


def test_databases_from_a_file(tmp_path: Path) -> None:
    config = _file(
        tmp_path,
        '[[clickhouse.databases]]\nname = "east"\ndomains = ["east.example"]\nkeeps = "inbound"\n'
        '[[clickhouse.databases]]\nname = "rooms"\nconversations = ["room"]\n',
    )
    east, rooms = load_settings(config).clickhouse.databases
    assert (east.domains, east.keeps, rooms.conversations) == (("east.example",), "inbound", ("room",))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[kafka]\npartitions = 0\n", "kafka.partitions"),
        ('[kafka]\npartitions = "many"\n', "kafka.partitions"),
        ("[kafka]\npartition = 8\n", "kafka.partition"),
        ('[kafka]\nprefix = "a b"\n', "kafka.prefix"),
        ('[kafka]\nsecurity_protocol = "plain"\n', "kafka.security_protocol"),
        ("[kafak]\n", "kafak"),
        ('[[clickhouse.databases]]\nname = "a; DROP"\n', "clickhouse.databases.0.name"),
        ('[[clickhouse.databases]]\nkeeps = "both"\n', "clickhouse.databases.0.name"),
        ('[[clickhouse.databases]]\nname = "a"\nkeeps = "some"\n', "clickhouse.databases.0.keeps"),
        ('[[clickhouse.databases]]\nname = "a"\n[[clickhouse.databases]]\nname = "a"\n', "clickhouse.databases"),
        ('[[clickhouse.databases]]\nname = "Information_Schema"\n', "ClickHouse's own"),
        ('[[clickhouse.databases]]\nname = "a"\ndomains = [""]\n', "clickhouse.databases.0.domains"),
        ('[[clickhouse.databases]]\nname = "a"\nconversations = []\n', "clickhouse.databases.0.conversations"),
        ('[clickhouse]\nurl = "http://[::1/db"\n', "clickhouse.url"),
        ('[clickhouse]\nurl = "http://x/system"\n', "ClickHouse's own"),
        ("[merge]\nwindow_s = -1\n", "merge.window_s"),
        ("[limits]\nevent_bytes = 0\n", "limits.event_bytes"),
        ("[archive]\nlinger_ms = -1\n", "archive.linger_ms"),
        ("[archive]\nretry_max_s = 0\n", "archive.retry_max_s"),
        ("[metrics]\nport = 70000\n", "metrics.port"),
        ("[worker]\nslot = -1\n", "worker.slot"),
        ("kafka = [\n", "compliance.toml"),
    ],
)
def test_a_refusal_names_the_setting(tmp_path: Path, text: str, names: str) -> None:
    with pytest.raises(Misconfigured, match=names) as refused:
        load_settings(_file(tmp_path, text))
    assert "\n" not in str(refused.value)


def test_each_wrong_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"kafka\.partitions.*metrics\.port"):
        load_settings(_file(tmp_path, "[kafka]\npartitions = 0\n[metrics]\nport = -1\n"))


def test_a_wrong_environment_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPLIANCE_WORKER__SLOT", "first")
    with pytest.raises(Misconfigured, match=r"worker\.slot"):
        load_settings()


def test_an_unknown_setting_in_the_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPLIANCE_KAFKA__PREFFIX", "x")
    with pytest.raises(Misconfigured, match=r"kafka\.preffix"):
        load_settings()


def test_a_refusal_never_shows_the_value(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as refused:
        load_settings(_file(tmp_path, '[kafka]\nsasl_password = "secret-word"\n'))
    assert "secret-word" not in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"nowhere\.toml"):
        load_settings(tmp_path / "nowhere.toml")


def test_the_tree_is_frozen() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError):
        settings.kafka.prefix = "other"  # type: ignore[misc]


def test_every_setting_has_its_meaning() -> None:
    def silent(model: type[BaseModel], path: str) -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                found += silent(field.annotation, f"{path}{name}.")
            elif not field.description:
                found.append(path + name)
        return found

    assert silent(Settings, "") == []
