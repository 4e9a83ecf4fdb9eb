"""Sessions whose agent speaks the Agent Client Protocol, from the prompt to the answer, through the native face."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agents_app.acp.parked import MISSES, PARKED
from agents_app.directory.entries import AGENTS
from core_app import database
from sessions_app.models import AgentSession
from sessions_app.services.erasure import session_erase
from tests.agents.test_acp_engine import AGENT
from tests.agents.test_program_engines import alive, family
from tests.gateway_harness import Client, GatewayHarness, api, gateway

__all__ = ["api", "gateway"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest_asyncio.fixture
async def data(settings: Any, tmp_path: Path, gateway: GatewayHarness) -> AsyncIterator[Path]:
    """The gateway's data directory, with an agent `coder` in the configuration."""
    settings.GATEWAY_DATA_DIR = tmp_path / "data"
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    entry = {"id": "coder", "type": "acp", "command": sys.executable, "args": [str(AGENT)]}
    settings.GATEWAY_CONFIG.write_text(json.dumps({"agents": [entry]}), encoding="utf-8")
    AGENTS.forget()
    yield tmp_path
    await gateway.wait_idle()


@pytest.mark.parametrize(("action", "told"), [("approve", "yes Permitted."), ("reject", "no The user rejected this")])
async def test_a_person_decides_what_the_agent_may_do(api: Client, data: Path, action: str, told: str) -> None:
    session = await api.session(model=None, agent="coder")
    async with api.events(session, since=0) as reader:
        await api.prompt(session, "use echo")
        asked = (await reader.next_of("approval_required")).data
        assert (asked["toolName"], asked["args"]) == ("echo", {"x": 1})
        assert "execute" in asked["hint"]
        state = (await api.get(f"/v1/sessions/{session}")).json["state"]
        assert state in ("working", "waiting_approval")
        decision = await api.post(f"/v1/sessions/{session}/{action}", {"approvalId": asked["approvalId"]})
        assert decision.status == 200
        ended = await reader.next_of("agent_end")
    assert ended.data["lastMessage"]["content"].startswith(f"Decided: {told}")
    types = [frame.event for frame in await api.log(session)]
    assert types.count("agent_event") == 2
    assert types.count("tool_execution_end") == 1


async def test_an_agent_that_waits_ends_with_its_aborted_run(api: Client, data: Path, gateway: GatewayHarness) -> None:
    session = await api.session(model=None, agent="coder")
    async with api.events(session, since=0) as reader:
        await api.prompt(session, "ask")
        await reader.next_of("approval_required")
        await gateway.wait_idle()
        pids = await asyncio.to_thread(family, data)
        assert len(alive(pids)) == 3
        await PARKED.check()
        assert len(alive(pids)) == 3
        assert (await api.post(f"/v1/sessions/{session}/abort")).status == 202
        await reader.next_of("agent_abort")
    for _ in range(MISSES):
        await PARKED.check()
    assert alive(pids) == []


async def test_an_abort_ends_an_agent_that_works_with_all_that_it_started(
    api: Client, data: Path, gateway: GatewayHarness
) -> None:
    session = await api.session(model=None, agent="coder")
    async with api.events(session, since=0) as reader:
        await api.prompt(session, "never")
        await reader.next_of("message_delta")
        pids = await asyncio.to_thread(family, data)
        assert len(alive(pids)) == 3
        assert (await api.post(f"/v1/sessions/{session}/abort")).status == 202
        await reader.next_of("agent_abort")
    await gateway.wait_idle()
    assert alive(pids) == []


async def test_a_restarted_gateway_brings_the_decision_to_a_new_agent(
    api: Client, data: Path, gateway: GatewayHarness
) -> None:
    session = await api.session(model=None, agent="coder")
    async with api.events(session, since=0) as reader:
        await api.prompt(session, "use echo")
        asked = (await reader.next_of("approval_required")).data
    await gateway.restart()
    async with api.events(session, since=0) as reader:
        await api.post(f"/v1/sessions/{session}/approve", {"approvalId": asked["approvalId"]})
        ended = await reader.next_of("agent_end")
    assert ended.data["lastMessage"]["content"] == "Decided: yes Permitted."
    assert [frame.event for frame in await api.log(session)].count("approval_required") == 1


async def test_the_directory_of_an_erased_session_is_gone(api: Client, data: Path, gateway: GatewayHarness) -> None:
    kept, erased = [await api.session(model=None, agent="coder") for _ in range(2)]
    for session in (kept, erased):
        await api.run(session, "hello")
    assert len(directories(data)) == 2
    await database.run(_erase, erased)
    assert len(directories(data)) == 1


def _erase(session: str) -> None:
    tenant_id = AgentSession.objects.get(public_id=session).tenant_id
    session_erase(tenant_id=tenant_id, public_id=session, actor="test")


def directories(data: Path) -> list[Path]:
    return list(data.glob("data/agents/*"))
