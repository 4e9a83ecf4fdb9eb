"""MCP servers that forget, change, misbehave and answer in every form, over real sockets."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from core_app.database import run
from tests.gateway_harness import eventually
from tests.tools.conftest import Session
from tests.tools.scripted_mcp import Answer, ScriptedMcp, Start, text, tool
from tools_app import operator_rules, registry
from tools_app.executors import builtin, mcp
from tools_app.executors.mcp import SERVERS
from tools_app.mcp import pool
from tools_app.mcp.definitions import ServerKey
from tools_app.mcp.models import McpServerState
from tools_app.mcp.names import model_name
from tools_app.types import UNKNOWN_EFFECT, CallResult

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("guarded")]

NAMES = ["mcp:s"]
PICTURE = base64.b64encode(b"\x89PNG picture").decode()


@pytest.fixture
def start(settings: Any, tmp_path: Any) -> Iterator[Start]:
    """Starts a scripted server and configures it as `s`, or as it is called."""
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    made: list[ScriptedMcp] = []
    sections: dict[str, Any] = {}

    def start(
        name: str = "s", *, modern: bool = False, running: ScriptedMcp | None = None, **section: Any
    ) -> ScriptedMcp:
        made.append(running or ScriptedMcp(modern=modern).start())
        sections[name] = {"url": made[-1].url, **section}
        settings.GATEWAY_CONFIG.write_text(json.dumps({"mcp": sections}))
        # A serving process looks at its file once a second.
        operator_rules.MCP.forget()
        return made[-1]

    yield start
    SERVERS.close_all()
    for each in dict.fromkeys(made):
        each.stop()


async def names(session: Session, builtins: list[str] = NAMES) -> list[str]:
    await builtin.prepare(builtins)
    return [spec.name for spec in await run(registry.tool_specs, session.stream_id, builtins)]


async def called(session: Session, name: str = "mcp__s__echo", args: Any = None) -> CallResult:
    call_id = await run(session.planned, name, args or {})
    result = await session.execute(call_id, builtins=tuple(NAMES))
    assert result is not None
    return result


async def heard(server: ScriptedMcp) -> None:
    """Waits until the gateway listens to the server's notifications."""
    assert await asyncio.to_thread(server.listening.wait, 60)


async def stale() -> None:
    """Waits until a notification has arrived."""
    known = SERVERS.server(ServerKey(None, "s"))
    assert known is not None
    await eventually(lambda: known.stale)


async def written_state() -> McpServerState:
    """Waits until a state is written."""
    async with asyncio.timeout(60):
        while not await run(McpServerState.objects.exists):  # noqa: ASYNC110  (it is written on another loop)
            await asyncio.sleep(0.01)
    return await run(McpServerState.objects.get)


def left_out() -> dict[str | None, str]:
    return {each.tool: each.reason for each in mcp.unavailable(NAMES)}


@pytest.mark.parametrize("status", [404, 400])
async def test_a_server_that_forgot_its_sessions_is_initialised_again(
    session: Session, start: Start, status: int
) -> None:
    server = start()
    assert (await called(session)).content == "echo"
    server.sessions.clear()
    if status == 400:
        error = {"jsonrpc": "2.0", "id": None, "error": {"code": -32000, "message": "No valid session ID provided"}}
        answer = Answer(400, json.dumps(error).encode(), {"content-type": "application/json"})
        server.hook = lambda method, message, headers: (
            answer if headers.get("mcp-session-id", "") not in {"", *server.sessions} else None
        )
    assert [(await called(session)).content for _ in range(2)] == ["echo", "echo"]
    # Not marked as idempotent: it was called once each, because a server that knows no session has done nothing.
    assert server.called("initialize") == 2


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", "2026-07-28"])
async def test_a_list_that_changed_is_asked_for_again(session: Session, start: Start, modern: bool) -> None:
    server = start(modern=modern)
    assert await names(session) == ["mcp__s__echo"]
    await heard(server)
    server.tools.append(tool("more"))
    assert await names(session) == ["mcp__s__echo"]
    server.notify()
    await stale()
    assert await names(session) == ["mcp__s__echo", "mcp__s__more"]
    assert (server.called("initialize"), server.called("server/discover")) == (0 if modern else 1, 1)


