"""`.env` feeds everything that the environment feeds, and a misspelt setting is named."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.checks import run_checks

from gateway_project.configuration.checks import TAG, setting_names
from inference_app.catalogue.shipped import PROVIDERS
from tests.deploy.test_secrets_in_files import run_process

DUMP = """
import json, os
from gateway_project import settings
names = ("GATEWAY_API_KEYS", "GATEWAY_DATABASE_URL", "GATEWAY_PORT")
print(json.dumps({**{name: getattr(settings, name) for name in names}, "key": os.environ.get("DEEPSEEK_API_KEY")}))
"""


def known_with(tmp_path: Path, lines: str, **environment: str) -> dict[str, Any]:
    """Returns what a process knows whose `.env` has these lines."""
    (tmp_path / "settings").write_text(lines, encoding="utf-8")
    done = run_process(tmp_path, "-c", DUMP, GATEWAY_ENV_FILE=str(tmp_path / "settings"), **environment)
    assert done.returncode == 0, done.stderr
    known: dict[str, Any] = json.loads(done.stdout)
    return known


def test_the_file_feeds_settings_keys_of_providers_and_names_of_files(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-key-from-a-file-of-keys\n", encoding="utf-8")
    lines = f"\ufeffGATEWAY_PORT=4321\nDEEPSEEK_API_KEY=sk-mine\nGATEWAY_API_KEYS_FILE={tmp_path / 'keys'}\n"
    assert known_with(tmp_path, lines) == {
        "GATEWAY_API_KEYS": ["a-key-from-a-file-of-keys"],
        "GATEWAY_DATABASE_URL": "",
        "GATEWAY_PORT": 4321,
        "key": "sk-mine",
    }


def test_the_environment_takes_precedence_also_with_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("a-key-from-a-file-of-keys\n", encoding="utf-8")
    lines = "GATEWAY_API_KEYS=from-the-file-of-settings\nDEEPSEEK_API_KEY=sk-mine\n"
    known = known_with(tmp_path, lines, DEEPSEEK_API_KEY="sk-other", GATEWAY_API_KEYS_FILE=str(tmp_path / "keys"))
    assert (known["GATEWAY_API_KEYS"], known["key"]) == (["a-key-from-a-file-of-keys"], "sk-other")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GATEWAY_PORT=1\nthree bare words\n", "line 2: a line is NAME=value"),
        (b"\xff\xfe", "cannot be read (it is not UTF-8 text)"),
        (b"GATEWAY_DATABASE_URL_FILE=/nowhere/url\n", "GATEWAY_DATABASE_URL_FILE names '/nowhere/url'"),
    ],
)
def test_a_file_that_cannot_be_used_stops_the_start_in_one_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "settings").write_bytes(content)
    command = str(settings.BASE_DIR / "manage.py")
    done = run_process(tmp_path, command, "check", GATEWAY_ENV_FILE=str(tmp_path / "settings"))
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert said in done.stderr


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("GATEWAY_DATABSE_URL", "GATEWAY_DATABSE_URL is not a setting. Did you mean GATEWAY_DATABASE_URL?"),
        ("GATEWAY_API_KEY", "GATEWAY_API_KEY is not a setting. Did you mean GATEWAY_API_KEYS?"),
        ("GATEWAY_QQQQQQQQQQQQQQQQQ", "GATEWAY_QQQQQQQQQQQQQQQQQ is not a setting."),
    ],
)
def test_a_misspelt_setting_is_named_with_the_nearest(monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.setenv(name, "a value that is not shown")
    assert [(message.id, message.msg) for message in run_checks(tags=[TAG])] == [("gateway.W005", said)]


@pytest.mark.parametrize("name", ["GATEWAY_SERVICE_HOST", "GATEWAY_PORT_4000_TCP_ADDR", "GATEWAY_ENV_FILE"])
def test_what_platforms_add_is_no_misspelt_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, os.devnull)
    assert run_checks(tags=[TAG]) == []


def test_a_variable_that_the_configuration_names_is_no_misspelt_setting(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text("models: {providers: {mine: {api_key_env: GATEWAY_MINE}}}", encoding="utf-8")
    monkeypatch.setenv("GATEWAY_MINE", "sk-mine")
    assert run_checks(tags=[TAG]) == []


def test_the_example_lists_the_key_of_every_provider() -> None:
    example = (settings.BASE_DIR / ".env.example").read_text(encoding="utf-8")
    listed = set(re.findall(r"^# (\w+_API_KEY)=$", example, re.MULTILINE))
    assert listed - setting_names() == {str(e["api_key_env"]) for e in PROVIDERS.values() if "api_key_env" in e}
