"""docker-compose.yml: valid by the specification's own schema, and true to what the code knows."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from pipeline.cli import app
from pipeline.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return loaded


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    carrier = importlib.util.find_spec("check_jsonschema")  # only for the schema that it carries; not imported
    assert carrier is not None
    assert carrier.origin is not None
    schema = json.loads((Path(carrier.origin).parent / "builtin_schemas/vendor/compose-spec.json").read_text())
    validator = jsonschema.validators.validator_for(schema)(schema)
    assert [error.message for error in validator.iter_errors(compose)] == []
    broken = compose | {"services": {"kafka": compose["services"]["kafka"] | {"healthchek": {}}}}
    assert [error.message for error in validator.iter_errors(broken)]


def test_what_it_refers_to_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", {})) <= set(services), name
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(service["networks"]) <= set(compose["networks"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in compose["volumes"] or (ROOT / source).is_file(), volume
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_jobs_end_and_servers_have_health_checks(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        one_time = service["restart"] == "on-failure"
        assert one_time or service["healthcheck"]["test"][0] == "CMD", name
        for wanted in service.get("depends_on", {}).items():
            other = compose["services"][wanted[0]]
            completed = wanted[1]["condition"] == "service_completed_successfully"
            assert completed == (other["restart"] == "on-failure"), name


def test_every_service_is_bounded_and_pinned(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
        tag = service["image"].rpartition(":")[2]
        assert tag == "local" or tag[0].isdigit(), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name


def test_it_holds_no_password(compose: dict[str, Any]) -> None:
    named = [
        (service, name)
        for service, told in compose["services"].items()
        for name in told.get("environment", {})
        if "PASSWORD" in name and not name.endswith("_FILE")
    ]
    assert named == []


def test_its_settings_and_commands_exist(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        if service["image"] != "compliance-pipeline:local":
            continue
        for variable in service["environment"]:
            section, setting = variable.removeprefix("COMPLIANCE_").lower().split("__")
            assert setting in type(getattr(Settings(), section)).model_fields, variable
        command: Any = typer.main.get_command(app)
        for word in service["command"]:
            command = getattr(command, "commands", {word: command})[word]
        assert command.callback, name


def test_two_slots_are_two(compose: dict[str, Any]) -> None:
    slots = [
        service["environment"]["COMPLIANCE_WORKER__SLOT"]
        for service in compose["services"].values()
        if service.get("command") == ["run", "transform"]
    ]
    assert len(set(slots)) == len(slots) == 2


def test_docker_compose_takes_it() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here")
    done = subprocess.run(
        [docker, "compose", "--file", str(FILE), "config", "--quiet"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
