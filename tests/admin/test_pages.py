"""Tests of all admin pages: permissions, escaping of clients' texts, and the number of queries."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from core_app import clock
from sessions_app.models import Run, RunState
from tenants_app.models import ApiKey, AuditEntry, LedgerEntry, Tenant, User
from tests.admin.conftest import CALLS, SESSIONS, XSS, Scoped, Waiting, session_made, signed_in, waiting_made
from tests.conftest import Caller

pytestmark = pytest.mark.django_db

LISTS = [
    SESSIONS,
    f"{SESSIONS}?state=waiting_approval",
    f"{SESSIONS}?model=demo%3Atour",
    CALLS,
    f"{CALLS}?waiting=all",
    f"{CALLS}?waiting=answer",
    "/admin/tools_app/sessiontool/",
    "/admin/events_app/webhookendpoint/",
    "/admin/events_app/webhookdelivery/",
    "/admin/tenants_app/tenant/",
    "/admin/tenants_app/apikey/",
    "/admin/tenants_app/user/",
    "/admin/tenants_app/ledgerentry/",
    "/admin/tenants_app/auditentry/",
    "/admin/tenants_app/auditentry/?about=api_key.",
]
PAGES = ["/admin/", "/admin/usage/", "/admin/usage/?by=key", "/admin/password_change/", *LISTS]
SUPERUSERS_ONLY = ["/admin/usage/?by=tenant", "/admin/tenants_app/tenant/add/", "/admin/tenants_app/user/add/"]


def row_pages(waiting: Waiting) -> list[str]:
    """The pages of single rows of the tenant."""
    key, user = ApiKey.objects.get(), User.objects.get(username="ann")
    return [
        waiting.page,
        f"{CALLS}{waiting.approval.pk}/change/",
        f"{CALLS}{waiting.question.pk}/change/",
        f"/admin/tenants_app/tenant/{waiting.session.tenant_id}/change/",
        f"/admin/tenants_app/apikey/{key.pk}/change/",
        f"/admin/tenants_app/user/{user.pk}/change/",
        f"/admin/tenants_app/ledgerentry/{LedgerEntry.objects.get().pk}/change/",
        f"/admin/tenants_app/auditentry/{AuditEntry.objects.filter(tenant=key.tenant_id).latest('id').pk}/change/",
        f"{SESSIONS}{waiting.session.pk}/history/",
    ]


def test_every_page_is_shown_to_a_superuser(root: Client, person: Client, waiting: Waiting) -> None:
    for page in [*PAGES, *SUPERUSERS_ONLY, *row_pages(waiting)]:
        assert root.get(page).status_code == 200, page


def test_every_page_is_shown_to_the_tenants_people(person: Client, waiting: Waiting) -> None:
    for page in [*PAGES, *row_pages(waiting)]:
        assert person.get(page).status_code == 200, page


def test_another_tenants_rows_do_not_exist(person: Client, outsider: Client, waiting: Waiting) -> None:
    for page in row_pages(waiting):
        assert outsider.get(page).status_code == 404, page
    for page in LISTS:
        text = outsider.get(page).content.decode()
        for secret in (waiting.session.public_id, waiting.approval.pk, waiting.run.pk, "acme", "ann"):
            assert secret not in text, (page, secret)


@pytest.mark.parametrize("page", PAGES)
def test_who_is_not_staff_is_sent_to_the_sign_in(tenant: Tenant, page: str) -> None:
    nobody = Client()
    console_only = signed_in(username="joe", tenant=tenant, scopes=["admin"])
    without_tenant = signed_in(username="jim", is_staff=True, scopes=["admin"])
    for client in (nobody, console_only, without_tenant):
        answer = client.get(page)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")


def test_a_disabled_tenants_people_are_out_at_once(person: Client, tenant: Tenant) -> None:
    Tenant.objects.update(disabled_at="2026-01-01T00:00:00Z")
    assert person.get("/admin/").status_code == 302


@pytest.mark.parametrize(
    ("scope", "seen"),
    [
        ("sessions", {"agentsession", "toolcall", "sessiontool", "tenant"}),
        ("approvals", {"toolcall", "tenant"}),
        ("operator", {"agentsession", "toolcall", "sessiontool", "tenant", "ledgerentry", "usage"}),
        ("admin", {"tenant", "apikey", "user", "auditentry", "webhookendpoint", "webhookdelivery"}),
    ],
)
def test_scopes_say_what_a_tenants_person_sees(scoped: Scoped, scope: str, seen: set[str]) -> None:
    client = scoped(scope)
    navigation = client.get("/admin/").content.decode()
    pages = {
        **{page.rstrip("/").rsplit("/", 1)[1]: page for page in LISTS if "?" not in page},
        "usage": "/admin/usage/",
    }
    for name, page in pages.items():
        assert client.get(page).status_code == (200 if name in seen else 403), page
        assert (f'href="{page}"' in navigation) == (name in seen), page


def test_what_clients_wrote_is_never_markup(root: Client, person: Client, waiting: Waiting) -> None:
    User.objects.filter(username="ann").update(first_name=XSS)
    Tenant.objects.update(name=XSS)
    ApiKey.objects.update(name=XSS)
    LedgerEntry.objects.update(model=XSS)
    found = 0
    for page in [*PAGES, *row_pages(waiting)]:
        text = root.get(page).content.decode()
        assert XSS not in text, page
        found += "&lt;script&gt;alert(1)" in text or "script\\u003Ealert" in text
    assert found > 10


def test_more_rows_are_not_more_queries(root: Client, owner: Caller) -> None:
    waiting_made(owner)
    few = queries_of_pages(root)
    assert {page: queries for page, queries in few.items() if len(queries) > 10} == {}
    for _ in range(5):
        waiting_made(owner)
    many = queries_of_pages(root)
    assert {page: many[page] for page in PAGES if len(many[page]) != len(few[page])} == {}


def queries_of_pages(client: Client) -> dict[str, list[str]]:
    asked = {}
    for page in PAGES:
        with CaptureQueriesContext(connection) as queries:
            client.get(page)
        asked[page] = [query["sql"] for query in queries]
    return asked


def test_a_sessions_page_asks_as_often_whatever_it_holds(
    root: Client, owner: Caller, waiting: Waiting, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    empty = session_made(owner)
    with django_assert_num_queries(8):
        assert root.get(f"{SESSIONS}{empty.pk}/change/").status_code == 200
    with django_assert_num_queries(8):
        assert root.get(waiting.page).status_code == 200


@pytest.mark.parametrize("page", LISTS)
def test_no_list_counts_its_whole_table(root: Client, waiting: Waiting, page: str) -> None:
    with CaptureQueriesContext(connection) as asked:
        root.get(page)
    counting = [query["sql"] for query in asked.captured_queries if "COUNT(" in query["sql"]]
    assert counting
    assert all("LIMIT 5000" in sql for sql in counting)


def test_a_list_that_is_longer_than_it_counts_says_so(
    root: Client, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admin_app.tables.COUNT_LIMIT", 2)
    session_made(owner)
    assert "There may be more" not in root.get(SESSIONS).content.decode()
    session_made(owner)
    session_made(owner)
    assert "There may be more than these 2" in root.get(SESSIONS).content.decode()


@pytest.mark.parametrize("page", ["/admin/nothing/", f"{SESSIONS}x/change/", f"{SESSIONS}99999999999999999999/change/"])
def test_what_is_not_there_is_not_found(root: Client, page: str) -> None:
    assert root.get(page).status_code == 404


@pytest.mark.parametrize("given", ["²", "99999999999999999999", "-99999999999999999999", "1 OR 1", ""])
def test_a_filter_takes_whatever_stands_in_the_address(root: Client, waiting: Waiting, given: str) -> None:
    for page in (page for page in LISTS if "?" not in page):
        for name in ("tenant", "id", "webhook", "tenant_id"):
            assert root.get(page, {name: given}).status_code in (200, 302, 400), (page, name)


def test_the_overview_says_what_failed_and_why(root: Client, outsider: Client, waiting: Waiting) -> None:
    assert "Failed in the last hour" not in root.get("/admin/").content.decode()
    Run.objects.filter(pk=waiting.run.pk).update(
        state=RunState.FAILED, ended_at=clock.now(), error_code="upstream_error", error_reason="The provider is away."
    )
    text = root.get("/admin/").content.decode()
    assert waiting.page in text
    assert "The provider is away." in text
    assert "The provider is away." not in outsider.get("/admin/").content.decode()


def test_moments_are_written_as_in_logs(root: Client, waiting: Waiting) -> None:
    entry = AuditEntry.objects.latest("id")
    shown = f"{entry.at:%Y-%m-%d %H:%M:%S}"
    for page in ("/admin/tenants_app/auditentry/", f"/admin/tenants_app/auditentry/{entry.pk}/change/"):
        assert shown in root.get(page).content.decode()


def test_a_sessions_page_says_until_when_and_why_its_run_waits_for_a_provider(root: Client, owner: Caller) -> None:
    session = session_made(owner)
    until = clock.now()
    run = Run.objects.filter(session=session)
    run.update(state=RunState.WAITING, resume_at=until, outage_reason="The provider of m:x is failing.", ended_at=None)
    text = root.get(f"{SESSIONS}{session.pk}/change/").content.decode()
    assert f"provider, until {until:%Y-%m-%d %H:%M:%S}" in text
    assert "The provider of m:x is failing." in text


def test_what_is_only_read_has_no_history_to_lead_to(root: Client, waiting: Waiting) -> None:
    entry = AuditEntry.objects.latest("id")
    assert "historylink" not in root.get(f"/admin/tenants_app/auditentry/{entry.pk}/change/").content.decode()


def test_the_overview_says_what_waits(root: Client, person: Client, outsider: Client, waiting: Waiting) -> None:
    for client in (root, person):
        text = client.get("/admin/").content.decode()
        assert '<span class="value">1</span><span class="label">approvals to decide' in text
        assert '<span class="value">1</span><span class="label">questions to answer' in text
        assert '<span class="value">1</span><span class="label">waiting' in text
        assert '<span class="value">1</span><span class="label">sessions today' in text
        assert waiting.approval.tool_name in text
    text = outsider.get("/admin/").content.decode()
    assert '<span class="value">0</span><span class="label">approvals to decide' in text
    assert waiting.approval.tool_name not in text
