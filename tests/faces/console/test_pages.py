"""Pages as a browser without scripts gets them: who may see them, their headers, languages, errors and escaping."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from faces.console.registry import PAGES
from faces.console.rendering import HEADERS
from sessions_app.models import AgentSession, Run
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.authentication import principal_for_user
from tenants_app.models import Tenant, User
from tenants_app.principal import Principal
from tenants_app.services.membership import role_give

pytestmark = pytest.mark.django_db(transaction=True)

EVIL = "<script>alert(1)</script>"
SignIn = Callable[..., Client]


@pytest.fixture
def sign_in(tenant: Tenant) -> SignIn:
    """Signs a new person of a role in."""

    def sign(role: str | None = "operator", name: str = "ann") -> Client:
        user = User.objects.create_user(name, password="pass-word-17")
        if role is not None:
            role_give(user=user, tenant=tenant, role=role)
        client = Client(raise_request_exception=False)
        client.force_login(user)
        return client

    return sign


@pytest.fixture
def principal(tenant: Tenant) -> Principal:
    """Somebody who writes sessions."""
    user = User.objects.create_user("writer", tenant=tenant, scopes=["sessions"])
    return principal_for_user(user)


def made(principal: Principal, session_id: str, title: str | None = None) -> AgentSession:
    return session_create(
        principal=principal, request=SessionRequest(model="demo:echo", public_id=session_id, title=title)
    )


def test_a_stranger_is_led_to_the_sign_in_and_back() -> None:
    for path in ("/console", "/console/sessions", "/console/sessions/one?x=1", "/console/nothing"):
        response = Client().get(path)
        assert response.status_code == 302
        assert response["Location"].startswith("/console/sign-in?next=%2Fconsole")


def test_the_console_begins_with_the_first_page_of_a_role(sign_in: SignIn) -> None:
    assert sign_in("viewer").get("/console")["Location"] == "/console/sessions"


@pytest.mark.parametrize("path", ["/console/sessions", "/console/inbox", "/console/nothing", "/console/sessions/none"])
def test_every_page_is_protected_by_its_headers(sign_in: SignIn, path: str) -> None:
    response = sign_in().get(path)
    assert {name: response.headers[name] for name in HEADERS} == HEADERS
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    page = response.content.decode()
    assert "<style" not in page
    assert " style=" not in page
    assert page.count("<script") == page.count('type="module"') + page.count('type="application/json"')


@pytest.mark.parametrize(("role", "inbox"), [("viewer", 403), ("reviewer", 200), ("operator", 200), ("admin", 200)])
def test_a_role_sees_its_pages(sign_in: SignIn, role: str, inbox: int) -> None:
    client = sign_in(role)
    page = client.get("/console/sessions").content.decode()
    assert ('href="/console/inbox"' in page) is (inbox == 200)
    assert client.get("/console/inbox").status_code == inbox


def test_a_person_without_a_tenant_gets_a_page_that_says_so(sign_in: SignIn) -> None:
    assert sign_in(None).get("/console/sessions").status_code == 403


def test_sessions_of_another_tenant_do_not_exist(sign_in: SignIn, other_tenant: Tenant) -> None:
    user = User.objects.create_user("rival", tenant=other_tenant, scopes=["sessions"])
    made(principal_for_user(user), "secret", title="Their plans")
    client = sign_in()
    assert "Their plans" not in client.get("/console/sessions").content.decode()
    foreign, unknown = client.get("/console/sessions/secret"), client.get("/console/sessions/none")
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    assert (
        foreign.content.decode().replace("secret", "none").split("<main")[1]
        == unknown.content.decode().split("<main")[1]
    )


def test_the_list_is_paged_by_key_and_keeps_its_filter(sign_in: SignIn, principal: Principal) -> None:
    for number in range(55):
        made(principal, f"s{number:02}", title="wanted" if number != 54 else "other")
    client = sign_in()
    first = client.get("/console/sessions?search=wanted")
    assert [row["sessionId"] for row in first.context["rows"]] == [f"s{number:02}" for number in range(53, 3, -1)]
    second = client.get(f"/console/sessions?{first.context['older']}")
    assert [row["sessionId"] for row in second.context["rows"]] == ["s03", "s02", "s01", "s00"]
    assert second.context["older"] == ""


@pytest.mark.parametrize("query", ["state=nothing", "since=yesterday", "cursor=x", "cursor=-1", "search=" + "x" * 201])
def test_a_wrong_filter_is_named(sign_in: SignIn, query: str) -> None:
    response = sign_in().get(f"/console/sessions?{query}")
    assert response.status_code == 400
    assert query.partition("=")[0] in response.content.decode().split("<main")[1]


def test_a_wrong_place_of_the_inbox_is_named(sign_in: SignIn) -> None:
    for cursor in ("x", "1", "1.", ".call_1", "9" * 17 + ".call_1", "1.call/1"):
        response = sign_in_once(sign_in).get("/console/inbox", {"cursor": cursor})
        assert response.status_code == 400, cursor


def sign_in_once(sign_in: SignIn) -> Client:
    """A person of their own for each call."""
    return sign_in("reviewer", name=f"ann{User.objects.count()}")


def test_texts_of_others_are_escaped_before_any_script_runs(sign_in: SignIn, principal: Principal) -> None:
    session = made(principal, "evil", title=EVIL)
    AgentSession.objects.filter(pk=session.pk).update(agent=EVIL, model=EVIL)
    prompt_accept(principal=principal, public_id="evil", prompt=Prompt(text=EVIL, end_user=EVIL))
    assert Run.objects.count() == 1
    client = sign_in()
    for path in ("/console/sessions", "/console/sessions/evil", f"/console/sessions?search={EVIL}&agent={EVIL}"):
        page = client.get(path).content.decode()
        assert EVIL not in page, path
        assert "&lt;script&gt;" in page, path


def test_an_unknown_failure_has_a_page_with_its_id(
    sign_in: SignIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("faces.console.pages.sessions.sessions_page", lambda *args, **kwargs: 1 / 0)
    response = sign_in().get("/console/sessions")
    assert response.status_code == 500
    error = response.context["error"]
    assert error["error"] == "internal_error"
    assert error["errorId"] in response.content.decode()
    assert "ZeroDivisionError" not in response.content.decode()


@pytest.mark.parametrize(
    ("header", "language", "word"),
    [
        ("", "en", "Sessions"),
        ("zh-CN,zh;q=0.9,en;q=0.5", "zh-hans", "会话"),
        ("de,en;q=0.5", "en", "Sessions"),
        ("zh-TW", "zh-hans", "会话"),
        ("*;q=0.1, \x7f", "en", "Sessions"),
    ],
)
def test_the_language_is_what_the_browser_prefers(sign_in: SignIn, header: str, language: str, word: str) -> None:
    response = sign_in().get("/console/sessions", headers={"Accept-Language": header})
    assert response.headers["Content-Language"] == language
    assert f"<h1>{word}</h1>" in response.content.decode()


def test_a_chosen_language_is_kept_and_leads_back_to_a_page_of_the_console(sign_in: SignIn) -> None:
    client = sign_in()
    chosen = client.post("/console/language", {"language": "zh-hans", "next": "/console/inbox"})
    assert (chosen.status_code, chosen["Location"]) == (302, "/console/inbox")
    assert "<h1>会话</h1>" in client.get("/console/sessions").content.decode()
    for target in ("https://evil.example/console", "//evil.example", "/admin/", "javascript:alert(1)", ""):
        assert client.post("/console/language", {"language": "en", "next": target})["Location"] == "/console"
    client.post("/console/language", {"language": "xx"})
    assert "<h1>Sessions</h1>" in client.get("/console/sessions").content.decode()


def test_pages_are_only_read(sign_in: SignIn) -> None:
    client = sign_in()
    for page in PAGES:
        path = f"/console/{page.route}".replace("<str:session_id>", "none")
        response = client.post(path)
        assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD"), path
