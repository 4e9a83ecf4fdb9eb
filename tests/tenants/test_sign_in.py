"""Tests of sign-in to the admin: limits by address and name, audit entries, no lock-out of a name's owner."""

from __future__ import annotations

import random
from typing import Any

import pytest
from django.test import Client

from admin_app import sign_in_throttle
from admin_app.sign_in_throttle import KNOWN, SignInThrottle
from core_app.proxy_watch import PROXY_WATCH
from tenants_app.models import AuditEntry, Tenant, User
from tests.tenants.hands import Hands
from tests.tenants.logged import lines

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.tenants.urls")]

PASSWORD = "pass-word-1"
PER_ADDRESS = 4
PER_NAME = 3


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """So few that no bucket refills while a slow machine runs a test: Redis' clock is not moved by hand."""
    monkeypatch.setattr(sign_in_throttle, "PER_ADDRESS", PER_ADDRESS)
    monkeypatch.setattr(sign_in_throttle, "PER_NAME", PER_NAME)
    monkeypatch.setattr(sign_in_throttle, "REDIS_SECONDS", 30.0)
    monkeypatch.setattr(sign_in_throttle.SIGN_INS, "_shared_store", None)


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    from throttled import utils

    hands = Hands()
    monkeypatch.setattr(utils, "now_mono_f", hands)
    return hands


@pytest.fixture
def root() -> User:
    """Somebody whose bucket nobody has used: Redis keeps them from one test to the next."""
    return User.objects.create_superuser(f"root-{random.getrandbits(62)}", password=PASSWORD)


def address() -> str:
    return ".".join(str(random.randrange(1, 255)) for _ in range(4))


def sign_in(client: Client, name: str, password: str = "wrong", *, at: str | None = None) -> Any:
    data = {"username": name, "password": password}
    return client.post("/admin/login/?next=/admin/", data, REMOTE_ADDR=at or address())


def test_an_address_may_guess_so_often_and_then_waits(client: Client, root: User) -> None:
    here = address()
    answers = [sign_in(client, f"somebody-{number}-{here}", at=here).status_code for number in range(PER_ADDRESS)]
    assert answers == [200] * PER_ADDRESS
    refused = sign_in(client, root.get_username(), PASSWORD, at=here)
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "too many attempts to sign in" in refused.content.decode()
    assert sign_in(client, root.get_username(), PASSWORD).status_code == 302


def test_a_name_is_guessed_so_often_from_wherever(client: Client, root: User) -> None:
    name = root.get_username()
    assert {sign_in(client, name).status_code for _ in range(PER_NAME)} == {200}
    assert sign_in(client, name.upper()).status_code == 429
    assert sign_in(client, name, PASSWORD).status_code == 429


def test_a_name_that_others_guess_is_open_to_the_browser_that_knows_it(client: Client, root: User) -> None:
    name, theirs = root.get_username(), Client()
    assert sign_in(client, name, PASSWORD).status_code == 302
    client.post("/admin/logout/")
    for _ in range(PER_NAME + 5):
        sign_in(theirs, name)
    assert sign_in(theirs, name, PASSWORD).status_code == 429
    assert sign_in(client, name, PASSWORD).status_code == 302


@pytest.mark.parametrize("mark", ["", "made-up", "WyJhIiwgImIiXQ:1a:bcd"])
def test_a_mark_that_is_not_the_gateways_is_none(client: Client, root: User, mark: str) -> None:
    for number in range(PER_NAME + 1):
        client.cookies[KNOWN] = f"{mark}{number}"
        answer = sign_in(client, root.get_username())
    assert answer.status_code == 429


def test_the_mark_of_one_name_is_none_for_another(client: Client, root: User) -> None:
    other = User.objects.create_superuser(f"other-{random.getrandbits(62)}", password=PASSWORD)
    assert sign_in(client, other.get_username(), PASSWORD).status_code == 302
    client.post("/admin/logout/")
    mark = client.cookies[KNOWN].value
    for _ in range(PER_NAME):
        sign_in(Client(), root.get_username())
    client.cookies[KNOWN] = mark
    assert sign_in(client, root.get_username(), PASSWORD).status_code == 429


def test_the_wait_ends(settings: Any, hands: Hands, client: Client, root: User) -> None:
    settings.GATEWAY_REDIS_URL = ""
    name = root.get_username()
    for _ in range(PER_NAME + 1):
        refused = sign_in(client, name)
    hands.now += int(refused.headers["Retry-After"])
    assert sign_in(client, name, PASSWORD).status_code == 302


