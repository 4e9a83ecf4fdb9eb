"""MCP servers of the gateway as hosted tools of Responses, over a provider that speaks chat completions only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core_app import database
from responses_app.models import StoredResponse
from tests.conftest import Caller, caller
from tests.faces.inference.scripted import SSE, STREAM, Reply, Scripted, chunk, scripted, sse
from tests.gateway_harness import WAIT, Client, Frame, GatewayHarness
from tests.responses.conftest import URL, USAGE, Json, events_of, finished, numbers, posted, streamed, text_of
from tests.tools.scripted_mcp import ScriptedMcp, tool
from tools_app.executors.mcp import SERVERS
from tools_app.executors.mcp_connection import preload_library

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "mcp__wiki__look_up"
TOOL: Json = {"type": "mcp", "server_label": "wiki", "require_approval": "never"}
ASKED: Json = {"model": "c:m", "input": "Who?", "tools": [TOOL]}


@pytest.fixture
def wiki(settings: Any) -> Iterator[ScriptedMcp]:
    """A server with a tool that reads and one that writes."""
    # Loading it at the first connection may take longer on a busy machine than a connection may.
    preload_library()
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True
    server = ScriptedMcp().start()
    reads = {"readOnlyHint": True}
    server.tools = [tool("look_up", annotations=reads), tool("write")]
    server.results = {
        "look_up": lambda params: {"content": [{"type": "text", "text": f"found {json.dumps(params['arguments'])}"}]}
    }
    yield server
    SERVERS.close_all()
    server.stop()


@asynccontextmanager
async def registered(api: Client, settings: Any, wiki: ScriptedMcp, *replies: Reply) -> AsyncIterator[Scripted]:
    """The server as the tenant's own, and a provider that gives the replies."""
    answer = await api.post("/v1/mcp-servers", {"name": "wiki", "url": wiki.url})
    assert answer.status in (201, 409), answer.body
    async with scripted(settings, *replies) as provider:
        yield provider


def calling(*calls: tuple[str, str], text: str = "") -> Reply:
    """Returns a completion that calls tools: their names and arguments."""
    pieces = [chunk({"role": "assistant", "content": text})] if text else []
    for index, (name, arguments) in enumerate(calls):
        call = {"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}
        pieces.append(chunk({"role": "assistant", "tool_calls": [call]}))
        pieces.append(chunk({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]}))
    pieces += [chunk({}, "tool_calls"), {**chunk(), "choices": [], "usage": USAGE}]
    return Reply(pieces=[sse(piece) for piece in pieces] + [b"data: [DONE]\n\n"], headers=SSE)


def kinds(response: Json) -> list[str]:
    return [item["type"] for item in response["output"]]


def of_kind(response: Json, kind: str) -> Json:
    found: Json = next(item for item in response["output"] if item["type"] == kind)
    return found


def calls_of(wiki: ScriptedMcp) -> int:
    return wiki.called("tools/call")


def rebuilt(frames: Sequence[Frame]) -> list[Json]:
    """Returns the items as a client builds them from the events."""
    items: dict[int, Json] = {}
    for frame in frames:
        event = frame.data
        if frame.event in ("response.output_item.added", "response.output_item.done"):
            items[event["output_index"]] = event["item"]
    return [items[index] for index in sorted(items)]


async def test_a_tool_is_listed_called_and_answered(api: Client, settings: Any, wiki: ScriptedMcp) -> None:
    async with registered(api, settings, wiki, calling((NAME, '{"q":"Ann"}')), streamed("She is ", "Ann.")) as provider:
        response = (await api.post(URL, ASKED)).json
    assert (response["status"], kinds(response)) == ("completed", ["mcp_list_tools", "mcp_call", "message"])
    listing, call, message = response["output"]
    assert [one["name"] for one in listing["tools"]] == ["look_up", "write"]
    assert (call["server_label"], call["name"], call["arguments"]) == ("wiki", "look_up", '{"q":"Ann"}')
    assert (call["status"], call["output"], call["error"]) == ("completed", 'found {"q": "Ann"}', None)
    assert message["content"][0]["text"] == "She is Ann."
    assert response["usage"]["total_tokens"] == 36
    assert [one["type"] for one in response["tools"]] == ["mcp"]
    first, second = provider.requests
    assert [one["function"]["name"] for one in first["tools"]] == [NAME, "mcp__wiki__write"]
    assert [said["role"] for said in second["messages"]] == ["user", "assistant", "tool"]
    assert second["messages"][-1]["content"] == 'found {"q": "Ann"}'
    assert (await api.get(f"{URL}/{response['id']}")).json == response


