"""A provider, and a gateway that trusts it: processes, as people's browsers meet them."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from django.conf import settings

from tests.oidc.provider import Front, provider_running
from tests.project.test_serve import Served
from tests.stack.process import free_port

CLIENT_ID = "gateway-console"
KEY = "a-key-that-only-this-test-knows"
GROUPS = "acme-staff=acme:viewer,acme-ops=acme:operator,/rival/admins=rival:admin,lost=nowhere:admin"


class Deployed:
    """A running gateway and the provider that it trusts."""

    def __init__(self, served: Served, front: Front, environment: dict[str, str]) -> None:
        self.url = served.url
        self.front = front
        self.opened: list[httpx.Client] = []
        self._environment = environment

    def command(self, *arguments: str) -> str:
        """Runs a command of the gateway beside the process; returns its output."""
        done = subprocess.run(
            [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return done.stdout

    def roles(self, username: str) -> dict[str, str]:
        """Returns a person's roles by tenant, as the command line lists them."""
        people = json.loads(self.command("user", "list", "--json"))
        return next((dict(one["roles"]) for one in people if one["username"] == username), {})


_NUMBERS = count(1)


class Browser:
    """A browser that follows no redirect by itself."""

    def __init__(self, gateway: Deployed) -> None:
        self.gateway = gateway
        # Each has an address of its own, because attempts are limited by it.
        forwarded = {"X-Forwarded-For": f"198.51.{next(_NUMBERS)}.1"}
        self.http = httpx.Client(base_url=gateway.url, timeout=60, headers=forwarded)
        gateway.opened.append(self.http)

    def start(self, *, next: str = "") -> httpx.Response:
        """Presses the provider's button on the sign-in page."""
        page = self.http.get("/console/sign-in", params={"next": next} if next else {})
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token, page.text
        given = {"csrfmiddlewaretoken": html.unescape(token[1]), "next": next}
        return self.http.post("/console/oidc/start", data=given, headers={"Origin": self.gateway.url})

    def consent(self, address: str, subject: str) -> str:
        """Signs in at the provider; returns the address to which it sends the browser back."""
        answer = httpx.post(address, data={"sub": subject})
        assert answer.status_code == 302, answer.text
        return answer.headers["location"]

    def sign_in(self, subject: str, **more: Any) -> httpx.Response:
        """Does all of it; returns the gateway's last response."""
        begun = self.start(**more)
        assert begun.status_code == 302, begun.text
        return self.http.get(self.consent(begun.headers["location"], subject))

    def api(self, path: str = "/v1/sessions") -> httpx.Response:
        """Asks the API with the cookie alone."""
        return self.http.get(path, headers={"Origin": self.gateway.url})


def query_of(address: str) -> dict[str, str]:
    """Returns the query of an address."""
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """A gateway with the tenants acme and rival."""
    directory = tmp_path_factory.mktemp("oidc")
    with provider_running(directory) as front:
        given = {
            "GATEWAY_DATABASE_URL": "",
            "GATEWAY_REDIS_URL": "",
            "GATEWAY_API_KEYS": f"{KEY}-acme:acme,{KEY}-rival:rival",
            "GATEWAY_KEY_CACHE_SECONDS": "0",
            "GATEWAY_TRUSTED_PROXIES": "127.0.0.1",
            "GATEWAY_OIDC_ISSUER": front.issuer,
            "GATEWAY_OIDC_CLIENT_ID": CLIENT_ID,
            "GATEWAY_OIDC_CLIENT_SECRET": "a-secret-of-this-client",
            "GATEWAY_OIDC_GROUP_ROLES": GROUPS,
            "GATEWAY_OIDC_CONTACT": "Ask Olga, extension 42.",
        }
        served = Served(directory, free_port(), **given)
        try:
            served.announcement()
            yield Deployed(served, front, environment_of(directory, given))
        finally:
            code, log = served.stop()
        assert code == 0, log
        assert "Traceback" not in log, log


def environment_of(directory: Path, given: dict[str, str]) -> dict[str, str]:
    """Returns the environment of commands beside the process."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "gateway_project.settings",
        "GATEWAY_DATA_DIR": str(directory),
        **given,
    }


@pytest.fixture
def gateway(deployed: Deployed) -> Iterator[Deployed]:
    """The gateway, whose provider tells the truth."""
    deployed.front.alter.clear()
    deployed.front.requests.clear()
    yield deployed
    deployed.front.alter.clear()
    while deployed.opened:
        deployed.opened.pop().close()


@pytest.fixture
def browser(gateway: Deployed) -> Browser:
    """A browser without cookies."""
    return Browser(gateway)
