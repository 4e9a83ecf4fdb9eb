"""A gateway in a process of its own with three kinds of callers, for tests over the network."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.stack.conftest import deployment_of
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import ROOT, GatewayProcess

STRANGER = "stranger-key-of-another-tenant"
COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Served:
    """The process, and the keys of the owner (every scope), a colleague (no scope) and a stranger (other tenant)."""

    process: GatewayProcess
    keys: dict[str, str]

    @property
    def url(self) -> str:
        return self.process.url

    def client(self, who: str = "owner", **headers: str) -> httpx.Client:
        """Returns an HTTP client with the key of a caller."""
        given = {"X-API-Key": self.keys[who], **headers}
        return httpx.Client(base_url=self.url, headers=given, timeout=COMMAND_SECONDS)


@contextmanager
def gateway_served(directory: Path, extra: Mapping[str, str] | None = None, **settings: str) -> Iterator[Served]:
    """Starts a gateway in `directory` and ends it. `extra` is added to its environment."""
    with ExitStack() as stack:
        keys = f"{KEY},{STRANGER}:rival"
        deployment = deployment_of(directory, stack, API_KEYS=keys, **settings)
        process = GatewayProcess(WithExtra(**vars(deployment), extra=dict(extra or {})))
        stack.callback(process.end)
        asyncio.run(process.start())
        yield Served(process, {"owner": KEY, "colleague": _issue(process), "stranger": STRANGER})


@dataclass(frozen=True)
class WithExtra(Deployment):
    """A deployment with more in the environment of its processes than the gateway's own settings."""

    extra: dict[str, str] = field(default_factory=dict)

    def environment(self, port: int) -> dict[str, str]:
        return super().environment(port) | self.extra


def _issue(process: GatewayProcess) -> str:
    """Issues a key without a scope, as an operator does."""
    command = [sys.executable, "manage.py", "apikey", "issue", "--name", "colleague", "--scopes", ""]
    environment = process.deployment.environment(process.port)
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=COMMAND_SECONDS
    )
    return done.stdout.strip()