def test_addresses_of_one_ipv6_network_are_one(client: Client, root: User) -> None:
    network = f"2001:db8:{random.randrange(1, 9999)}:{random.randrange(1, 9999)}"
    for number in range(PER_ADDRESS):
        sign_in(client, f"somebody-{number}-{network}", at=f"{network}::{number + 1:x}")
    assert sign_in(client, root.get_username(), PASSWORD, at=f"{network}::ffff").status_code == 429


def test_a_failed_sign_in_is_in_the_audit_without_its_password(client: Client, tenant: Tenant) -> None:
    name = f"ann-{random.getrandbits(62)}"
    User.objects.create_user(name, password=PASSWORD, tenant=tenant, is_staff=True)
    here = address()
    sign_in(client, name, "not-the-password", at=here)
    sign_in(client, "pass-word-in-the-wrong-field", "also-a-secret", at=here)
    known, unknown = AuditEntry.objects.filter(action="admin.login_failed").order_by("pk")
    assert (known.actor, known.target) == ("nobody", name)
    assert (known.tenant_id, known.detail) == (tenant.pk, {"address": here})
    assert (unknown.target, unknown.tenant_id, unknown.detail) == ("", None, {"address": here})


def test_refusals_are_in_the_audit_once_a_minute(client: Client, root: User) -> None:
    here = address()
    for _ in range(PER_ADDRESS + 5):
        sign_in(client, root.get_username(), at=here)
    actions = list(AuditEntry.objects.values_list("action", flat=True))
    assert actions.count("admin.login_failed") == PER_NAME
    assert actions.count("admin.login_refused") == 1


def test_two_processes_count_together_over_redis(
    settings: Any, client: Client, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not settings.GATEWAY_REDIS_URL:
        pytest.skip("the embedded deployment is one process")
    for _ in range(PER_NAME):
        sign_in(client, root.get_username())
    monkeypatch.setattr("admin_app.sign_in.SIGN_INS", SignInThrottle())
    assert sign_in(client, root.get_username(), PASSWORD).status_code == 429


def test_without_redis_each_process_counts_by_itself(
    settings: Any, client: Client, root: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_REDIS_URL = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(sign_in_throttle, "RETRY_SECONDS", 3600)
    monkeypatch.setattr("admin_app.sign_in.SIGN_INS", SignInThrottle())
    answers = [sign_in(client, root.get_username()).status_code for _ in range(PER_NAME + 1)]
    assert answers == [200] * PER_NAME + [429]


def test_a_known_browser_signs_in_from_an_address_that_others_have_used_up(client: Client, root: User) -> None:
    """As behind a proxy that is not trusted, where everybody has one address."""
    name, shared = root.get_username(), address()
    assert sign_in(client, name, PASSWORD, at=shared).status_code == 302
    client.post("/admin/logout/")
    for number in range(PER_ADDRESS + 5):
        sign_in(Client(), f"nobody-{number}-{shared}", at=shared)
    assert sign_in(Client(), name, PASSWORD, at=shared).status_code == 429
    assert sign_in(client, name, PASSWORD, at=shared).status_code == 302


def test_a_known_browser_takes_nothing_from_its_address_and_has_a_limit(client: Client, root: User) -> None:
    name, here = root.get_username(), address()
    sign_in(client, name, PASSWORD, at=address())
    client.post("/admin/logout/")
    answers = [sign_in(client, name, at=here).status_code for _ in range(PER_NAME + 1)]
    assert answers == [200] * PER_NAME + [429]
    assert sign_in(Client(), f"somebody-{here}", at=here).status_code == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "told"),
    [
        ("10.0.0.7", "203.0.113.9", True),
        ("127.0.0.1", "203.0.113.9, 10.0.0.8", True),
        ("10.0.0.7", "10.0.0.7", False),  # a trusted proxy's word, or a client that says who it is
        ("9.9.9.9", "198.51.100.1", False),
        ("10.0.0.7", "", False),
    ],
)
def test_a_private_peer_that_forwards_and_is_not_believed_is_told_of_once(
    client: Client, root: User, caplog: pytest.LogCaptureFixture, peer: str, forwarded: str, told: bool
) -> None:
    PROXY_WATCH.forget()
    for _ in range(2):
        data = {"username": f"x-{peer}-{random.getrandbits(62)}", "password": "wrong"}
        headers = {"X-Forwarded-For": forwarded} if forwarded else {}
        client.post("/admin/login/", data, REMOTE_ADDR=peer, headers=headers)
    found = [line for line in lines(caplog) if line["event"] == "proxy_not_trusted"]
    assert [line["peer"] for line in found] == ([peer] if told else [])
