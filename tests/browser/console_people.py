"""People with roles who are signed in to the console of a deployment, before its processes start.

`people_sign_in` runs this module as a child, because the tests' own process knows no settings of the deployment.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import django
from playwright.async_api import Browser

from tests.browser.pages import DESK, View, WatchedPage, watched_page
from tests.stack.deployment import Deployment
from tests.stack.process import ROOT, GatewayProcess, free_port

ROLES = ("viewer", "reviewer", "operator", "admin")
PLATFORM = "platform"
"""The superuser, who operates the gateway."""

SECONDS = 120.0


def people_sign_in(deployment: Deployment) -> Mapping[str, str]:
    """Makes a person per role of tenant `default`, and a superuser; returns the keys of their sessions by role."""
    environment = deployment.environment(free_port()) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    command = [sys.executable, "-m", "tests.browser.console_people"]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@asynccontextmanager
async def console_page(
    browser: Browser, gateway: GatewayProcess, session_key: str, view: View | None = None, language: str = "en"
) -> AsyncIterator[WatchedPage]:
    """Opens an empty page of a person's browser."""
    shown = view or View(*DESK)
    async with watched_page(browser, gateway.url, shown, locale=language, accept_downloads=True) as watched:
        cookie = {"name": "gateway_session", "value": session_key, "url": gateway.url}
        await watched.page.context.add_cookies([cookie])  # type: ignore[list-item]  # a TypedDict of Playwright's
        yield watched


def _main() -> None:
    django.setup()
    from django.test import Client

    from tenants_app.models import Tenant, User
    from tenants_app.services.membership import role_give

    tenant = Tenant.objects.get_or_create(slug="default", defaults={"name": "Default"})[0]
    users = {role: User.objects.create_user(f"{role}-ann") for role in ROLES}
    for role, user in users.items():
        role_give(user=user, tenant=tenant, role=role)
    users[PLATFORM] = User.objects.create_superuser("platform-ann")
    keys = {}
    for role, user in users.items():
        client = Client()
        client.force_login(user)
        keys[role] = client.cookies["gateway_session"].value
    print(json.dumps(keys))


if __name__ == "__main__":
    _main()
