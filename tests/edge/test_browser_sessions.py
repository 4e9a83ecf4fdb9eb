"""Signed-in people's browsers at the API: a session's cookie in place of a key, from the gateway's own pages alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.test import Client as Browser
from django.utils.crypto import get_random_string

from core_app import clock, database
from gateway_project.asgi import application
from tenants_app.models import AuditEntry, Membership, Tenant, User
from tenants_app.services.membership import role_give
from tenants_app.services.user import user_enable
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness, api, gateway

__all__ = ["api", "gateway"]

pytestmark = pytest.mark.django_db(transaction=True)

OWN = {"origin": "http://gateway.test"}
CSRF = get_random_string(32)


class Page(Client):
    """A page of the gateway in a browser that is signed in."""

    def __init__(self, session_key: str, **headers: str) -> None:
        super().__init__(None)
        self.cookies = f"gateway_session={session_key}; gateway_csrf={CSRF}"
        self._headers = {"cookie": self.cookies, "x-csrftoken": CSRF, **OWN, **headers}


def signed_in(user: User) -> str:
    """Returns the key of a new session of the person."""
    browser = Browser()
    browser.force_login(user)
    return str(browser.cookies["gateway_session"].value)


def person_made(tenant: Tenant, role: str, name: str = "ann") -> tuple[User, str]:
    user = User.objects.create_user(name, password="pass-word-17")
    role_give(user=user, tenant=tenant, role=role)
    return user, signed_in(user)


@pytest.fixture
async def operator(gateway: GatewayHarness, tenant: Tenant) -> Page:
    return Page((await database.run(person_made, tenant, "operator"))[1])


async def test_a_page_uses_the_api_as_its_person(operator: Page, tenant: Tenant) -> None:
    session = await operator.session()
    run = await operator.run(session, "hello")
    assert run["status"] == "completed"
    listed = (await operator.get("/v1/sessions")).json["sessions"]
    assert [one["sessionId"] for one in listed] == [session]


async def test_acts_of_a_page_are_recorded_under_the_persons_name(operator: Page, tenant: Tenant) -> None:
    made = await operator.post("/v1/webhooks", {"url": "https://example.com/hook", "events": ["agent_end"]})
    assert made.status == 201, made.body
    actors = await database.run(lambda: set(AuditEntry.objects.filter(tenant=tenant).values_list("actor", flat=True)))
    assert "user:ann" in actors


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://gateway.test"},
        {"origin": "http://gateway.test:81"},
        {"origin": "http://evil.test"},
        {"origin": "null"},
        {"origin": ""},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_nothing_of_another_origin_is_served(operator: Page, headers: dict[str, str]) -> None:
    for method, path in (("GET", "/v1/sessions"), ("POST", "/v1/sessions"), ("GET", "/tasks")):
        answer = await operator.ask(method, path, {"model": "demo:echo"}, headers=headers)
        assert answer.status == 403, (method, answer.body)


async def test_changes_need_the_token_and_an_origin(operator: Page) -> None:
    body = {"model": "demo:echo"}
    for token in ("", get_random_string(32), CSRF[:-1], "x" * 5000):
        refused = await operator.post("/v1/sessions", body, headers={"x-csrftoken": token})
        assert (refused.error, refused.field) == ((403, "forbidden"), "X-CSRFToken")
    del operator._headers["origin"]
    assert (await operator.post("/v1/sessions", body)).field == "Origin"
    assert (await operator.post("/v1/sessions", body, headers={"sec-fetch-site": "none"})).field == "Origin"
    assert (await operator.get("/v1/sessions")).status == 200
    assert (await operator.post("/v1/sessions", body, headers={"sec-fetch-site": "same-origin"})).status == 201


async def test_a_key_wins_over_the_cookie(operator: Page, stranger: Caller) -> None:
    session = await operator.session()
    foreign = {"origin": "https://elsewhere.test", "x-csrftoken": ""}
    answer = await operator.get(f"/v1/sessions/{session}", headers={**stranger.headers, **foreign})
    assert answer.error == (404, "session_not_found")
    assert (await operator.get("/v1/sessions", headers={"x-api-key": "agw_wrong"})).status == 401


async def test_an_unknown_session_is_told_to_sign_in(gateway: GatewayHarness) -> None:
    for key in ("x" * 32, "nothing", "é" * 32, "x" * 5000):
        answer = await Page(key).get("/v1/sessions")
        assert answer.error == (401, "unauthorized")


WRITES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/v1/sessions", {"model": "demo:echo"}),
    ("PATCH", "/v1/sessions/{id}", {"title": "t"}),
    ("DELETE", "/v1/sessions/{id}", {}),
    ("POST", "/v1/sessions/{id}/prompt", {"text": "hello"}),
    ("POST", "/v1/sessions/{id}/abort", {}),
    ("POST", "/v1/sessions/{id}/steer", {"text": "left"}),
    ("POST", "/v1/sessions/{id}/switch_model", {"model": "demo:tour"}),
    ("POST", "/v1/sessions/{id}/fork", {"messageId": "m"}),
    ("POST", "/v1/sessions/{id}/tools", {"name": "t"}),
    ("DELETE", "/v1/sessions/{id}/tools/t", {}),
    ("POST", "/v1/sessions/{id}/tools/t/test", {}),
    ("POST", "/v1/sessions/{id}/tool-results", {"callId": "c", "result": "r"}),
    ("POST", "/v1/webhooks", {"url": "https://example.com"}),
    ("POST", "/tasks", {"payload": {"task": "t"}}),
    ("POST", "/spaces", {}),
    ("POST", "/broadcast", {"type": "t"}),
    ("POST", "/v1/chat/completions", {"model": "demo:echo", "messages": []}),
    ("POST", "/agents", {"id": "a"}),
)
DECISIONS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("POST", "/v1/sessions/{id}/approve", {"approvalId": "a"}),
    ("POST", "/v1/sessions/{id}/reject", {"approvalId": "a"}),
    ("POST", "/v1/sessions/{id}/respond", {"ref": "a", "response": "r"}),
)
READS = ("", "/messages", "/stats", "/status", "/runs", "/tools", "/events?format=json")


async def test_a_viewer_reads_and_changes_nothing(operator: Page, tenant: Tenant) -> None:
    session = await operator.session()
    await operator.run(session, "hello")
    viewer = Page((await database.run(person_made, tenant, "viewer", "vic"))[1])
    for path in READS:
        assert (await viewer.get(f"/v1/sessions/{session}{path}")).status == 200, path
    for path in ("/v1/sessions", "/v1/usage", "/agents", "/tasks"):
        assert (await viewer.get(path)).status == 200, path
    async with viewer.events(session, since=0) as reader:
        assert (await reader.next()).event == "prompt_received"
    for method, path, body in (*WRITES, *DECISIONS):
        answer = await viewer.ask(method, path.format(id=session), body)
        assert answer.status == 403, (method, path, answer.body)


async def test_a_reviewer_decides_and_does_nothing_else(operator: Page, tenant: Tenant) -> None:
    session = await operator.session()
    reviewer = Page((await database.run(person_made, tenant, "reviewer", "rev"))[1])
    for method, path, body in DECISIONS:
        assert (await reviewer.ask(method, path.format(id=session), body)).status == 404, path
    for method, path, body in WRITES:
        assert (await reviewer.ask(method, path.format(id=session), body)).status == 403, path


async def test_an_operator_lacks_what_administrators_have(operator: Page) -> None:
    session = await operator.session()
    assert (await operator.delete(f"/v1/sessions/{session}?purge=true")).status == 403
    assert (await operator.get("/model-gateway/stats")).status == 403


Ending = Callable[[User, Tenant], Any]


def _disabled(user: User, tenant: Tenant) -> None:
    user_enable(user=user, enabled=False)


def _password(user: User, tenant: Tenant) -> None:
    user.set_password("another-word-18")
    user.save()


def _role_taken(user: User, tenant: Tenant) -> None:
    Membership.objects.filter(user=user).delete()


def _tenant_disabled(user: User, tenant: Tenant) -> None:
    Tenant.objects.filter(pk=tenant.pk).update(disabled_at=clock.now())


@pytest.mark.parametrize("ending", [_disabled, _password, _role_taken, _tenant_disabled])
async def test_what_is_open_ends_with_the_person(
    gateway: GatewayHarness, tenant: Tenant, settings: Any, ending: Ending
) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    user, key = await database.run(person_made, tenant, "operator")
    page = Page(key)
    session = await page.session()
    async with page.events(session, follow="session") as reader:
        await reader.until(lambda: reader.heartbeats)
        await database.run(ending, user, tenant)
        await reader.end()
    assert (await page.get("/v1/sessions")).status == 401


async def test_signing_out_ends_what_is_open(gateway: GatewayHarness, tenant: Tenant, settings: Any) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    browser = Browser()
    user = (await database.run(person_made, tenant, "operator"))[0]
    await database.run(browser.force_login, user)
    page = Page(str(browser.cookies["gateway_session"].value))
    session = await page.session()
    token = (await page.post(f"/v1/sessions/{session}/stream-token")).json["token"]
    stranger = gateway.client(None)
    async with page.events(session, follow="session") as reader, stranger.events(session, token=token) as by_token:
        await database.run(browser.post, "/console/sign-out")
        await reader.end()
        await by_token.end()
    assert (await page.get("/v1/sessions")).status == 401
    async with stranger.events(session, token=token) as refused:
        assert refused.status == 401


async def _socket(page: Page, session: str, **headers: str) -> WebsocketCommunicator:
    shown = {**page._headers, **headers}
    given = [(b"host", b"gateway.test"), *((name.encode(), value.encode()) for name, value in shown.items())]
    return WebsocketCommunicator(application, f"/v1/sessions/{session}/ws", headers=given)


async def test_a_socket_acts_as_the_person(operator: Page, tenant: Tenant) -> None:
    session = await operator.session()
    socket = await _socket(operator, session)
    assert (await socket.connect(timeout=30))[0]
    await socket.send_json_to({"action": "prompt", "text": "hello"})
    assert (await socket.receive_json_from(timeout=30))["ok"]
    await socket.disconnect()
    viewer = Page((await database.run(person_made, tenant, "viewer", "vic"))[1])
    socket = await _socket(viewer, session)
    assert (await socket.connect(timeout=30))[0]
    await socket.send_json_to({"action": "prompt", "text": "hello"})
    refused = await socket.receive_json_from(timeout=30)
    assert (refused["ok"], refused["error"]) == (False, "forbidden")
    await socket.disconnect()


async def test_a_socket_of_another_origin_is_refused(operator: Page) -> None:
    session = await operator.session()
    foreign = await _socket(operator, session, origin="http://evil.test")
    assert not (await foreign.connect(timeout=30))[0]
    del operator._headers["origin"]
    silent = await _socket(operator, session)
    assert not (await silent.connect(timeout=30))[0]


async def test_a_person_works_in_the_tenant_that_was_chosen(
    gateway: GatewayHarness, tenant: Tenant, other_tenant: Tenant, settings: Any
) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    browser = Browser()
    user = (await database.run(person_made, tenant, "operator"))[0]
    await database.run(lambda: role_give(user=user, tenant=other_tenant, role="viewer"))
    await database.run(browser.force_login, user)
    key = str(browser.cookies["gateway_session"].value)
    first = min(tenant.slug, other_tenant.slug)
    second = max(tenant.slug, other_tenant.slug)
    page = Page(key, **{"x-gateway-tenant": first})
    assert (await page.get("/v1/sessions")).status == 200
    switched = await database.run(browser.post, "/console/tenant", {"tenant": second, "next": "//evil.test/"})
    assert (switched.status_code, switched["Location"]) == (302, "/console/")
    assert (await page.get("/v1/sessions")).error == (409, "conflict")
    assert (await Page(key, **{"x-gateway-tenant": second}).get("/v1/sessions")).status == 200
    unknown = await database.run(browser.post, "/console/tenant", {"tenant": "nobodys"})
    assert unknown.status_code == 404


async def test_people_from_before_there_were_roles_keep_what_they_had(gateway: GatewayHarness, tenant: Tenant) -> None:
    def made() -> str:
        user = User.objects.create_user("old", password="pass-word-17", tenant=tenant, scopes=["sessions"])
        return signed_in(user)

    page = Page(await database.run(made))
    session = await page.session()
    assert (await page.run(session, "hello"))["status"] == "completed"
    assert (await page.get("/v1/usage")).status == 403


async def test_a_superuser_may_choose_any_tenant(gateway: GatewayHarness, tenant: Tenant, other_tenant: Tenant) -> None:
    browser = Browser()

    def sign_in(slug: str) -> Any:
        user = User.objects.filter(username="root").first() or User.objects.create_superuser("root", password="x" * 20)
        browser.force_login(user)
        return browser.post("/console/tenant", {"tenant": slug})

    for slug in (tenant.slug, other_tenant.slug):
        await database.run(sign_in, slug)
        key = str(browser.cookies["gateway_session"].value)
        assert (await Page(key, **{"x-gateway-tenant": slug}).get("/v1/sessions")).status == 200


async def test_requests_with_keys_never_look_for_a_browser(
    api: Client, operator: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*args: Any) -> None:
        raise AssertionError

    monkeypatch.setattr("edge_app.gate.gate.browser_principal", never)
    monkeypatch.setattr("edge_app.gate.gate.session_cookie", never)
    assert (await api.get("/v1/sessions", headers={"cookie": operator.cookies})).status == 200