@pytest.mark.parametrize("background", [False, True])
async def test_the_events_come_in_the_apis_order(
    api: Client, settings: Any, wiki: ScriptedMcp, background: bool
) -> None:
    asked = {**ASKED, "stream": True, "background": background}
    async with (
        registered(api, settings, wiki, calling((NAME, "{}"), text="Wait."), streamed("Ann.")),
        posted(api, asked) as reader,
    ):
        frames = await reader.read_to_end()
    assert numbers(frames) == list(range(len(frames)))
    named = [frame.event for frame in frames if not frame.event.startswith(("response.output_text", "response.cont"))]
    assert [name for name in named if name not in ("response.created", "response.queued", "response.in_progress")] == [
        "response.output_item.added",
        "response.mcp_list_tools.in_progress",
        "response.mcp_list_tools.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_item.added",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.output_item.done",
        "response.output_item.added",
        "response.output_item.done",
        "response.completed",
    ]
    last = frames[-1].data["response"]
    assert rebuilt(frames) == last["output"]
    assert {frame.data["response"]["id"] for frame in frames if "response" in frame.data} == {last["id"]}
    assert (await api.get(f"{URL}/{last['id']}")).json == last


async def test_what_was_listed_and_called_is_not_listed_again_and_stays_known(
    api: Client, settings: Any, wiki: ScriptedMcp
) -> None:
    async with registered(
        api, settings, wiki, calling((NAME, "{}")), streamed("Ann."), streamed("Still Ann."), streamed("Yes.")
    ) as provider:
        first = (await api.post(URL, ASKED)).json
        again = {**ASKED, "input": "Sure?", "previous_response_id": first["id"]}
        second = (await api.post(URL, again)).json
        # Nor does a request without the tools forget what they said.
        plain = {"model": "c:m", "input": "Really?", "previous_response_id": second["id"]}
        await api.post(URL, plain)
    assert kinds(second) == ["message"]
    for request in provider.requests[2:]:
        assert [said["role"] for said in request["messages"]][:4] == ["user", "assistant", "tool", "assistant"]
    assert calls_of(wiki) == 1


async def test_a_call_waits_for_its_approval_and_is_made_once(api: Client, settings: Any, wiki: ScriptedMcp) -> None:
    tools = [{**TOOL, "require_approval": "always"}]
    async with registered(
        api, settings, wiki, calling((NAME, '{"q":1}')), streamed("Ann."), streamed("Ok.")
    ) as provider:
        first = (await api.post(URL, {**ASKED, "tools": tools})).json
        assert (first["status"], kinds(first)) == ("completed", ["mcp_list_tools", "mcp_approval_request"])
        assert calls_of(wiki) == 0
        request = of_kind(first, "mcp_approval_request")
        approval = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
        more = {"model": "c:m", "tools": tools, "previous_response_id": first["id"], "input": [approval]}
        second = (await api.post(URL, more)).json
        third = (await api.post(URL, {**more, "input": "Go on", "previous_response_id": second["id"]})).json
    assert kinds(second) == ["mcp_call", "message"]
    call = of_kind(second, "mcp_call")
    assert (call["approval_request_id"], call["arguments"]) == (request["id"], '{"q":1}')
    assert kinds(third) == ["message"]
    assert calls_of(wiki) == 1
    assert provider.requests[1]["messages"][-1]["content"] == 'found {"q": 1}'


async def test_a_refused_call_is_told_to_the_model_and_not_made(api: Client, settings: Any, wiki: ScriptedMcp) -> None:
    tools = [{key: value for key, value in TOOL.items() if key != "require_approval"}]
    async with registered(api, settings, wiki, calling((NAME, "{}")), streamed("Then not.")) as provider:
        first = (await api.post(URL, {**ASKED, "tools": tools})).json
        request = of_kind(first, "mcp_approval_request")
        refusal = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": False,
                   "reason": "Too dear."}  # fmt: skip
        more = {"model": "c:m", "tools": tools, "previous_response_id": first["id"], "input": [refusal]}
        second = (await api.post(URL, more)).json
    assert (kinds(second), calls_of(wiki)) == (["message"], 0)
    assert provider.requests[1]["messages"][-1]["content"] == "The user did not approve this call. Too dear."


