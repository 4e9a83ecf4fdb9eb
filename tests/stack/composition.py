"""Dockerfile, docker-compose.yml and deploy/nginx.conf, translated into processes of this machine.

`make stack` starts these processes, so that they cannot drift apart from the containers. Only paths (/secrets, /data),
addresses and ports are changed; a path that the files no longer name is an error.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
_REPLICAS = ("web", "worker")


class Drifted(Exception):
    """A file no longer contains what this module changes; the text names the file."""


@dataclass(frozen=True)
class StackLayout:
    """The directory and the ports of the native processes."""

    directory: Path
    port: int
    """nginx's; the processes behind it take the ports after it."""

    @property
    def secrets(self) -> Path:
        return self.directory / "secrets"

    @property
    def public_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class PlannedProcess:
    """One process: its name, its command, its health check, and its environment apart from PATH and HOME."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    health: Sequence[str] = ()


def services(variables: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Returns the services of docker-compose.yml, with `${NAME:-default}` filled in."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    filled = _VARIABLE.sub(lambda match: variables.get(match[1]) or match[2], text)
    found: dict[str, Any] = yaml.safe_load(filled)["services"]
    return found


def image() -> tuple[list[str], dict[str, str]]:
    """Returns the image's entry point, and the GATEWAY_* settings that it sets."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    if entry is None:
        raise Drifted("Dockerfile has no ENTRYPOINT as a list.")
    return json.loads(entry[1]), dict(re.findall(r"\b(GATEWAY_\w+)=([^\s\\]+)", text.rpartition("\nENV ")[2]))


def one_shot(name: str, layout: StackLayout) -> PlannedProcess:
    """Returns a service that runs to its end before the others start."""
    return _plan(name, name, services()[name], layout, {})


def replicas(layout: StackLayout) -> list[PlannedProcess]:
    """Returns the web processes and the workers, each with a port of its own."""
    planned, port = [], layout.port
    for name in _REPLICAS:
        service = services()[name]
        setting = "GATEWAY_WORKER_PORT" if "GATEWAY_WORKER_PORT" in service["environment"] else "GATEWAY_PORT"
        for number in range(1, service["deploy"]["replicas"] + 1):
            port += 1
            planned.append(_plan(f"{name}-{number}", name, service, layout, {setting: str(port)}))
    return planned


def proxy(layout: StackLayout, web_ports: Sequence[int]) -> PlannedProcess:
    """Writes nginx's configuration for this machine, and returns its process."""
    (layout.directory / "tls").mkdir(parents=True, exist_ok=True)
    (layout.directory / "nginx").mkdir(parents=True, exist_ok=True)
    path = layout.directory / "nginx.conf"
    path.write_text(proxy_configuration(layout, web_ports), encoding="utf-8")
    command = [*services()["nginx"]["command"], "-c", str(path), "-p", str(layout.directory), "-e", "stderr"]
    return PlannedProcess("nginx", command, {})


def proxy_configuration(layout: StackLayout, web_ports: Sequence[int]) -> str:
    """Returns deploy/nginx.conf with this machine's addresses; a distribution's nginx cannot resolve names."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    server = re.search(r"^ *server web:4000 resolve(.*;)\n", text, re.MULTILINE)
    changes = [
        # First: the others write paths that may begin so.
        (" /tmp/", f" {layout.directory}/nginx/"),
        ("listen 8080;", f"listen 127.0.0.1:{layout.port};"),
        ("/etc/nginx/tls/", f"{layout.directory}/tls/"),
        ("access_log /dev/stdout", f"access_log {layout.directory}/logs/access.log"),
        ("    resolver 127.0.0.11 valid=5s ipv6=off;\n", ""),
    ]
    if server is None or any(before not in text for before, _ in changes):
        raise Drifted("deploy/nginx.conf does not have the lines that make stack changes.")
    lines = "".join(f"        server 127.0.0.1:{port}{server[1]}\n" for port in web_ports)
    text = text.replace(server[0], lines)
    for before, after in changes:
        text = text.replace(before, after)
    # As root its workers would become a user who may not write here.
    return text if os.geteuid() else f"user root;\n{text}"


def _plan(name: str, of: str, service: dict[str, Any], layout: StackLayout, own: dict[str, str]) -> PlannedProcess:
    entry, of_image = image()
    command = [*service.get("entrypoint", entry), *service["command"]]
    environment = {**of_image, **service.get("environment", {}), **own}
    environment["GATEWAY_HOST"] = "127.0.0.1"
    if of in (*_REPLICAS, "migrate"):
        environment["GATEWAY_PUBLIC_URL"] = layout.public_url
        extra = ROOT / "deploy" / "gateway.env"
        environment["GATEWAY_ENV_FILE"] = str(extra) if extra.exists() else os.devnull
    health = service.get("healthcheck", {}).get("test", [])
    return PlannedProcess(
        name,
        [_translate(word, layout) for word in command],
        {key: _translate(value, layout) for key, value in environment.items()},
        [_translate(word, layout) for word in health[1:]],
    )


def _translate(word: str, layout: StackLayout) -> str:
    """Translates a word of a container's command or environment for this machine."""
    if word == "python":
        return sys.executable
    if word == "/data" or word.startswith("/data/"):
        return word.replace("/data", str(layout.directory / "state"), 1)
    if word == "/secrets" or word.startswith("/secrets/"):
        return word.replace("/secrets", str(layout.secrets), 1)
    return word
