"""The package: what it declares, what it loads, and the older names of the RPC client."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

from gateway_client.rpc import ClientConfig, GatewayClient
from gateway_client.rpc_sync import SyncGatewayClient

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gateway_client"
HEAVY = {"httpx", "websockets", "standardwebhooks", "django", "cryptography"}


def test_its_version_is_the_gateways() -> None:
    versions = {
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
        for folder in (ROOT, PACKAGE)
    }
    assert len(versions) == 1


def test_its_import_loads_no_library_that_is_slow() -> None:
    code = "import sys, gateway_client; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert HEAVY & set(done.stdout.split()) == set()
    assert "gateway_client" in done.stdout.split()


def test_the_module_of_older_names_has_them() -> None:
    names = runpy.run_path(str(PACKAGE / "alias/gateway.py"))
    assert [names["GatewayClient"], names["SyncGatewayClient"]] == [GatewayClient, SyncGatewayClient]
    assert names["ClientConfig"] is ClientConfig


def test_every_module_is_in_the_built_package() -> None:
    built = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    assert built["packages"] == ["gateway_client"]
    assert {path.parent for path in PACKAGE.rglob("*.py")} == {PACKAGE, PACKAGE / "alias"}
    assert (PACKAGE / "py.typed").is_file()