async def test_approvals_of_nothing_and_of_tools_that_are_not_named_are_refused(
    api: Client, settings: Any, wiki: ScriptedMcp
) -> None:
    approval = {"type": "mcp_approval_response", "approval_request_id": "mcpr_no", "approve": True}
    async with registered(api, settings, wiki, streamed("Hi")):
        unknown = await api.post(URL, {**ASKED, "input": [approval]})
        other = {"type": "mcp_approval_request", "id": "mcpr_no", "server_label": "wiki", "name": "hidden",
                 "arguments": "{}"}  # fmt: skip
        foreign = await api.post(URL, {**ASKED, "input": [other, approval]})
    assert (unknown.status, unknown.json["error"]["param"]) == (400, "input[0].approval_request_id")
    assert (foreign.status, foreign.json["error"]["param"]) == (400, "tools")
    assert calls_of(wiki) == 0


@pytest.mark.parametrize(
    ("policy", "asks"),
    [
        ("always", {"look_up", "write"}),
        ("never", set()),
        (None, {"look_up", "write"}),
        ({"never": {"read_only": True}}, {"write"}),
        ({"never": {"tool_names": ["write"]}}, {"look_up"}),
        ({"always": {"tool_names": ["write"]}}, {"write"}),
    ],
)
async def test_the_policy_says_which_calls_a_person_approves(
    api: Client, settings: Any, wiki: ScriptedMcp, policy: Any, asks: set[str]
) -> None:
    calls = calling((NAME, "{}"), ("mcp__wiki__write", "{}"))
    async with registered(api, settings, wiki, calls, streamed("Done.")):
        response = (await api.post(URL, {**ASKED, "tools": [{**TOOL, "require_approval": policy}]})).json
    requests = {item["name"] for item in response["output"] if item["type"] == "mcp_approval_request"}
    assert requests == asks
    assert calls_of(wiki) == 2 - len(asks)


async def test_no_request_lowers_what_the_owner_of_the_server_wants(
    api: Client, settings: Any, wiki: ScriptedMcp
) -> None:
    async with registered(api, settings, wiki, calling((NAME, "{}"))):
        await api.patch("/v1/mcp-servers/wiki", {"requiresApproval": True})
        response = (await api.post(URL, ASKED)).json
    assert kinds(response) == ["mcp_list_tools", "mcp_approval_request"]


@pytest.mark.parametrize("allowed", [["look_up"], {"tool_names": ["look_up"]}, {"read_only": True}])
async def test_only_allowed_tools_are_shown(api: Client, settings: Any, wiki: ScriptedMcp, allowed: Any) -> None:
    async with registered(api, settings, wiki, streamed("Hi")) as provider:
        response = (await api.post(URL, {**ASKED, "tools": [{**TOOL, "allowed_tools": allowed}]})).json
    assert [one["name"] for one in of_kind(response, "mcp_list_tools")["tools"]] == ["look_up"]
    assert [one["function"]["name"] for one in provider.requests[0]["tools"]] == [NAME]


async def test_the_number_of_calls_is_limited_and_the_model_answers_without_the_tools(
    api: Client, settings: Any, wiki: ScriptedMcp
) -> None:
    calls = calling((NAME, "{}"), (NAME, "{}"))
    async with registered(api, settings, wiki, calls, streamed("Enough.")) as provider:
        response = (await api.post(URL, {**ASKED, "max_tool_calls": 1})).json
    assert (response["max_tool_calls"], calls_of(wiki), text_of(response)) == (1, 1, "Enough.")
    assert [item["status"] for item in response["output"] if item["type"] == "mcp_call"] == ["completed", "failed"]
    assert "tools" not in provider.requests[1]


async def test_a_call_of_the_clients_own_tool_ends_the_response(api: Client, settings: Any, wiki: ScriptedMcp) -> None:
    own = {"type": "function", "name": "mine", "parameters": {"type": "object", "properties": {}}}
    calls = calling((NAME, "{}"), ("mine", "{}"))
    async with registered(api, settings, wiki, calls, streamed("Done.")) as provider:
        first = (await api.post(URL, {**ASKED, "tools": [TOOL, own]})).json
        assert kinds(first) == ["mcp_list_tools", "mcp_call", "function_call"]
        result = {"type": "function_call_output", "call_id": of_kind(first, "function_call")["call_id"], "output": "7"}
        more = {**ASKED, "tools": [TOOL, own], "input": [result], "previous_response_id": first["id"]}
        second = (await api.post(URL, more)).json
    assert text_of(second) == "Done."
    roles = [said["role"] for said in provider.requests[1]["messages"]]
    assert (roles[0], roles.count("tool")) == ("user", 2)


