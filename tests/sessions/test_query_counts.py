"""How often each list asks the database: as often for thirty rows as for three."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from agents_app.events import MessageDelta
from core_app.ids import new_id
from events_app import log
from events_app.webhooks.services import webhook_create
from faces.native.session_events import _events_page
from sessions_app.models import AgentSession, Message, Run
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from sessions_app.services.tools import tool_register
from tenants_app.services import ledger_record
from tests.conftest import Caller

pytestmark = pytest.mark.django_db

SESSION = "one"
LISTS = {
    "/v1/sessions": 1,
    "/v1/sessions?state=working": 1,
    "/v1/sessions?agent=helper": 1,
    "/v1/sessions?since=2020-01-01T00:00:00Z": 1,
    "/v1/sessions?groupId=together": 2,
    f"/v1/sessions/{SESSION}/runs": 3,
    f"/v1/sessions/{SESSION}/messages": 3,
    f"/v1/sessions/{SESSION}/tools": 2,
    f"/v1/sessions/{SESSION}/status": 5,
    f"/v1/sessions/{SESSION}/stats": 3,
    "/v1/usage": 1,
    "/v1/usage?groupBy=day": 1,
    "/v1/usage?groupBy=": 1,
    "/v1/webhooks": 1,
}
"""Each with its queries; the key is known by then."""


@pytest.fixture
def http(owner: Caller, settings: Any) -> Client:
    # A key that is looked up anew, on a slow machine, would be a query that belongs to no list.
    settings.GATEWAY_KEY_CACHE_SECONDS = 3600
    return Client(headers=owner.headers)


def counted(act: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as asked:
        act()
    return len(asked)


def rows_made(owner: Caller, number: int) -> None:
    """So many more of everything that a list shows."""
    principal = owner.principal
    if not AgentSession.objects.exists():
        session_create(principal=principal, request=SessionRequest(model="demo:echo", public_id=SESSION))
    session = AgentSession.objects.get(public_id=SESSION)
    first = Message.objects.filter(session=session).count()
    for index in range(first, first + number):
        request = SessionRequest(model="demo:echo", title=f"number {index}", group_id="together")
        AgentSession.objects.filter(pk=session_create(principal=principal, request=request).pk).update(agent="helper")
        run = prompt_accept(principal=principal, public_id=SESSION, prompt=Prompt(text="hello")).run_pk
        Message.objects.create(
            id=new_id("msg"), session=session, run_id=run, number=index + 1, role="user", content="hello"
        )
        log.append(session.stream_id, [MessageDelta(message_id="m", delta="hello")], run_id=run)
        tool = {"name": f"tool_{index}", "description": "Looks", "parameters": {"type": "object"}}
        tool_register(principal=principal, public_id=SESSION, registration=tool)
        ledger_record(
            tenant_id=principal.tenant_id,
            api_key_id=principal.key_id,
            session_ref=SESSION,
            run_id=run,
            response_no=1,
            model=f"demo:{index}",
            input_tokens=1,
            output_tokens=1,
        )


def test_thirty_rows_cost_no_more_queries_than_three(http: Client, owner: Caller) -> None:
    rows_made(owner, 3)
    assert {path: http.get(path).status_code for path in LISTS} == dict.fromkeys(LISTS, 200)
    assert {path: counted(partial(http.get, path)) for path in LISTS} == LISTS
    rows_made(owner, 27)
    assert Run.objects.count() == 30
    assert {path: counted(partial(http.get, path)) for path in LISTS} == LISTS


def test_a_page_of_events_is_three_queries_however_long_it_is(owner: Caller) -> None:
    rows_made(owner, 3)
    query = {"format": "json", "limit": "1000"}
    assert counted(lambda: _events_page(owner.principal, SESSION, query)) == 3
    rows_made(owner, 27)
    assert counted(lambda: _events_page(owner.principal, SESSION, query)) == 3
    assert len(_events_page(owner.principal, SESSION, query)["events"]) > 30


def test_more_webhooks_are_no_more_queries(http: Client, owner: Caller) -> None:
    def add() -> None:
        webhook_create(principal=owner.principal, url="https://example.com/hook", events=["agent_end"], description="")

    add()
    http.get("/v1/webhooks")
    few = counted(lambda: http.get("/v1/webhooks"))
    for _ in range(3):
        add()
    assert counted(lambda: http.get("/v1/webhooks")) == few
    assert len(http.get("/v1/webhooks").json()["webhooks"]) == 4
