"""Runs of the `model` engine through the complete gateway, on every scenario of a provider.

The harness compares the events of each session with its state over REST.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from core_app import database
from gateway_project.operations import doctor
from inference_app.spend.budgets import BUDGETS, BudgetRule, Budgets
from sessions_app.legs.requests import request_number
from sessions_app.models import AgentSession
from tenants_app.models import LedgerEntry, Tenant
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

ECHO = {"name": "echo", "description": "echoes", "parameters": {"type": "object"}}


async def run_of(api: Client, model: str, text: str = "hello", **session: Any) -> tuple[str, dict[str, Any]]:
    session_id = await api.session(model=f"scripted:{model}", **session)
    return session_id, await api.run(session_id, text)


async def types_of(api: Client, session: str) -> list[str]:
    return [frame.event for frame in await api.log(session)]


@pytest.mark.parametrize(
    ("model", "answer"),
    [
        ("hello", "Hello, world."),
        ("words:300", "".join(f"word{number} " for number in range(300))),
        ("reasoning", "Then I answer."),
        ("flaky:503:2", "Hello, world."),
        ("flaky:429:1", "Hello, world."),
        ("empty:1", "At last."),
        ("unknown-tool", None),
        ("malformed", None),
    ],
)
async def test_a_run_completes_with_its_answer(api: Client, model: str, answer: str | None) -> None:
    session, run = await run_of(api, model)
    assert run["status"] == "completed"
    if answer is not None:
        assert run["lastMessage"]["content"] == answer
    assert (await types_of(api, session))[-1] == "agent_end"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("status:500", "upstream_error"),
        ("status:400", "bad_request"),
        ("drop:2", "upstream_error"),
        ("in-stream-error", "upstream_error"),
        ("cut", "upstream_error"),
        ("limited:3600", "rate_limited"),
        ("many-calls:1000", "unprocessable"),
    ],
)
async def test_a_providers_failure_ends_the_run_once_and_tells_no_secret(api: Client, model: str, code: str) -> None:
    session, run = await run_of(api, model, outagePolicy="fail")
    assert (run["status"], run["error"]["code"]) == ("failed", code)
    events = await api.log(session)
    assert [frame.event for frame in events][-2:] == ["error", "agent_abort"]
    assert "SECRET" not in str([frame.data for frame in events])


@pytest.fixture
def budgets() -> Iterator[Budgets]:
    yield BUDGETS
    BUDGETS.rules_replace([])


async def test_a_run_asks_no_model_whose_budget_is_spent(api: Client, budgets: Budgets) -> None:
    session, run = await run_of(api, "hello")
    assert run["status"] == "completed"
    tenant_id, key_id = await database.run(LedgerEntry.objects.values_list("tenant_id", "api_key_id").latest, "pk")
    spent = BudgetRule(1, tenant_id, "day", key_id=key_id, model="scripted:hello", tokens=18)
    another = BudgetRule(2, tenant_id, "day", key_id=key_id, model="scripted:words:2", tokens=18)
    budgets.rules_replace([another, spent])
    run = await api.run(session, "again")
    assert (run["status"], run["endReason"]) == ("aborted", "budget")
    assert (await types_of(api, session))[-2:] == ["agent_start", "agent_abort"]
    _, run = await run_of(api, "words:2")
    assert run["status"] == "completed"


async def test_a_run_stops_at_the_request_after_the_one_that_spent_its_budget(api: Client, budgets: Budgets) -> None:
    tenant_id = await database.run(lambda: Tenant.objects.get(slug="acme").pk)
    budgets.rules_replace([BudgetRule(1, tenant_id, "day", tokens=1)])
    session, run = await run_of(api, "unknown-tool")
    assert (run["status"], run["endReason"], run["turns"]) == ("aborted", "budget", 1)
    assert (await types_of(api, session))[-1] == "agent_abort"


async def test_a_summary_is_in_the_ledger_and_in_the_runs_sums(api: Client) -> None:
    said = [{"role": role, "content": f"{n} " * 150} for n in range(10) for role in ("user", "assistant")]
    _, run = await run_of(api, "summarizing:3200", messages=said, historyPolicy="summarize")
    assert (run["status"], run["turns"]) == ("completed", 1)
    rows = await database.run(
        lambda: list(LedgerEntry.objects.order_by("response_no").values_list("response_no", "input_tokens"))
    )
    # The first request was refused as too long, and costs nothing.
    assert [number for number, _ in rows] == [request_number(1, 2), request_number(1, 3)]
    assert run["tokenUsage"]["promptTokens"] == sum(tokens for _, tokens in rows)
    level, text = await database.run(doctor.check_ledger)
    assert level == "ok", text


async def test_a_fork_begins_with_the_summary_of_its_origin(api: Client) -> None:
    """Before, it sent the whole history, was refused, and paid for a summary of its own."""
    said = [{"role": role, "content": f"{n} " * 150} for n in range(10) for role in ("user", "assistant")]
    origin, _ = await run_of(api, "summarizing:3200", messages=said, historyPolicy="summarize")
    answered = (await api.get(f"/v1/sessions/{origin}/messages")).json["messages"][-1]["id"]
    between = await api.post(f"/v1/sessions/{origin}/fork", {"messageId": answered})
    copied = (await api.get(f"/v1/sessions/{between.json['sessionId']}/messages")).json["messages"][-1]["id"]
    # A fork of a fork: each copy has ids of its own.
    made = await api.post(f"/v1/sessions/{between.json['sessionId']}/fork", {"messageId": copied})
    assert made.status == 201, made.body
    forked = await api.run(made.json["sessionId"], "and now?")
    again = await api.run(origin, "and now?")
    assert (forked["status"], again["status"]) == ("completed", "completed")
    assert forked["tokenUsage"] == again["tokenUsage"]
    assert "context_summarized" not in await types_of(api, made.json["sessionId"])

    def kept(public_id: str) -> tuple[str, int]:
        session = AgentSession.objects.get(public_id=public_id)
        return str(session.kept_for), session.messages.get(pk=session.kept_from).number

    assert await database.run(kept, made.json["sessionId"]) == await database.run(kept, origin)


async def test_a_provider_that_says_nothing_ends_in_time(api: Client) -> None:
    session = await api.session(model="hasty:hang:1")
    run = await api.run(session, "hello")
    assert (run["status"], run["error"]["code"]) == ("failed", "timeout")


async def test_reasoning_is_shown_and_kept_out_of_the_answer(api: Client) -> None:
    session, run = await run_of(api, "reasoning")
    thought = [frame.data["delta"] for frame in await api.log(session) if frame.event == "thinking_delta"]
    assert "".join(thought) == "First, I think."
    assert "I think" not in run["lastMessage"]["content"]


async def test_parallel_calls_with_one_repeated_id_are_told_apart(api: Client, server: Any) -> None:
    tool = {**ECHO, "callbackUrl": server.url}
    session, run = await run_of(api, "parallel:3", tools=[tool])
    events = await api.log(session)
    ids = [frame.data["callId"] for frame in events if frame.event == "tool_execution_end"]
    assert run["status"] == "completed"
    assert len(set(ids)) == 3
    assert [frame.data["count"] for frame in events if frame.event == "tool_calls"] == [3]


async def test_usage_and_price_are_of_the_providers_last_chunk(api: Client) -> None:
    session, run = await run_of(api, "hello")
    stats = (await api.get(f"/v1/sessions/{session}/stats")).json
    assert run["tokenUsage"]["totalTokens"] > 0
    assert stats["costKnown"]
    assert stats["costUsd"] == run["costUsd"] > 0


async def test_a_model_that_calls_tools_for_ever_stops_at_its_turns(api: Client, server: Any) -> None:
    tool = {**ECHO, "callbackUrl": server.url}
    _, run = await run_of(api, "endless", tools=[tool], maxTurns=5)
    assert (run["status"], run["endReason"], run["turns"]) == ("aborted", "max_turns", 5)


async def test_a_client_tool_is_run_by_the_client_and_the_run_goes_on_after_a_restart(
    api: Client, gateway: GatewayHarness
) -> None:
    session = await api.session(model="scripted:tool:echo", tools=[ECHO])
    request_id = await api.prompt(session, "use it")
    async with api.events(session) as reader:
        asked = await reader.next_of("tool_call_requested")
    await gateway.restart()
    result = {"callId": asked.data["callId"], "result": {"y": 2}}
    assert (await api.post(f"/v1/sessions/{session}/tool-results", result)).status == 200
    run = await api.follow_run(session, request_id)
    assert run["status"] == "completed"
    assert '{"y":2}' in run["lastMessage"]["content"]


async def test_a_response_format_gives_json_that_fits(api: Client) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    _, run = await run_of(api, "structured:1", responseFormat=schema)
    assert (run["status"], run["lastMessage"]["content"]) == ("completed", '{"city":"Rome"}')


async def test_a_full_context_is_truncated_as_the_policy_says(api: Client) -> None:
    long = [{"role": role, "content": "x" * 900} for _ in range(4) for role in ("user", "assistant")]
    session, run = await run_of(api, "context-full:3000", messages=long)
    assert run["status"] == "completed"
    assert "context_truncated" in await types_of(api, session)
    assert len((await api.get(f"/v1/sessions/{session}/messages")).json["messages"]) == len(long) + 2
    _, refused = await run_of(api, "context-full:3000", messages=long, historyPolicy="error")
    assert refused["error"]["code"] == "context_length_exceeded"


async def test_the_model_is_switched_from_the_next_leg_on(api: Client) -> None:
    session, _ = await run_of(api, "hello")
    assert (await api.post(f"/v1/sessions/{session}/switch_model", {"model": "scripted:echo"})).status == 202
    assert (await api.run(session, "say this"))["lastMessage"]["content"] == "say this"
    assert (await api.post(f"/v1/sessions/{session}/switch_model", {"model": "nobody:nothing"})).status == 422