async def test_a_tool_that_fails_and_a_server_that_is_away_are_told_to_the_model_and_the_client(
    api: Client, settings: Any, wiki: ScriptedMcp
) -> None:
    wiki.results["look_up"] = {"content": [{"type": "text", "text": "no such page"}], "isError": True}
    async with registered(
        api, settings, wiki, calling((NAME, "{}")), streamed("Sorry."), streamed("Alone.")
    ) as provider:
        failed = of_kind((await api.post(URL, ASKED)).json, "mcp_call")
        await api.post("/v1/mcp-servers", {"name": "gone", "url": "http://127.0.0.1:9/mcp"})
        gone = (await api.post(URL, {**ASKED, "tools": [{**TOOL, "server_label": "gone"}]})).json
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert failed["error"] == {
        "type": "mcp_tool_execution_error",
        "content": [{"type": "text", "text": "no such page"}],
    }
    assert provider.requests[1]["messages"][-1]["content"] == "no such page"
    assert (gone["status"], text_of(gone)) == ("completed", "Alone.")
    assert gone["output"][0]["error"]


async def test_what_is_not_served_is_refused_by_name(
    api: Client, gateway: GatewayHarness, tenant: Any, settings: Any, wiki: ScriptedMcp
) -> None:
    async with registered(api, settings, wiki, streamed("Hi")) as provider:
        for more, param, status in (
            ({"server_label": "unknown"}, "server_label", 400),
            ({"server_label": "a__b"}, "server_label", 400),
            ({"connector_id": "connector_gmail"}, "connector_id", 400),
            ({"tunnel_id": "t"}, "tunnel_id", 400),
            ({"require_approval": "perhaps"}, "require_approval", 400),
            ({"allowed_tools": "all"}, "allowed_tools", 400),
            ({"server_url": "ftp://x"}, "server_url", 400),
        ):
            refused = await api.post(URL, {**ASKED, "tools": [{**TOOL, **more}]})
            assert (refused.status, refused.json["error"]["param"]) == (status, f"tools[0].{param}"), refused.body
        poor = gateway.client(await database.run(caller, tenant, ["inference"]))
        mine = {**TOOL, "server_url": wiki.url}
        forbidden = await poor.post(URL, {**ASKED, "tools": [mine]})
        assert forbidden.status == 403
        assert provider.requests == []


@pytest.mark.parametrize("background", [False, True])
async def test_a_server_that_the_request_brings_gets_its_credentials_and_nothing_shows_them(
    api: Client, settings: Any, wiki: ScriptedMcp, background: bool
) -> None:
    given = {
        **TOOL,
        "server_label": "mine",
        "server_url": wiki.url,
        "authorization": "SECRET",
        "headers": {"X-Key": "HIDDEN"},
    }
    asked = {**ASKED, "tools": [given], "background": background}
    async with registered(api, settings, wiki, calling(("mcp__mine__look_up", "{}")), streamed("Ann.")):
        answered = await api.post(URL, asked)
        response = await finished(api, answered.json["id"])
    assert (response["status"], text_of(response)) == ("completed", "Ann.")
    assert {headers.get("authorization") for headers in wiki.headers} == {"Bearer SECRET"}
    assert {headers.get("x-key") for headers in wiki.headers} == {"HIDDEN"}
    row = await StoredResponse.objects.aget()
    for text in (answered.body.decode(), json.dumps(response), row.request, row.body, row.input, row.output):
        assert "SECRET" not in text
        assert "HIDDEN" not in text


async def test_private_addresses_are_refused(api: Client, settings: Any, wiki: ScriptedMcp) -> None:
    async with registered(api, settings, wiki, streamed("Hi")):
        settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
        refused = await api.post(URL, {**ASKED, "tools": [{**TOOL, "server_label": "x", "server_url": wiki.url}]})
    assert (refused.status, refused.json["error"]["param"]) == (400, "tools[0].server_url")


async def test_another_tenants_server_is_unknown(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any, wiki: ScriptedMcp
) -> None:
    async with registered(api, settings, wiki, streamed("Hi")):
        refused = await gateway.client(stranger).post(URL, ASKED)
    assert (refused.status, refused.json["error"]["param"]) == (400, "tools[0].server_label")


