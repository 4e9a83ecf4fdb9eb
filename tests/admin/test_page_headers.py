"""Tests of what protects pages in a browser: the policy for scripts, and cookies that stay within https."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client

from admin_app.sign_in_throttle import KNOWN
from tenants_app.models import User
from tests.admin.conftest import CALLS, Waiting

pytestmark = pytest.mark.django_db

INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)


def policy_of(client: Client, page: str) -> dict[str, str]:
    header = client.get(page).headers["Content-Security-Policy"]
    return dict(part.strip().split(" ", 1) for part in header.split(";"))


@pytest.mark.parametrize(
    "page", ["/admin/", "/admin/login/", "/admin/nothing/", CALLS, "/admin/tenants_app/apikey/add/"]
)
def test_an_admin_page_runs_the_gateways_own_scripts_alone(root: Client, page: str) -> None:
    policy = policy_of(root, page)
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"


def test_the_docs_keep_a_policy_of_their_own(client: Client) -> None:
    policy = policy_of(client, "/docs")
    assert policy["script-src"] == "'self'"
    assert policy["form-action"] == "'none'"


def test_answers_that_are_no_pages_have_no_policy(client: Client) -> None:
    assert "Content-Security-Policy" not in client.get("/openapi.json").headers


def test_no_page_of_the_gateway_needs_an_inline_script_or_style() -> None:
    found = [
        path for path in Path(settings.BASE_DIR).glob("*_app/templates/**/*.html") if INLINE.search(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("secure", [True, False])
def test_cookies_stay_within_https_when_they_came_by_it(waiting: Waiting, secure: bool) -> None:
    User.objects.create_superuser("rita", password="pass-word-17")
    client = Client()
    page = client.get("/admin/login/", secure=secure)
    answer = client.post("/admin/login/?next=/admin/", {"username": "rita", "password": "pass-word-17"}, secure=secure)
    assert answer.status_code == 302
    cookies = {**page.cookies, **answer.cookies}
    assert {"gateway_csrf", "gateway_session", KNOWN} <= set(cookies)
    assert {name: bool(cookie["secure"]) for name, cookie in cookies.items()} == dict.fromkeys(cookies, secure)
    assert all(cookies[name]["httponly"] for name in ("gateway_csrf", "gateway_session", KNOWN))
    assert all(cookie["samesite"] == "Lax" for cookie in cookies.values())
