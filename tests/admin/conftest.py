"""Fixtures of the admin tests: users, and a session that waits for an approval and an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from agents_app.events import MessageDelta
from core_app import clock, jsontext
from core_app.ids import new_id
from events_app import log
from sessions_app.models import AgentSession, Message, Run, RunState, SessionState
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.models import Tenant, User
from tenants_app.principal import TENANT_SCOPES
from tenants_app.services import ledger_record
from tests.conftest import Caller
from tests.gateway_harness import api, gateway
from tools_app.fingerprint import fingerprint
from tools_app.models import ToolCall

__all__ = ["api", "gateway"]

XSS = "<script>alert(1)</script>"
SESSIONS = "/admin/sessions_app/agentsession/"
CALLS = "/admin/tools_app/toolcall/"


@dataclass(frozen=True)
class Waiting:
    """A session whose run waits for an approval and an answer."""

    session: AgentSession
    run: Run
    approval: ToolCall
    question: ToolCall

    @property
    def page(self) -> str:
        return f"{SESSIONS}{self.session.pk}/change/"


def signed_in(**values: Any) -> Client:
    """A client with the cookie of a new user."""
    client = Client()
    client.force_login(User.objects.create_user(**values))
    return client


@pytest.fixture
def root(db: None) -> Client:
    """A superuser, who operates the gateway."""
    return signed_in(username="root", is_staff=True, is_superuser=True)


@pytest.fixture
def person(tenant: Tenant) -> Client:
    """Somebody of the tenant who may do everything in it."""
    return signed_in(username="ann", is_staff=True, tenant=tenant, scopes=list(TENANT_SCOPES))


@pytest.fixture
def outsider(other_tenant: Tenant) -> Client:
    """The same of another tenant."""
    return signed_in(username="eve", is_staff=True, tenant=other_tenant, scopes=list(TENANT_SCOPES))


Scoped = Callable[..., Client]


@pytest.fixture
def scoped(tenant: Tenant) -> Scoped:
    """Makes people of the tenant with some scopes."""
    return lambda *scopes: signed_in(username=new_id("user"), is_staff=True, tenant=tenant, scopes=list(scopes))


def session_made(owner: Caller, *, title: str = "") -> AgentSession:
    """A session with a prompt, an answer that streamed, and its spend."""
    principal = owner.principal
    session = session_create(principal=principal, request=SessionRequest(model="demo:tour", title=title or XSS))
    receipt = prompt_accept(principal=principal, public_id=session.public_id, prompt=Prompt(text=f"Hello {XSS}"))
    Message.objects.create(
        id=new_id("msg"), session=session, run_id=receipt.run_pk, number=1, role="user", content=f"Hello {XSS}"
    )
    AgentSession.objects.filter(pk=session.pk).update(message_count=1)
    log.append(session.stream_id, [MessageDelta(message_id="m", delta=XSS)], run_id=receipt.run_pk)
    ledger_record(
        tenant_id=principal.tenant_id,
        api_key_id=principal.key_id,
        session_ref=session.public_id,
        run_id=receipt.run_pk,
        response_no=1,
        model="demo:tour",
        input_tokens=1000,
        output_tokens=234,
    )
    session.refresh_from_db()
    return session


@pytest.fixture
def waiting(owner: Caller) -> Waiting:
    return waiting_made(owner)


def waiting_made(owner: Caller) -> Waiting:
    """A session that waits for a person."""
    session = session_made(owner)
    run = Run.objects.get(session=session)
    Run.objects.filter(pk=run.pk).update(state=RunState.WAITING)
    AgentSession.objects.filter(pk=session.pk).update(state=SessionState.WAITING_APPROVAL)
    session.refresh_from_db()
    run.refresh_from_db()
    approval = call_made(
        session,
        run,
        tool_name="demo_approval",
        state="awaiting_approval",
        args=jsontext.encode_text({"action": XSS}),
        args_hash=fingerprint({"action": XSS}),
        approval_id=new_id("apr"),
        approval_state="pending",
        requested_at=clock.now(),
    )
    question = call_made(
        session,
        run,
        tool_name="ask_user",
        state="awaiting_answer",
        args="{}",
        args_hash=fingerprint({}),
        ref=new_id("ask"),
        question=f"Which {XSS}?",
        options=jsontext.encode_text([{"id": "a", "label": "Apples"}, {"id": "b", "label": "Pears"}]),
        started_at=clock.now(),
    )
    return Waiting(session, run, approval, question)


def call_made(session: AgentSession, run: Run, **values: Any) -> ToolCall:
    """A call of the run that waits for somebody."""
    return ToolCall.objects.create(
        id=new_id("call"),
        tenant_id=session.tenant_id,
        stream_id=session.stream_id,
        run_id=run.pk,
        message_id=new_id("msg"),
        position=0,
        provider_id="call_0",
        kind="builtin",
        expires_at=clock.now() + timedelta(hours=1),
        **values,
    )


def act(client: Client, page: str, action: str, *rows: Any, confirmed: bool = True, **more: Any) -> Any:
    """Does an action of a list with these rows, or stops where it asks."""
    data: dict[str, Any] = {"action": action, "_selected_action": [row.pk for row in rows], **more}
    return client.post(page, data | ({"confirmed": "yes"} if confirmed else {}), follow=True)
