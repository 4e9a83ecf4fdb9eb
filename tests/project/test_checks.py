"""The checks of the settings have stable ids, which the documentation lists."""

from __future__ import annotations

import ast
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks
from django.test import override_settings

from gateway_project.configuration.checks import TAG

EMBEDDED = {"GATEWAY_DATABASE_URL": "", "GATEWAY_REDIS_URL": "", "GATEWAY_RUNNER": "inline"}
POSTGRESQL, REDIS = "postgresql://postgres@127.0.0.1/gateway", "redis://127.0.0.1:6379/0"


def ids(**changed: Any) -> list[str | None]:
    with override_settings(**{**EMBEDDED, **changed}):
        return [message.id for message in run_checks(tags=[TAG])]


def test_the_defaults_pass() -> None:
    assert ids() == []


def test_a_distributed_deployment_with_workers_passes() -> None:
    assert ids(GATEWAY_DATABASE_URL=POSTGRESQL, GATEWAY_REDIS_URL=REDIS, GATEWAY_RUNNER="worker") == []


@pytest.mark.parametrize(
    ("check", "changed"),
    [
        ("gateway.E001", {"GATEWAY_DATABASE_URL": POSTGRESQL, "GATEWAY_REDIS_URL": "http://127.0.0.1"}),
        ("gateway.E002", {"GATEWAY_RUNNER": "elsewhere"}),
        ("gateway.E003", {"GATEWAY_RUNNER": "worker"}),
        ("gateway.E004", {"GATEWAY_RUNNER": "worker", "GATEWAY_DATABASE_URL": POSTGRESQL}),
        ("gateway.E005", {"GATEWAY_SYNCHRONOUS": "OFF"}),
        ("gateway.E006", {"GATEWAY_LOG_LEVEL": "LOUD"}),
        ("gateway.E007", {"GATEWAY_LOG_FORMAT": "xml"}),
        ("gateway.E008", {"GATEWAY_PORT": 65_536}),
        ("gateway.E008", {"GATEWAY_EXTRA_PORTS": [4001, 4001]}),
        ("gateway.E009", {"GATEWAY_MAX_RUNS": 0}),
        ("gateway.E009", {"GATEWAY_RATE_LIMIT_RPM": -1}),
        ("gateway.E009", {"GATEWAY_DRAIN_SECONDS": -1.0}),
        ("gateway.E001", {"GATEWAY_DATABASE_URL": POSTGRESQL, "GATEWAY_REDIS_URL": "redis://127.0.0.1:port/0"}),
        ("gateway.E001", {"GATEWAY_DATABASE_URL": POSTGRESQL, "GATEWAY_REDIS_URL": "redis://:pass/word@127.0.0.1/0"}),
        ("gateway.E001", {"GATEWAY_DATABASE_URL": POSTGRESQL, "GATEWAY_REDIS_URL": "redis://:password@[::1/0"}),
        ("gateway.E012", {"GATEWAY_TRUSTED_PROXIES": ["127.0.0.1", "10.0.0.0/8", "proxy"]}),
        ("gateway.E013", {"GATEWAY_CORS_ORIGINS": ["https://app.example.com/"]}),
        ("gateway.E013", {"GATEWAY_CORS_ORIGINS": ["app.example.com"]}),
        ("gateway.E014", {"GATEWAY_PUBLIC_URL": "gateway.example.com"}),
        ("gateway.E015", {"GATEWAY_CONFIG": Path("/nowhere/gateway.yaml")}),
        ("gateway.E016", {"GATEWAY_ENGINES": ["shout"]}),
        ("gateway.E016", {"GATEWAY_ENGINES": ["shout=no.such.module"]}),
        ("gateway.E017", {"GATEWAY_GUARDRAILS": ["no.such.module:Guardrail"]}),
        ("gateway.E009", {"GATEWAY_TENANT_RATE_LIMIT_RPM": -1}),
        ("gateway.E018", {"SECRET_KEY": "x"}),
        ("gateway.E018", {"SECRET_KEY": "x" * 31}),
        ("gateway.W003", {"GATEWAY_API_KEYS": ["my-key:acme", "a-key-of-enough-characters"]}),
        ("gateway.W001", {"GATEWAY_REDIS_URL": REDIS}),
    ],
)
def test_what_cannot_work_is_named(check: str, changed: dict[str, Any]) -> None:
    assert ids(**changed) == [check]


