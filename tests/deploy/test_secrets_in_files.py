"""Secrets in files (`GATEWAY_…_FILE`, `OPENAI_API_KEY_FILE`), read by a real process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from gateway_project.configuration.environment import SECRETS
from inference_app.catalogue.config import ProviderEntry
from tools_app.mcp.definitions import environment_of, headers_of

VALUES = {
    "GATEWAY_API_KEYS": "first-key\nsecond-key:acme\n",
    "GATEWAY_SECRET_KEY": "signed-with-this\n",
    "GATEWAY_SECRET_KEY_FALLBACKS": "formerly-this\nbefore-that\n",
    "GATEWAY_DATABASE_URL": "postgresql://gateway:from-a-file@127.0.0.1/gateway\n",
    "GATEWAY_REDIS_URL": "redis://:from-a-file@127.0.0.1/3\n",
    "GATEWAY_PASSWORD": "of-the-gateway\n",
    "GATEWAY_INTERNAL_API_KEY": "of-a-runtime\nof-another:acme\n",
    "GATEWAY_OIDC_CLIENT_SECRET": "of-the-identity-provider\n",
}
DUMP = """
import json
from gateway_project import settings
print(json.dumps({name: getattr(settings, name) for name in (
    "GATEWAY_API_KEYS", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "GATEWAY_DATABASE_URL", "GATEWAY_REDIS_URL",
    "GATEWAY_PASSWORD", "GATEWAY_INTERNAL_API_KEY", "GATEWAY_OIDC_CLIENT_SECRET")}))
"""


def run_process(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs Python with no GATEWAY_* variables but `variables`."""
    base = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    base |= {"GATEWAY_ENV_FILE": os.devnull, "GATEWAY_DATA_DIR": str(directory / "data")}
    base |= {"PYTHONPATH": str(settings.BASE_DIR), "DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    return subprocess.run(
        [sys.executable, *arguments], env=base | variables, cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The variable `<setting>_FILE` for every secret setting."""
    for name, value in VALUES.items():
        (tmp_path / name.lower()).write_text(value, encoding="utf-8")
    return {f"{name}_FILE": str(tmp_path / name.lower()) for name in VALUES}


def test_every_secret_setting_is_taken_from_its_file(tmp_path: Path, files: dict[str, str]) -> None:
    assert set(SECRETS) == set(VALUES)
    assert json.loads(run_process(tmp_path, "-c", DUMP, **files).stdout) == {
        "GATEWAY_API_KEYS": ["first-key", "second-key:acme"],
        "SECRET_KEY": "signed-with-this",
        "SECRET_KEY_FALLBACKS": ["formerly-this", "before-that"],
        "GATEWAY_DATABASE_URL": "postgresql://gateway:from-a-file@127.0.0.1/gateway",
        "GATEWAY_REDIS_URL": "redis://:from-a-file@127.0.0.1/3",
        "GATEWAY_PASSWORD": "of-the-gateway",
        "GATEWAY_INTERNAL_API_KEY": ["of-a-runtime", "of-another:acme"],
        "GATEWAY_OIDC_CLIENT_SECRET": "of-the-identity-provider",
    }


def test_the_environment_goes_before_a_file(tmp_path: Path, files: dict[str, str]) -> None:
    result = run_process(tmp_path, "-c", DUMP, **files, GATEWAY_REDIS_URL="redis://127.0.0.1/7", GATEWAY_SECRET_KEY="")
    known = json.loads(result.stdout)
    assert (known["GATEWAY_REDIS_URL"], known["SECRET_KEY"]) == ("redis://127.0.0.1/7", "signed-with-this")


def test_a_secret_file_that_is_missing_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    result = run_process(tmp_path, str(settings.BASE_DIR / "manage.py"), "check", GATEWAY_SECRET_KEY_FILE=missing)
    assert result.returncode == 1
    assert result.stderr == (
        f"GATEWAY_SECRET_KEY_FILE names '{missing}', which cannot be read (No such file or directory).\n"
    )


def provider() -> ProviderEntry:
    return ProviderEntry(base_url="https://models.invalid/v1", api_key_env="DEPLOY_TEST_KEY")


def test_a_providers_key_is_taken_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-from-a-file\n")
    assert provider().key is None
    monkeypatch.setenv("DEPLOY_TEST_KEY_FILE", str(tmp_path / "key"))
    assert (provider().key, provider().usable) == ("sk-from-a-file", True)


def test_a_provider_whose_key_file_is_missing_is_not_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOY_TEST_KEY_FILE", str(tmp_path / "nowhere"))
    assert (provider().key, provider().usable) == (None, False)


def test_what_a_tool_server_is_passed_may_stand_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("token-from-a-file\n")
    monkeypatch.setenv("DEPLOY_TEST_TOKEN_FILE", str(tmp_path / "token"))
    assert environment_of({"env_from": ["DEPLOY_TEST_TOKEN"]}) == {"DEPLOY_TEST_TOKEN": "token-from-a-file"}
    assert headers_of({"headers_env": {"Authorization": "DEPLOY_TEST_TOKEN"}}) == {"Authorization": "token-from-a-file"}
