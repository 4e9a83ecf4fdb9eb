"""The spans request → run → leg → model call → tool call, on both deployments, across waits, deaths and restarts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agents_app import registry
from core_app.tracing import parent_headers, span
from tests.agents.conftest import Upstream
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import ScriptedEngine, crashing_leg
from tests.tools.conftest import CallbackServer
from tests.tracing.tree import Spans, Tree, attributes, trace_of

pytestmark = pytest.mark.django_db(transaction=True)

TRACE = "0af7651916cd43dd8448eb211c80319c"
PROMPT = "POST /v1/sessions/{session_id}/prompt"
DECISION = "POST /v1/sessions/{session_id}/approve"


@pytest.fixture(autouse=True)
def _trace_everything(spans: Spans) -> None:
    """Switches tracing on before the gateway of any test here starts."""


async def session_with(api: Client, server: CallbackServer, **tool: Any) -> str:
    session = await api.session(model="scripted:tool:lookup")
    given = {"name": "lookup", "description": "", "parameters": {"type": "object"}, "callbackUrl": server.url, **tool}
    assert (await api.post(f"/v1/sessions/{session}/tools", given)).status == 201
    return session


async def test_a_run_is_one_tree_from_the_request_to_its_tool_calls(
    api: Client, spans: Spans, server: CallbackServer
) -> None:
    session = await session_with(api, server)
    run = await api.run(session, "look")
    [leg] = await spans.came("leg")
    leg_tree: Tree = {"chat tool:lookup": {}, "execute_tool lookup": {}, "chat tool:lookup #2": {}}
    assert spans.tree(trace_of(leg)) == {PROMPT: {"invoke_agent scripted:tool:lookup": {"leg": leg_tree}}}
    (chat, _), [tool] = spans.with_name("chat"), spans.with_name("execute_tool")
    asked, called = attributes(chat), attributes(tool)
    assert {name: asked[name] for name in asked if name.startswith("gen_ai")} == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "scripted",
        "gen_ai.request.model": "tool:lookup",
        "gen_ai.conversation.id": session,
        "gen_ai.output.type": "text",
        "gen_ai.response.model": "tool:lookup",
        "gen_ai.response.id": "c1",
        "gen_ai.response.finish_reasons": ("tool_call",),
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 7,
        "gen_ai.usage.cache_read.input_tokens": 3,
    }
    assert called["gen_ai.operation.name"] == "execute_tool"
    assert called["gen_ai.tool.name"] == "lookup"
    assert called["gen_ai.tool.call.id"].startswith("call_")
    assert called["gateway.run.id"] == run["requestId"]
    assert attributes(leg)["gateway.leg.outcome"] == "finished"


async def test_legs_after_an_approval_and_a_restart_are_of_the_same_trace(
    api: Client, gateway: GatewayHarness, spans: Spans, server: CallbackServer
) -> None:
    session = await session_with(api, server, requiresApproval=True)
    async with api.events(session) as events:
        run = await api.prompt(session, "look")
        asked = await events.next_of("approval_required")
    await gateway.wait_idle()
    await gateway.restart()
    decision = {"approvalId": asked.data["approvalId"]}
    assert (await api.post(f"/v1/sessions/{session}/approve", decision)).status == 200
    assert (await api.follow_run(session, run))["status"] == "completed"
    first, second = await spans.came("leg", 2)
    assert trace_of(first) == trace_of(second)
    legs: Tree = {
        "leg": {"chat tool:lookup": {}},
        "leg #2": {"execute_tool lookup": {}, "chat tool:lookup": {}},
    }
    assert spans.tree(trace_of(first)) == {PROMPT: {"invoke_agent scripted:tool:lookup": legs}}
    assert [attributes(leg)["gateway.leg.outcome"] for leg in (first, second)] == ["waiting", "finished"]
    [decided] = spans.with_name(DECISION)
    assert trace_of(decided) != trace_of(first)


async def test_a_tool_that_the_client_runs_is_a_span_of_the_runs_trace(api: Client, spans: Spans) -> None:
    session = await api.session(model="scripted:tool:mine", tools=[{"name": "mine"}])
    async with api.events(session) as events:
        run = await api.prompt(session, "go")
        asked = await events.next_of("tool_call_requested")
    given = await api.post(f"/v1/sessions/{session}/tool-results", {"callId": asked.data["callId"], "result": "here"})
    assert given.status == 200, given.body
    await api.follow_run(session, run)
    first, _ = await spans.came("leg", 2)
    [waited] = spans.with_name("execute_tool")
    assert trace_of(waited) == trace_of(first)
    assert attributes(waited)["gateway.tool.kind"] == "client"
    assert attributes(waited)["gen_ai.tool.call.id"] == asked.data["callId"]


async def test_a_retried_run_shows_the_leg_that_died_and_the_one_that_went_on(
    api: Client, spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    monkeypatch.setattr(registry, "engine_get", lambda name: engine)
    engine.legs = [crashing_leg("half ")]
    session = await api.session()
    run = await api.run(session, "go on")
    assert run["status"] == "completed"
    died, ended = await spans.came("leg", 2)
    assert spans.tree(trace_of(died)) == {PROMPT: {"invoke_agent demo:echo": {"leg": {}, "leg #2": {}}}}
    assert [attributes(leg)["gateway.attempt"] for leg in (died, ended)] == [1, 2]
    assert attributes(died)["error.type"] == "Crash"
    assert "error.type" not in attributes(ended)
    [whole] = spans.with_name("invoke_agent")
    assert attributes(whole)["gateway.run.attempts"] == 2


async def test_a_model_that_is_asked_again_has_a_span_for_each_try(api: Client, spans: Spans) -> None:
    session = await api.session(model="scripted:flaky:503:2")
    assert (await api.run(session, "hello"))["status"] == "completed"
    await spans.came("leg")
    failed = [attributes(chat).get("error.type") for chat in spans.with_name("chat")]
    assert failed == ["upstream_error", "upstream_error", None]


async def test_a_failed_run_says_with_which_code_and_never_with_which_words(api: Client, spans: Spans) -> None:
    session = await api.session(model="scripted:status:500", outagePolicy="fail")
    assert (await api.run(session, "hello"))["status"] == "failed"
    [leg] = await spans.came("leg")
    [whole] = spans.with_name("invoke_agent")
    assert attributes(leg)["error.type"] == attributes(whole)["error.type"] == "upstream_error"
    assert "SECRET" not in str([span.to_json() for span in spans.all])


async def test_the_trace_of_the_request_is_continued_and_its_answer_names_no_other(api: Client, spans: Spans) -> None:
    session = await api.session()
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "hello"}, headers=headers)
    await api.follow_run(session, answer.json["requestId"])
    [leg] = await spans.came("leg")
    assert trace_of(leg) == int(TRACE, 16)
    [request] = spans.with_name(PROMPT)
    assert request.parent is not None
    assert request.parent.span_id == 0xB7AD6B7169203331


async def test_a_trace_that_its_beginner_does_not_sample_is_not_exported(api: Client, spans: Spans) -> None:
    session = await api.session()
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-00"}
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "hello"}, headers=headers)
    assert (await api.follow_run(session, answer.json["requestId"]))["status"] == "completed"
    assert [span for span in spans.all if trace_of(span) == int(TRACE, 16)] == []


@pytest.mark.parametrize("given", ["", "junk", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff-1-2-3", "é"])
async def test_a_traceparent_that_is_none_begins_a_trace(api: Client, spans: Spans, given: str) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "hello"}, headers={"traceparent": given})
    await api.follow_run(session, answer.json["requestId"])
    await spans.came("leg")
    [request] = spans.with_name(PROMPT)
    assert request.parent is None


async def test_a_prompt_over_the_socket_is_a_span_below_its_upgrade(
    api: Client, socket_server: LiveServer, owner: Any, spans: Spans
) -> None:
    session = await api.session()
    headers = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    async with socket_server.socket(session, owner, headers=headers) as socket:
        await socket.run_end(await socket.prompt("hello"))
        [leg] = await spans.came("leg")
        tree = spans.tree(trace_of(leg))
    run: Tree = {"invoke_agent demo:echo": {"leg": {"chat echo": {}}}}
    assert tree == {"WEBSOCKET /v1/sessions/{session_id}/ws": {"socket prompt": run}}


async def test_an_event_stream_is_a_span_until_it_begins(api: Client, spans: Spans) -> None:
    session = await api.session()
    async with api.events(session):
        [begun] = await spans.came("GET /v1/sessions/{session_id}/events")
    assert attributes(begun)["http.response.status_code"] == 200


async def test_nothing_that_was_said_is_in_a_span(api: Client, spans: Spans, server: CallbackServer) -> None:
    server.replies = [(200, b'{"result":"RESULT-WORDS"}')]
    session = await session_with(api, server)
    await api.run(session, "PROMPT-WORDS")
    await spans.came("leg")
    told = json.dumps([json.loads(span.to_json()) for span in spans.all])
    assert "chat tool:lookup" in told
    assert [word for word in ("PROMPT-WORDS", "RESULT-WORDS", "Tools said") if word in told] == []


async def test_prompts_answers_arguments_and_results_are_there_where_a_setting_says_so(
    spans: Spans, settings: Any, gateway: GatewayHarness, owner: Any, server: CallbackServer
) -> None:
    settings.GATEWAY_OTEL_CONTENT = True
    await gateway.restart()
    api = gateway.client(owner)
    server.replies = [(200, b'{"result":"RESULT-WORDS"}')]
    session = await session_with(api, server)
    await api.run(session, "PROMPT-WORDS")
    await spans.came("leg")
    first, last = (attributes(chat) for chat in spans.with_name("chat"))
    assert "PROMPT-WORDS" in first["gen_ai.input.messages"]
    assert "Tools said" in last["gen_ai.output.messages"]
    [tool] = spans.with_name("execute_tool")
    assert attributes(tool)["gen_ai.tool.call.arguments"] == '{"x":1}'
    assert attributes(tool)["gen_ai.tool.call.result"] == "RESULT-WORDS"
    [whole] = spans.with_name("invoke_agent")
    assert attributes(whole)["gateway.prompt"] == "PROMPT-WORDS"


@pytest.mark.parametrize(("hosts", "told"), [([], False), (["*.example.com"], False), (["127.0.0.*"], True)])
async def test_providers_and_callbacks_are_told_of_the_trace_only_where_it_is_said(
    hosts: list[str],
    told: bool,
    spans: Spans,
    settings: Any,
    gateway: GatewayHarness,
    owner: Any,
    server: CallbackServer,
    upstream: Upstream,
) -> None:
    settings.GATEWAY_OTEL_PROPAGATE = hosts
    await gateway.restart()
    api = gateway.client(owner)
    session = await session_with(api, server)
    await api.run(session, "look")
    [leg] = await spans.came("leg")
    sent = [request.get("__traceparent") for request in upstream.requests()]
    sent.append(server.received[0].headers.get("traceparent"))
    if told:
        callers = [*spans.with_name("chat"), *spans.with_name("execute_tool")]
        assert sent == [
            f"00-{trace_of(leg):032x}-{caller.context.span_id:016x}-03" for caller in callers if caller.context
        ]
    else:
        assert sent == [None, None, None]


async def test_a_leg_of_a_run_from_before_tracing_begins_a_trace(api: Client, spans: Spans) -> None:
    with span("request", {}), span("leg", {}, parent=parent_headers(None)):
        pass
    [leg] = spans.with_name("leg")
    assert leg.parent is None