async def test_an_old_list_is_asked_for_again(session: Session, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start()
    assert await names(session) == ["mcp__s__echo"]
    server.tools.append(tool("more"))
    monkeypatch.setattr("tools_app.mcp.server.LIST_SECONDS", -1.0)
    assert await names(session) == ["mcp__s__echo", "mcp__s__more"]


async def test_a_stateless_server_gets_no_handshake_and_no_session(session: Session, start: Start) -> None:
    server = start(modern=True)
    assert (await called(session)).content == "echo"
    assert server.called("initialize") == 0
    assert all("mcp-session-id" not in headers for headers in server.headers)
    assert server.headers[-1]["mcp-protocol-version"] == "2026-07-28"


async def test_a_changed_configuration_is_used_without_a_restart(
    session: Session, start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    monkeypatch.setenv("GATEWAY_TEST_MCP_TOKEN_FILE", str(token))
    server = start(headers_env={"Authorization": "GATEWAY_TEST_MCP_TOKEN"})
    await called(session)
    assert server.headers[-1]["authorization"] == "first"
    token.write_text("second")
    await called(session)
    assert server.headers[-1]["authorization"] == "second"
    other = start()
    other.results["echo"] = text("moved")
    assert (await called(session)).content == "moved"


async def test_names_that_providers_refuse_are_mapped_and_mapped_back(session: Session, start: Start) -> None:
    server = start()
    odd = ["files.read", "a/b", "x" * 70, "größe", "…"]
    server.tools = [tool(name) for name in odd]
    shown = await names(session)
    assert shown == [model_name("s", name) for name in odd]
    assert len(set(shown)) == len(odd)
    assert all(
        len(name) <= 64 and name.isascii() and name.replace("_", "").replace("-", "").isalnum() for name in shown
    )
    assert [(await called(session, name)).content for name in shown] == odd


async def test_a_mapped_name_does_not_depend_on_the_tools_beside_it(session: Session, start: Start) -> None:
    """A call that waits for an approval must not become another tool's."""
    server = start()
    server.tools = [tool("a.b")]
    before = await names(session)
    server.tools = [tool("a_b"), tool("a/b"), tool("a.b"), tool("a.b")]
    server.notify()
    SERVERS.server(ServerKey(None, "s")).stale = True  # type: ignore[union-attr]
    shown = await names(session)
    assert before[0] == shown[2]
    assert len(set(shown)) == len(shown) == 3
    assert left_out() == {"a.b": "The server has another tool of this name."}


BAD_TOOLS = [
    tool("lookaround", {"type": "object", "properties": {"p": {"type": "string", "pattern": "^(?!x)a"}}}),
    tool("foreign", {"type": "object", "properties": {"p": {"$ref": "https://example.com/schema.json"}}}),
    tool("malformed", {"properties": {"n": {"type": "string", "required": True}}}),
    tool("array", {"type": "array"}),
    tool("text", "object"),
    tool("large", {"type": "object", "description": "x" * 100_000}),
    tool("n" * 2_000),
    {"name": 5, "inputSchema": {}},
    {"description": "nameless"},
    "no object",
    None,
]


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", "2026-07-28"])
async def test_a_bad_tool_costs_itself(session: Session, start: Start, modern: bool) -> None:
    server = start(modern=modern)
    server.tools = [*BAD_TOOLS[:5], tool("good", icons="none", outputSchema=7, annotations=[]), *BAD_TOOLS[5:]]
    assert await names(session) == ["mcp__s__good"]
    assert (await called(session, "mcp__s__good")).content == "good"
    assert len(mcp.unavailable(NAMES)) == len(BAD_TOOLS)
    assert {"lookaround", "foreign", "malformed", "array", "text", "large"} <= set(left_out())
    # A model that makes the tool up gets an answer, and the run goes on.
    assert (await called(session, "mcp__s__lookaround", {"p": "b"})).status == "error"


async def test_a_list_without_end_is_bounded(session: Session, start: Start) -> None:
    server = start()
    server.tools = [tool(f"t{number}") for number in range(400)]
    server.page_size = 100
    assert len(await names(session)) == 256
    assert server.called("tools/list") == 3
    server.page_size = 1
    SERVERS.server(ServerKey(None, "s")).stale = True  # type: ignore[union-attr]
    assert len(await names(session)) == 20


RESULTS: dict[str, tuple[Any, str]] = {
    "embedded": (
        {"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "x"}}]},
        "[resource file:///a]\nx",
    ),
    "link": (
        {"content": [{"type": "resource_link", "uri": "https://e.test/a", "name": "a", "description": "The a."}]},
        "[link] a <https://e.test/a>: The a.",
    ),
    "both": ({**text("said"), "structuredContent": {"n": 5}}, 'said\n{"n":5}'),
    "twice": ({**text('{"n": 5}'), "structuredContent": {"n": 5}}, '{"n": 5}'),
    "wrapped": ({**text("5"), "structuredContent": {"result": 5}}, "5"),
    "structured": ({"content": [], "structuredContent": {"n": 5}}, '{"n":5}'),
    "contentless": ({"structuredContent": {"n": 5}}, '{"n":5}'),
    "unknown": ({"content": [{"type": "hologram", "data": "z"}]}, '{"type":"hologram","data":"z"}'),
    "malformed": ({"content": "just text"}, "just text"),
    "blob": (
        {"content": [{"type": "resource", "resource": {"uri": "f://b", "blob": "eA==", "mimeType": "text/plain"}}]},
        "[resource f://b (text/plain)]\nx",
    ),
    "binary": (
        {"content": [{"type": "resource", "resource": {"uri": "f://b", "blob": "eA==", "mimeType": "x/y"}}]},
        "[resource f://b (x/y): 1 bytes that cannot be shown]",
    ),
    "nothing": ({"content": []}, "(no output)"),
    "no base64": (
        {"content": [{"type": "image", "data": "§", "mimeType": "image/png"}]},
        "[image (image/png): its data is not base64]",
    ),
}


@pytest.mark.parametrize("name", RESULTS)
async def test_every_kind_of_content_is_handed_on(session: Session, start: Start, name: str) -> None:
    server = start()
    server.results["echo"], expected = RESULTS[name]
    result = await called(session)
    assert (result.status, result.content) == ("ok", expected)


async def test_images_and_sounds_are_handed_on_as_such(session: Session, start: Start) -> None:
    server = start()
    image = {"type": "image", "data": PICTURE, "mimeType": "image/png"}
    sound = {"type": "audio", "data": "eA==", "mimeType": "audio/wav"}
    server.results["echo"] = {"content": [image, sound], "isError": False}
    result = await called(session)
    assert result.content == "[image (image/png): attached]\n[audio (audio/wav): attached]"
    assert result.media == 2
    assert [(part.kind, part.data) for part in session.settled[-1].media] == [
        ("image", b"\x89PNG picture"),
        ("audio", b"x"),
    ]


@pytest.mark.parametrize("modern", [False, True], ids=["2025-11-25", "2026-07-28"])
async def test_the_model_reads_the_message_of_an_error(session: Session, start: Start, modern: bool) -> None:
    server = start(modern=modern)
    server.results["echo"] = {"error": {"code": -32602, "message": "The city is missing."}}
    result = await called(session)
    assert (result.status, result.content) == ("error", "The MCP server s refused the call: The city is missing.")
    server.results["echo"] = {**text("out of order"), "isError": True}
    assert ((result := await called(session)).status, result.content) == ("error", "out of order")


def _on_call(answer: Answer) -> Any:
    return lambda method, message, headers: answer if message.get("method") == "tools/call" else None


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        (Answer(500, b"<h1>trace of the server</h1>"), "error", "It answered 500 Internal Server Error."),
        (Answer(200, b"{not json", {"content-type": "application/json"}), "error", "Failed to parse JSON"),
        (Answer(200, b"hello", {"content-type": "text/html"}), "error", "Unexpected content type"),
        (Answer(302, b"", {"location": "http://127.0.0.1:1/other"}), "error", "not followed"),
        (Answer(200, b"[]", {"content-type": "application/json"}), "error", "Failed to parse JSON"),
        (Answer(200, b"x", {"content-type": "application/json"}, broken=True), "unknown", UNKNOWN_EFFECT),
        (Answer(200, b"data: {\n\n", {"content-type": "text/event-stream"}), "error", "Failed to parse"),
        (Answer(200, b": nothing\n\n", {"content-type": "text/event-stream"}), "unknown", UNKNOWN_EFFECT),
        (Answer(202), "error", "202"),
    ],
)
async def test_a_bad_answer_costs_its_call_and_no_other(
    session: Session, start: Start, answer: Answer, status: str, said: str
) -> None:
    server = start()
    await names(session)
    server.hook = _on_call(answer)
    result = await called(session)
    assert result.status == status
    assert said in result.content
    assert "trace of the server" not in result.content
    server.hook = lambda method, message, headers: None
    assert (await called(session)).content == "echo"
    assert server.called("initialize") == 1


async def test_an_answer_that_is_too_large_costs_its_call(
    session: Session, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools_app.mcp.transport.MAX_BODY_BYTES", 10_000)
    server = start()
    server.results["echo"] = text("x" * 20_000)
    result = await called(session)
    assert (result.status, "more than 10000 bytes" in result.content) == ("unknown", True)
    assert (await called(session, "mcp__s__nothing")).status == "error"


async def test_a_silent_call_ends_and_leaves_the_connection_as_it_was(session: Session, start: Start) -> None:
    server = start()
    await names(session)
    start(running=server, timeout_seconds=0.3)
    server.hook = _on_call(Answer(silent=True))
    assert (await called(session)).status == "unknown"
    start(running=server)
    server.hook = lambda method, message, headers: None
    assert (await called(session)).content == "echo"
    assert server.called("initialize") == 1


async def test_a_server_that_came_back_elsewhere_in_time_is_reached_again(session: Session, start: Start) -> None:
    """The first call was never sent, so it may be made again although its tool is not idempotent."""
    start()
    await names(session)
    known = SERVERS.server(ServerKey(None, "s"))
    assert known is not None
    connection = known.connection
    assert connection is not None
    await asyncio.wrap_future(SERVERS._submit(connection.close()))
    assert (await called(session)).content == "echo"


async def test_a_server_that_is_away_is_said_with_its_reason(session: Session, start: Start) -> None:
    server = start()
    server.hook = lambda method, message, headers: Answer(401)
    assert await names(session) == []
    assert left_out() == {None: "It answered 401 Unauthorized."}
    state = await written_state()
    assert (state.tenant_id, state.name, state.state) == (None, "s", "unauthorized")


async def test_what_is_seen_of_servers_is_kept_for_operators(session: Session, start: Start) -> None:
    server = start()
    server.tools = [tool("good"), BAD_TOOLS[0]]
    await names(session)
    state = await written_state()
    assert (state.name, state.state, state.tools, state.protocol) == ("s", "ok", 1, "2025-11-25")
    assert [each["tool"] for each in state.left_out] == ["lookaround"]


async def test_a_flood_of_notifications_lists_nothing_by_itself(session: Session, start: Start) -> None:
    server = start()
    await names(session)
    await heard(server)
    for _ in range(200):
        server.notify()
    await stale()
    assert server.called("tools/list") == 1
    assert await names(session) == ["mcp__s__echo"]


def test_the_servers_of_tenants_are_counted_together() -> None:
    assert pool._label(ServerKey(5, "theirs")) == "(tenants)"
    assert pool._label(ServerKey(None, "ours")) == "ours"
