"""What Dockerfile, docker-compose.yml and deploy/nginx.conf say, as processes of this machine.

`make stack` starts what this reads, so the containers and the native processes cannot drift apart. What it changes is
only where things are: /secrets, /data, addresses and ports; a place that the files no longer name is an error.
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
    """The files no longer say what this module knows how to change; the text names which."""


@dataclass(frozen=True)
class Places:
    """Where the native processes keep and reach things."""

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
class Planned:
    """One process: its name, its command and everything that its environment holds beside PATH and HOME."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    health: Sequence[str] = ()


def services(variables: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """The services of docker-compose.yml, its `${NAME:-default}` filled in."""
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    filled = _VARIABLE.sub(lambda match: variables.get(match[1]) or match[2], text)
    found: dict[str, Any] = yaml.safe_load(filled)["services"]
    return found


def image() -> tuple[list[str], dict[str, str]]:
    """The image's entry point, and the GATEWAY_* settings that it sets."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    entry = re.search(r"^ENTRYPOINT (\[.*\])$", text, re.MULTILINE)
    if entry is None:
        raise Drifted("Dockerfile has no ENTRYPOINT as a list.")
    return json.loads(entry[1]), dict(re.findall(r"\b(GATEWAY_\w+)=([^\s\\]+)", text.rpartition("\nENV ")[2]))


def one_shot(name: str, places: Places) -> Planned:
    """A service that runs to its end before the others start."""
    return _planned(name, name, services()[name], places, {})


def replicas(places: Places) -> list[Planned]:
    """The web processes and the workers, each at a port of its own."""
    planned, port = [], places.port
    for name in _REPLICAS:
        service = services()[name]
        setting = "GATEWAY_WORKER_PORT" if "GATEWAY_WORKER_PORT" in service["environment"] else "GATEWAY_PORT"
        for number in range(1, service["deploy"]["replicas"] + 1):
            port += 1
            planned.append(_planned(f"{name}-{number}", name, service, places, {setting: str(port)}))
    return planned


def proxy(places: Places, web_ports: Sequence[int]) -> Planned:
    """nginx, with its configuration written for this machine."""
    (places.directory / "tls").mkdir(parents=True, exist_ok=True)
    (places.directory / "nginx").mkdir(parents=True, exist_ok=True)
    path = places.directory / "nginx.conf"
    path.write_text(proxy_configuration(places, web_ports), encoding="utf-8")
    command = [*services()["nginx"]["command"], "-c", str(path), "-p", str(places.directory), "-e", "stderr"]
    return Planned("nginx", command, {})


def proxy_configuration(places: Places, web_ports: Sequence[int]) -> str:
    """deploy/nginx.conf with this machine's addresses; a distribution's nginx cannot follow names, and need not."""
    text = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    server = re.search(r"^ *server web:4000 resolve(.*;)\n", text, re.MULTILINE)
    changes = [
        # First: the others write paths that may begin so.
        (" /tmp/", f" {places.directory}/nginx/"),
        ("listen 8080;", f"listen 127.0.0.1:{places.port};"),
        ("/etc/nginx/tls/", f"{places.directory}/tls/"),
        ("access_log /dev/stdout", f"access_log {places.directory}/logs/access.log"),
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


def _planned(name: str, of: str, service: dict[str, Any], places: Places, own: dict[str, str]) -> Planned:
    entry, of_image = image()
    command = [*service.get("entrypoint", entry), *service["command"]]
    environment = {**of_image, **service.get("environment", {}), **own}
    environment["GATEWAY_HOST"] = "127.0.0.1"
    if of in (*_REPLICAS, "migrate"):
        environment["GATEWAY_PUBLIC_URL"] = places.public_url
        extra = ROOT / "deploy" / "gateway.env"
        environment["GATEWAY_ENV_FILE"] = str(extra) if extra.exists() else os.devnull
    health = service.get("healthcheck", {}).get("test", [])
    return Planned(
        name,
        [_placed(word, places) for word in command],
        {key: _placed(value, places) for key, value in environment.items()},
        [_placed(word, places) for word in health[1:]],
    )


def _placed(word: str, places: Places) -> str:
    """A word of a container's command or environment, for this machine."""
    if word == "python":
        return sys.executable
    if word == "/data" or word.startswith("/data/"):
        return word.replace("/data", str(places.directory / "state"), 1)
    if word == "/secrets" or word.startswith("/secrets/"):
        return word.replace("/secrets", str(places.secrets), 1)
    return word