async def test_a_call_that_was_made_is_not_made_again_by_the_next_attempt(
    api: Client, gateway: GatewayHarness, settings: Any, wiki: ScriptedMcp
) -> None:
    never = asyncio.Event()
    replies = (calling((NAME, '{"q":1}')), streamed("A", "nn", gate=never), streamed("Ann."))
    asked = {**ASKED, "background": True, "stream": True}
    async with registered(api, settings, wiki, *replies) as provider:
        async with posted(api, asked) as reader:
            created = await reader.next()
            await reader.next_of("response.output_text.delta")
        await gateway.restart()
        response = await finished(api, created.data["response"]["id"])
        never.set()
    assert (response["status"], calls_of(wiki)) == ("completed", 1)
    assert kinds(response) == ["mcp_list_tools", "mcp_call", "message", "message"]
    assert [item.get("status") for item in response["output"]] == [None, "completed", "incomplete", "completed"]
    assert provider.requests[2]["messages"] == provider.requests[1]["messages"]
    frames = await events_of(api, response["id"])
    assert numbers(frames) == list(range(len(frames)))
    assert rebuilt(frames) == response["output"]
    async with scripted(settings, streamed("Yes.")) as later:
        await api.post(URL, {"model": "c:m", "input": "Sure?", "previous_response_id": response["id"]})
    said = [(one["role"], one.get("content")) for one in later.requests[0]["messages"]]
    assert [role for role, _ in said] == ["user", "assistant", "tool", "assistant", "user"]
    assert said[3][1] == "Ann."


async def test_a_call_that_was_cut_off_is_not_made_again_and_the_model_is_told(
    api: Client, gateway: GatewayHarness, settings: Any, wiki: ScriptedMcp
) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(params: Json) -> Json:
        loop.call_soon_threadsafe(started.set)
        return {"content": [{"type": "text", "text": "late"}]}

    wiki.results["look_up"] = slow
    asked = {**ASKED, "background": True}
    async with registered(api, settings, wiki, calling((NAME, "{}")), streamed("I cannot say.")) as provider:
        original = SERVERS.call

        async def hang(*args: Any, **more: Any) -> Any:
            await original(*args, **more)
            await asyncio.Event().wait()

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(SERVERS, "call", hang)
            queued = (await api.post(URL, asked)).json
            async with asyncio.timeout(WAIT):
                await started.wait()
            await gateway.stop()
        await gateway.start()
        response = await finished(api, queued["id"])
    assert calls_of(wiki) == 1
    call = of_kind(response, "mcp_call")
    assert call["status"] == "failed"
    assert "not repeated" in json.dumps(call["error"])
    assert "not repeated" in provider.requests[1]["messages"][-1]["content"]


async def test_a_provider_of_the_apis_own_wire_uses_the_gateways_server_too(
    api: Client, settings: Any, wiki: ScriptedMcp
) -> None:
    call = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": NAME,
        "arguments": "",
        "status": "in_progress",
    }
    whole = {**call, "arguments": "{}", "status": "completed"}
    base = STREAM["responses"][-1]["response"]
    events = [
        {"type": "response.created", "response": {**base, "status": "in_progress", "output": []}},
        {"type": "response.output_item.added", "output_index": 0, "item": call},
        {"type": "response.function_call_arguments.delta", "item_id": "fc_1", "output_index": 0, "delta": "{}"},
        {"type": "response.function_call_arguments.done", "item_id": "fc_1", "output_index": 0, "arguments": "{}"},
        {"type": "response.output_item.done", "output_index": 0, "item": whole},
        {"type": "response.completed", "response": {**base, "output": [whole]}},
    ]
    turns = [Reply(pieces=[sse(*made)], headers=SSE) for made in (events, STREAM["responses"])]
    async with registered(api, settings, wiki, *turns) as provider:
        response = (await api.post(URL, {**ASKED, "model": "r:m"})).json
        # A server that the provider knows is the provider's own affair.
        theirs = {"type": "mcp", "server_label": "deep", "server_url": "https://mcp.example/mcp"}
        await api.post(URL, {**ASKED, "model": "r:m", "tools": [theirs], "stream": True})
    assert kinds(response) == ["mcp_list_tools", "mcp_call", "message"]
    assert [item.get("type") for item in provider.requests[1]["input"]][-2:] == [
        "function_call",
        "function_call_output",
    ]
    assert provider.requests[2]["tools"] == [theirs]
