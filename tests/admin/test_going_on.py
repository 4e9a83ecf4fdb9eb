"""Test that a decision in the admin resumes the waiting run, in a complete gateway."""

from __future__ import annotations

from typing import Any

import pytest

from core_app import database
from tenants_app.models import User
from tests.admin.conftest import CALLS, SESSIONS, act, signed_in
from tests.gateway_harness import Client
from tools_app.models import ToolCall

pytestmark = pytest.mark.django_db(transaction=True)


async def waits(api: Client, prompt: str, event: str) -> tuple[str, str]:
    """A session and its run, which has come to wait."""
    session = await api.session(model="demo:tour", tools=["ask_user"])
    run = await api.prompt(session, prompt)
    async with api.events(session, requestId=run) as reader:
        await reader.next_of(event)
    return session, run


def decide(action: str, **more: Any) -> None:
    """Acts as an operator on the only call."""
    User.objects.filter(username="root").delete()
    client = signed_in(username="root", is_staff=True, is_superuser=True)
    call = ToolCall.objects.get()
    given = {f"hash_{call.pk}": call.args_hash, **{f"{name}_{call.pk}": value for name, value in more.items()}}
    act(client, CALLS, action, call, **given)


async def test_an_approved_run_goes_on_to_its_answer(api: Client) -> None:
    session, run = await waits(api, "please approve", "approval_required")
    await database.run(decide, "approve")
    assert (await api.follow_run(session, run))["status"] == "completed"
    resolved = [frame for frame in await api.log(session) if frame.event == "approval_resolved"]
    assert [frame.data["by"] for frame in resolved] == ["user:root"]


async def test_a_rejected_run_goes_on_too(api: Client) -> None:
    session, run = await waits(api, "please approve", "approval_required")
    await database.run(decide, "reject")
    assert (await api.follow_run(session, run))["status"] == "completed"


async def test_an_answered_run_goes_on(api: Client) -> None:
    session, run = await waits(api, "please ask", "ask_user")
    await database.run(lambda: decide("answer", answer="blue"))
    assert (await api.follow_run(session, run))["status"] == "completed"


async def test_a_run_that_is_aborted_ends_for_its_followers(api: Client) -> None:
    session, run = await waits(api, "please approve", "approval_required")

    def abort() -> None:
        client = signed_in(username="root", is_staff=True, is_superuser=True)
        row = ToolCall.objects.get().stream.agentsession
        act(client, SESSIONS, "abort", row, text="Enough.")

    async with api.events(session, requestId=run) as reader:
        await database.run(abort)
        end = await reader.next_of("agent_abort")
    assert (end.data["reason"], end.data["message"]) == ("aborted", "Enough.")
