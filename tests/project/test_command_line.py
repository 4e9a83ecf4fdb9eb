"""The command `gateway`: what it lists, what it does in the wrong place, and that each failure is a sentence."""

from __future__ import annotations

import io
import json
import os
import re
import sqlite3
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError
from django.db import DatabaseError

from core_app import database_files
from core_app.command import GatewayCommand
from gateway_project import command_line
from inference_app.models import Provider
from tenants_app.models import ApiKey, Tenant, User
from tests.deploy.test_secrets_in_files import run_process

MANAGE = str(settings.BASE_DIR / "manage.py")
WITHOUT_DATA = {"serve", "worker", "prepare", "runserver", "doctor", "backup", "restore"}
"""Commands that may find no database: they make it, report it, or look for it themselves."""


def gateway(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return run_process(directory, MANAGE, *arguments, **variables)


def call(*arguments: str) -> str:
    out = io.StringIO()
    call_command(*arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def test_every_command_that_is_listed_is_there_and_every_one_of_the_gateway_is_listed() -> None:
    listed = {name for commands in command_line.COMMANDS.values() for name in commands}
    own = {name for name, app in get_commands().items() if isinstance(app, str) and app.endswith(("_app", "_project"))}
    assert own - listed == {"runserver", "apikey"}
    assert listed <= own
    text = command_line.help_text()
    assert all(f"  {name} " in text for name in listed)


def test_the_entry_point_of_the_package_is_this_command() -> None:
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, function = project["scripts"]["gateway"].partition(":")
    assert getattr(import_module(module), function) is command_line.main


def test_the_installed_command_finds_its_checkout_from_anywhere(tmp_path: Path) -> None:
    """Makes `.venv/bin/gateway` as the Makefile does, in a copy of the places that it looks at."""
    checkout = tmp_path / "a checkout"
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / "manage.py").write_text("import sys; print(sys.argv[1:])", encoding="utf-8")
    (checkout / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (checkout / "Makefile").write_bytes((settings.BASE_DIR / "Makefile").read_bytes())
    making = ["make", "-C", str(checkout), "-o", ".venv/bin/python", ".venv/bin/gateway"]
    made = subprocess.run(making, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    (tmp_path / "link").symlink_to(checkout / ".venv" / "bin" / "gateway")
    done = subprocess.run([str(tmp_path / "link"), "key", "a b"], cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "['key', 'a b']\n"


def test_every_other_command_needs_the_data_that_it_works_on() -> None:
    needing = {
        name
        for name, app in get_commands().items()
        if isinstance(app, str) and app.endswith(("_app", "_project")) and name not in WITHOUT_DATA
    }
    for name in needing:
        command = load_command_class(str(get_commands()[name]), name)
        assert isinstance(command, GatewayCommand), name
        assert command.needs_data, name


@pytest.mark.parametrize("command", ["backup copy", "key list", "createsuperuser --noinput"])
def test_a_command_in_the_wrong_directory_creates_nothing_and_says_where_it_looked(
    tmp_path: Path, command: str
) -> None:
    done = gateway(tmp_path, *command.split())
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "data") in done.stderr
    assert "Set GATEWAY_DATA_DIR to the directory that the gateway serves from" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_doctor_in_the_wrong_directory_creates_nothing(tmp_path: Path) -> None:
    done = gateway(tmp_path, "doctor", "--json")
    found = {check["check"]: check for check in json.loads(done.stdout)["checks"]}
    assert (done.returncode, found["database"]["level"]) == (1, "wrong")
    assert str(tmp_path / "data") in found["database"]["text"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["key list", "doctor"])
def test_a_database_without_tables_is_a_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    sqlite3.connect(tmp_path / "data" / "gateway.sqlite3").close()
    done = gateway(tmp_path, *command.split())
    assert done.returncode == 1
    assert "gateway prepare" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_backup_of_an_empty_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    sqlite3.connect(tmp_path / "data" / "gateway.sqlite3").close()
    done = gateway(tmp_path, "backup", "copy")
    assert (done.returncode, "is empty: no gateway was ever served from there" in done.stderr) == (1, True)
    assert not (tmp_path / "copy").exists()


def test_a_backup_says_what_it_copied_and_is_restored_into_an_empty_place_only(tmp_path: Path) -> None:
    assert gateway(tmp_path, "prepare").returncode == 0
    made = gateway(tmp_path, "backup", "copy")
    assert (made.returncode, "1 tenants, 0 sessions, 0 events and 0 files" in made.stdout) == (0, True)
    again = gateway(tmp_path, "restore", "copy")
    assert (again.returncode, "already" in again.stderr) == (1, True)
    elsewhere = {"GATEWAY_DATA_DIR": str(tmp_path / "elsewhere")}
    restored = gateway(tmp_path, "restore", "copy", **elsewhere)
    assert (restored.returncode, "1 tenants" in restored.stdout) == (0, True)
    assert (tmp_path / "elsewhere" / "secret_key").read_text() == (tmp_path / "data" / "secret_key").read_text()
    assert "default" in gateway(tmp_path, "tenant", "list", **elsewhere).stdout


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "gateway.sqlite3").write_bytes(b"no database at all" * 100)
    done = gateway(tmp_path, "restore", "copy")
    assert (done.returncode, "cannot be read" in done.stderr) == (1, True)
    assert not (tmp_path / "data").exists()


def test_the_address_of_a_start_may_be_an_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_HOST", "127.0.0.1")
    monkeypatch.setenv("GATEWAY_PORT", "4000")
    command_line.take_address(["--port", "5000", "--host=0.0.0.0"])
    assert (os.environ["GATEWAY_HOST"], os.environ["GATEWAY_PORT"]) == ("0.0.0.0", "5000")


def test_an_unknown_command_is_answered_with_the_nearest(tmp_path: Path) -> None:
    done = gateway(tmp_path, "keys")
    assert (done.returncode, "Did you mean key?" in done.stderr) == (1, True)


def test_settings_that_cannot_work_are_sentences_without_a_frameworks_frame(tmp_path: Path) -> None:
    done = gateway(tmp_path, "prepare", GATEWAY_RUNNER="elsewhere", GATEWAY_LOG_LEVEL="LOUD")
    assert done.returncode == 1
    assert sorted(line[:12] for line in done.stderr.splitlines()) == ["GATEWAY_LOG_", "GATEWAY_RUNN"]


def test_a_misspelt_setting_is_named_at_a_start(tmp_path: Path) -> None:
    done = gateway(tmp_path, "prepare", GATEWAY_DATABSE_URL="postgresql://x")
    assert done.returncode == 0
    assert "warning: GATEWAY_DATABSE_URL is not a setting. Did you mean GATEWAY_DATABASE_URL?" in done.stderr


def test_a_question_that_nobody_answers_is_a_sentence(tmp_path: Path) -> None:
    assert gateway(tmp_path, "prepare").returncode == 0
    done = gateway(tmp_path, "erase", "tenant")
    assert (done.returncode, "add --yes" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


def test_a_database_that_fails_is_a_sentence() -> None:
    class Failing(GatewayCommand):
        needs_data = False

        def handle(self, *args: Any, **options: Any) -> None:
            raise DatabaseError("connection failed: connection to server at 127.0.0.1 refused\nmore")

    with pytest.raises(CommandError) as raised:
        call_command(Failing())
    assert str(raised.value) == "The database cannot be used: connection to server at 127.0.0.1 refused."
    assert database_files.database_reason(DatabaseError("no such table: x")).startswith("no such table: x. Its schema")


@pytest.mark.django_db
def test_tenants_keys_and_people_without_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    call("tenant", "add", "acme", "rpm=30", "--name", "Acme")
    call("tenant", "set", "acme", "default_model=demo:tour", "rpm=")
    assert Tenant.objects.get(slug="acme").settings == {"default_model": "demo:tour"}
    call("tenant", "disable", "acme")
    assert Tenant.objects.get(slug="acme").disabled_at is not None
    call("tenant", "enable", "acme")
    with pytest.raises(CommandError, match=re.escape("'rmp' is not a setting of tenants. Did you mean rpm?")):
        call("tenant", "set", "acme", "rmp=3")
    with pytest.raises(CommandError, match=re.escape("There is no tenant 'acne'. Did you mean acme?")):
        call("tenant", "disable", "acne")
    assert call("key", "issue", "--tenant", "acme", "--name", "mine", "--scopes", "sessions").startswith("agw_")
    rows = json.loads(call("key", "list", "--tenant", "acme", "--json"))
    assert [(row["name"], row["state"], row["scopes"]) for row in rows] == [("mine", "active", ["sessions"])]
    call("key", "revoke", ApiKey.objects.get(name="mine").prefix)
    assert ApiKey.objects.get(name="mine").revoked_at is not None
    password = call("user", "add", "alice", "--tenant", "acme", "--staff", "--scopes", "approvals", "--generate")
    alice = User.objects.get(username="alice")
    assert (alice.check_password(password.strip()), alice.is_staff, alice.scopes) == (True, True, ["approvals"])
    with pytest.raises(CommandError, match=re.escape("Staff who are not superusers need a tenant")):
        call("user", "add", "bob", "--staff", "--generate")
    monkeypatch.setattr("sys.stdin", io.StringIO("another-long-password-1\n"))
    call("user", "password", "alice")
    call("user", "disable", "alice")
    alice.refresh_from_db()
    assert (alice.check_password("another-long-password-1"), alice.is_active) == (True, False)
    with pytest.raises(CommandError, match=re.escape("There is no user 'alicia'. Did you mean alice?")):
        call("user", "enable", "alicia")
    assert json.loads(call("usage", "report", "--json")) == []


@pytest.mark.django_db(transaction=True)
def test_providers_without_the_admin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("sk-of-the-provider\n"))
    call("provider", "add", "deepseek")
    call("provider", "add", "local", "--base-url", "http://127.0.0.1:1/v1", "--no-key", "--model", "small")
    rows = {row["name"]: row for row in json.loads(call("provider", "list", "--json"))}
    assert (rows["deepseek"]["source"], rows["deepseek"]["state"]) == ("database, shipped", "ready")
    assert (rows["local"]["state"], rows["local"]["models"]) == ("ready", ["small"])
    assert (rows["openai"]["state"], rows["openai"]["reason"]) == ("no_key", "no key (OPENAI_API_KEY)")
    assert "sk-of-the-provider" not in json.dumps(rows)
    with pytest.raises(CommandError, match=re.escape("local: no connection can be made")):
        call("provider", "test", "local")
    with pytest.raises(CommandError, match=re.escape("openai has no key: put it into .env, as OPENAI_API_KEY=")):
        call("provider", "test", "openai")
    with pytest.raises(CommandError, match=re.escape("There is no provider 'opnai'. Did you mean openai?")):
        call("provider", "test", "opnai")
    call("provider", "remove", "local")
    assert not Provider.objects.filter(name="local").exists()
