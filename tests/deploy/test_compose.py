"""docker-compose.yml is valid by the schema of compose files and hardened, and its services start in order."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from deploy.secret_files import main as secrets_make
from gateway_project.configuration.databases import QUEUE_CONNECTIONS, max_connections
from gateway_project.process.server import CLOSE_SECONDS, DRAIN_GRACE_SECONDS
from tests.stack.composition import services

ROOT = settings.BASE_DIR
SERVICES = services({})
OURS = ("migrate", "web", "worker")
ONE_SHOT = {name for name, service in SERVICES.items() if service["restart"] == "no"}


def seconds(text: str) -> float:
    return float(text.removesuffix("s"))


def test_it_is_valid_by_the_schema_of_compose_files() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    result = subprocess.run([*command, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_it_has_everything_that_a_distributed_gateway_is() -> None:
    assert set(SERVICES) == {"secrets", "postgres", "redis", "migrate", "web", "worker", "nginx"}
    assert SERVICES["web"]["deploy"] == SERVICES["worker"]["deploy"] == {"replicas": 2}


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_every_container_is_read_only_and_without_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    # Of the gateway's own image the Dockerfile says it.
    assert "build" in service or service["user"] == name


def test_up_waits_for_health_or_the_end_of_every_service() -> None:
    assert {"secrets", "migrate"} == ONE_SHOT
    for name in set(SERVICES) - ONE_SHOT:
        assert "test" in SERVICES[name]["healthcheck"]
    # What has ended counts as up only when a service that goes on depends on its success.
    for name in ONE_SHOT:
        assert SERVICES["web"]["depends_on"][name] == {"condition": "service_completed_successfully"}


def test_nobody_but_nginx_is_reached_from_outside_and_it_reaches_no_database() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]
    assert SERVICES["nginx"]["networks"] == ["front", "proxy"]
    assert SERVICES["web"]["networks"] == ["default", "proxy", "inside"]
    assert SERVICES["postgres"]["networks"] == SERVICES["redis"]["networks"] == ["inside"]


def test_a_stop_takes_longer_than_a_drain() -> None:
    drain = settings.GATEWAY_DRAIN_SECONDS + DRAIN_GRACE_SECONDS + CLOSE_SECONDS
    for name in ("web", "worker"):
        assert seconds(SERVICES[name]["stop_grace_period"]) > drain


def test_postgres_has_room_for_every_process_and_its_successor() -> None:
    found = re.search(r"max_connections=(\d+)", " ".join(SERVICES["postgres"]["command"]))
    assert found is not None
    # Nobody's but the superuser's.
    room = int(found[1]) - 3
    processes = sum(SERVICES[name]["deploy"]["replicas"] for name in ("web", "worker"))
    threads = settings.GATEWAY_DB_THREADS + settings.GATEWAY_ACTION_THREADS + settings.GATEWAY_REQUEST_THREADS
    of_each = max_connections(threads)
    assert 2 * processes * of_each <= room
    page = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
    assert f"connections to PostgreSQL ({of_each - QUEUE_CONNECTIONS}), and a worker {QUEUE_CONNECTIONS}" in page
    assert f"Compose has {found[1]}, for" in page


def test_no_secret_stands_in_the_file_or_in_an_environment() -> None:
    for name in OURS:
        named = {key for key in SERVICES[name]["environment"] if re.search("KEY|URL|PASSWORD", key)}
        assert {key for key in named if not key.endswith("_FILE")} == {"GATEWAY_PUBLIC_URL"}
    assert {key for key in SERVICES["postgres"]["environment"] if "PASSWORD" in key} == {"POSTGRES_PASSWORD_FILE"}


@pytest.fixture
def secret_files(tmp_path: Path) -> Path:
    """The files that the service `secrets` generates."""
    secrets_make(tmp_path, SERVICES["secrets"]["command"][1:])
    return tmp_path


def test_every_file_that_a_service_names_is_made(secret_files: Path) -> None:
    named = set(re.findall(r"/secrets/([\w.]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    assert named <= {path.name for path in secret_files.iterdir()}


def test_secrets_are_made_once_and_readable_for_owner_and_group_only(secret_files: Path) -> None:
    before = {path.name: path.read_text() for path in secret_files.iterdir()}
    (secret_files / "openai_api_key").chmod(0o600)
    (secret_files / "openai_api_key").write_text("sk-mine\n")
    secrets_make(secret_files, SERVICES["secrets"]["command"][1:])
    assert {path.name: path.read_text() for path in secret_files.iterdir()} == before | {"openai_api_key": "sk-mine\n"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret_files.iterdir() if path.name != "openai_api_key"} == {
        0o440
    }


def test_secrets_are_readable_for_the_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        secrets_make(tmp_path, SERVICES["secrets"]["command"][1:])
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o440}


def test_the_addresses_name_the_services_and_the_passwords_that_these_are_given(secret_files: Path) -> None:
    def text(name: str) -> str:
        return (secret_files / name).read_text().strip()

    user, database = (SERVICES["postgres"]["environment"][name] for name in ("POSTGRES_USER", "POSTGRES_DB"))
    assert text("database_url") == f"postgresql://{user}:{text('database_password')}@postgres:5432/{database}"
    assert text("redis_url") == f"redis://:{text('redis_password')}@redis:6379/0"
    assert f"requirepass {text('redis_password')}\n" in (secret_files / "redis.conf").read_text()


def test_two_installations_have_nothing_in_common(tmp_path: Path) -> None:
    secret_files: list[dict[str, Any]] = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        secrets_make(tmp_path / name, [])
        secret_files.append({path.name: path.read_text() for path in (tmp_path / name).iterdir()})
    assert not set(secret_files[0].values()) & set(secret_files[1].values())
