"""The package: what it declares, what it loads, and the older names of the RPC client."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

from gateway_client.rpc import ClientConfig, GatewayClient
from gateway_client.rpc_sync import SyncGatewayClient

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gateway_client"
HEAVY = {"httpx", "websockets", "standardwebhooks", "django", "cryptography", "typer", "rich", "tomlkit", "yaml"}


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
    folders = {PACKAGE.parent.joinpath(*name.split(".")) for name in built["packages"]}
    assert {path.parent for path in PACKAGE.rglob("*.py")} == folders | {PACKAGE / "alias"}
    assert (PACKAGE / "py.typed").is_file()


def test_nothing_of_the_client_imports_the_command_line() -> None:
    outside = [path for path in PACKAGE.glob("*.py") if path.name != "__main__.py"]
    imports = [line for path in outside for line in path.read_text(encoding="utf-8").splitlines() if "import" in line]
    assert [line for line in imports if "gateway_client.cli" in line.replace("gateway_client.client", "")] == []


def test_without_its_libraries_the_command_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None; import gateway_client.__main__ as main; main.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "agent-gateway-client[cli]" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_installs_the_command(tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    (checkout / ".venv/bin").mkdir(parents=True)
    (checkout / "Makefile").symlink_to(ROOT / "Makefile")
    (checkout / "gateway_client").symlink_to(PACKAGE)
    launcher = f'#!/bin/sh\nexec "{sys.executable}" "$@"\n'
    (checkout / ".venv/bin/python").write_text(launcher, encoding="utf-8")
    (checkout / ".venv/bin/python").chmod(0o755)
    subprocess.run(["make", "-s", ".venv/bin/agent-gateway"], cwd=checkout, check=True, timeout=60)
    (tmp_path / "typer.py").write_text("raise SystemExit('a module of the directory was imported')", encoding="utf-8")
    done = subprocess.run(
        [checkout / ".venv/bin/agent-gateway", "config", "path"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"{tmp_path}/.config/agent-gateway/config.toml\n", "")