def test_a_certificate_needs_its_key_and_both_must_be_there(tmp_path: Path) -> None:
    there = tmp_path / "certificate.pem"
    there.write_text("neither")
    assert ids(GATEWAY_TLS_CERT_FILE=str(there)) == ["gateway.E010"]
    assert ids(GATEWAY_TLS_CERT_FILE=str(there), GATEWAY_TLS_KEY_FILE=str(tmp_path / "gone")) == ["gateway.E010"]
    assert ids(GATEWAY_TLS_CERT_FILE=str(there), GATEWAY_TLS_KEY_FILE=str(there)) == ["gateway.E010"]


def test_what_proxies_origins_and_engines_may_be_passes() -> None:
    assert (
        ids(
            GATEWAY_TRUSTED_PROXIES=["127.0.0.1", "::1", "10.0.0.0/8"],
            GATEWAY_CORS_ORIGINS=["*", "null", "https://app.example.com", "http://localhost:5173"],
            GATEWAY_PUBLIC_URL="https://gateway.example.com",
            GATEWAY_ENGINES=["tour=agents_app.demo"],
            GATEWAY_GUARDRAILS=["agents_app.guardrails:BannedWords"],
        )
        == []
    )


def test_every_check_is_documented() -> None:
    source = (settings.BASE_DIR / "gateway_project" / "configuration" / "checks.py").read_text(encoding="utf-8")
    raised = {
        keyword.value.value
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "id" and isinstance(keyword.value, ast.Constant)
    }
    page = (settings.BASE_DIR / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert raised == set(re.findall(r"^\| `(gateway\.[EW]\d+)`", page, re.MULTILINE))


def test_a_message_about_secrets_contains_none() -> None:
    with override_settings(**{**EMBEDDED, "SECRET_KEY": "tell-nobody", "GATEWAY_API_KEYS": ["hush"]}):
        texts = " ".join(str(message.msg) for message in run_checks(tags=[TAG]))
    assert "11 characters" in texts
    assert "tell-nobody" not in texts
    assert "hush" not in texts


@pytest.mark.parametrize(("mode", "found"), [(0o700, []), (0o755, ["gateway.W004"]), (0o710, ["gateway.W004"])])
def test_a_data_directory_that_others_may_enter_is_named(tmp_path: Path, mode: int, found: list[str]) -> None:
    tmp_path.chmod(mode)
    assert ids(GATEWAY_DATA_DIR=tmp_path) == found
    distributed = {"GATEWAY_DATABASE_URL": POSTGRESQL, "GATEWAY_REDIS_URL": REDIS}
    # Then only a generated secret key is in it.
    assert ids(GATEWAY_DATA_DIR=tmp_path, **distributed) == []
    (tmp_path / "secret_key").write_text("x")
    assert ids(GATEWAY_DATA_DIR=tmp_path, **distributed) == found


def test_what_a_command_creates_is_its_users_own(tmp_path: Path) -> None:
    """Also in a directory that was there before, open to everybody, and under a wide umask."""
    directory = tmp_path / "data"
    directory.mkdir(mode=0o755)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")},
        "GATEWAY_DATA_DIR": str(directory),
        "GATEWAY_ENV_FILE": os.devnull,
        "DJANGO_SETTINGS_MODULE": "gateway_project.settings",
    }
    command = ["sh", "-c", f"umask 022; exec {sys.executable} {settings.BASE_DIR / 'manage.py'} prepare"]
    subprocess.run(command, env=environment, cwd=tmp_path, check=True, capture_output=True)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert {"gateway.sqlite3", "secret_key"} <= set(modes)
    assert {name for name, mode in modes.items() if mode & 0o077} == set()


def test_a_provider_of_identities_needs_its_client_and_good_roles(settings: Any) -> None:
    settings.GATEWAY_OIDC_ISSUER = "id.example.com"
    settings.GATEWAY_OIDC_GROUP_ROLES = ["staff=acme:viewer", "staff=acme:king"]
    found = {message.id: message.msg for message in run_checks(tags=[TAG])}
    assert {"gateway.E023", "gateway.E024"} <= found.keys()
    assert "'staff=acme:king'" in found["gateway.E024"]
    settings.GATEWAY_OIDC_ISSUER, settings.GATEWAY_OIDC_CLIENT_ID = "https://id.example.com", "gateway"
    settings.GATEWAY_OIDC_GROUP_ROLES = ["cn=staff,ou=x=acme:viewer"]
    assert not {"gateway.E023", "gateway.E024"} & {message.id for message in run_checks(tags=[TAG])}
