"""deploy/nginx-site.conf, for the nginx of a distribution: it is understood there, and passes on what the whole
configuration passes on."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

DEPLOY = settings.BASE_DIR / "deploy"
SITE = (DEPLOY / "nginx-site.conf").read_text(encoding="utf-8")
WHOLE = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
WHOLE_SITE = """pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


def block(text: str, head: str) -> list[str]:
    """Returns the directives of a block, without indentation and comments."""
    found = re.search(rf"^ *{re.escape(head)} {{\n(.*?)^ *}}", text, re.MULTILINE | re.DOTALL)
    assert found is not None, head
    return [line.strip() for line in found[1].splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("head", ["location /", "location @too_large", "location @too_many", "location @unavailable"])
def test_both_configurations_pass_requests_on_in_the_same_way(head: str) -> None:
    assert block(SITE, head) == block(WHOLE, head)


def test_it_names_the_ports_of_the_units_and_nothing_that_an_old_nginx_lacks() -> None:
    assert re.findall(r"server (127\.0\.0\.1:\d+) ", SITE) == ["127.0.0.1:4001", "127.0.0.1:4002"]
    assert not re.search(r"^[^#]*\b(resolve|resolver)\b", SITE, re.MULTILINE)


def test_nginx_understands_it(nginx: None, tmp_path: Path) -> None:
    program = shutil.which("nginx")
    assert program is not None
    (tmp_path / "site.conf").write_text(SITE.replace("/var/log/nginx", str(tmp_path)), encoding="utf-8")
    (tmp_path / "nginx.conf").write_text(WHOLE_SITE.format(directory=tmp_path), encoding="utf-8")
    done = subprocess.run(
        [program, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_command_of_the_units_has_their_settings(tmp_path: Path) -> None:
    script = (DEPLOY / "systemd" / "agent-gateway").read_text(encoding="utf-8")
    unit = (DEPLOY / "systemd" / "agent-gateway-web@.service").read_text(encoding="utf-8")
    directory = re.search(r"GATEWAY_DATA_DIR=(\S+)", unit)
    assert directory is not None
    assert f"GATEWAY_DATA_DIR={directory[1]}" in script
    assert re.search(r"^EnvironmentFile=-(\S+)$", unit, re.MULTILINE)[1] in script  # type: ignore[index]
    # In place of the parts that need an installation: what the script runs, with which variables.
    (tmp_path / "runuser").write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    (tmp_path / "runuser").chmod(0o755)
    done = subprocess.run(
        ["sh", str(DEPLOY / "systemd" / "agent-gateway"), "backup", "a b"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip().endswith("/opt/agent-gateway/.venv/bin/gateway backup a b")
