"""An embedded start imports neither the libraries of a distributed one nor those that few requests need."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from django.conf import settings

from gateway_project.process.lean_imports import absent

NEVER = {"drf_spectacular", "psycopg", "pydantic_ai", "redis", "requests", "rich", "twisted"}
SHOWN = "import sys, gateway_project.asgi; print(*{name.partition('.')[0] for name in sys.modules})"


def test_an_embedded_start_loads_nothing_that_it_has_no_use_for(tmp_path: Path) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    environment |= {"GATEWAY_ENV_FILE": os.devnull, "GATEWAY_DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", SHOWN]
    shown = subprocess.run(
        command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert shown.returncode == 0, shown.stderr
    loaded = set(shown.stdout.split())
    assert {"aiohttp", "rest_framework", "throttled"} <= loaded
    assert loaded & NEVER == set()


def test_what_is_hidden_from_one_library_is_there_for_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "this", raising=False)
    with absent("this", "json"):
        assert import_module("json")
        with pytest.raises(ModuleNotFoundError):
            import_module("this")
    assert "this" not in sys.modules


def test_agents_reach_providers_without_the_libraries_of_vendors() -> None:
    shown = "import sys, django; django.setup(); import agents_app.model, agents_app.demo; print(*sys.modules)"
    environment = {"PATH": os.environ["PATH"], "GATEWAY_ENV_FILE": os.devnull}
    environment["DJANGO_SETTINGS_MODULE"] = "gateway_project.settings"
    command = [sys.executable, "-c", shown]
    loaded = subprocess.run(
        command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=True, timeout=120
    ).stdout.split()
    assert "pydantic_ai" in loaded
    assert not {"openai", "anthropic"} & set(loaded)
