"""Tools of the operator's MCP servers, as real processes over stdio and HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from core_app import database
from core_app.database import run
from tests.gateway_harness import Client, api, gateway
from tests.tools.conftest import Session
from tests.tools.listening import listening
from tools_app import calls, registry
from tools_app.executors import builtin, mcp
from tools_app.executors.mcp import SERVERS
from tools_app.executors.mcp_connection import Connection
from tools_app.mcp import pool
from tools_app.mcp import server as mcp_server
from tools_app.mcp.definitions import Endpoint, ServerDefinition, ServerKey
from tools_app.states import CallState
from tools_app.types import UNKNOWN_EFFECT, CallResult

__all__ = ["api", "gateway"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("guarded")]

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tests.tools.mcp_server"]


@pytest.fixture
def configured(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Writes the section `mcp` of the operator's file."""
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    monkeypatch.setenv("GATEWAY_TEST_SECRET_OF_THE_GATEWAY", "hunter2")
    monkeypatch.setenv("GATEWAY_TEST_PASSED_ON", "welcome")

    def write(**servers: Any) -> None:
        settings.GATEWAY_CONFIG.write_text(json.dumps({"mcp": servers}))

    yield write
    SERVERS.close_all()


def local(**more: Any) -> dict[str, Any]:
    return {"command": COMMAND, "cwd": str(ROOT), "env_from": ["GATEWAY_TEST_PASSED_ON"], **more}


async def called(session: Session, name: str, args: dict[str, Any], **context: Any) -> CallResult:
    call_id = await run(session.planned, f"mcp__local__{name}", args)
    result = await session.execute(call_id, **{"builtins": ("mcp:local",), **context})
    assert result is not None
    return result


async def test_a_servers_tools_are_told_to_the_model_and_called(session: Session, configured: Any) -> None:
    configured(local=local())
    assert await run(registry.tool_specs, session.stream_id, ["mcp:local"]) == ()
    await builtin.prepare(["mcp:local"])
    specs = await run(registry.tool_specs, session.stream_id, ["mcp:local"])
    names = [spec.name for spec in specs]
    assert names == ["mcp__local__add", "mcp__local__environment", "mcp__local__fail", "mcp__local__die"]
    assert specs[0].parameters["required"] == ["a", "b"]
    assert (await called(session, "add", {"a": 2, "b": 3})).content == "5"
    assert (await called(session, "add", {"a": "x"})).status == "error"
    assert (await called(session, "fail", {})).status == "error"
    assert (await called(session, "add", {"a": 1, "b": 1}, builtins=())).status == "error"
    assert (await run(session.types)).count("tool_execution_end") == 4


async def test_a_server_sees_only_what_is_passed_on_of_the_environment(session: Session, configured: Any) -> None:
    configured(local=local(env={"OWN": "set"}))
    seen = [
        (await called(session, "environment", {"name": name})).content
        for name in ("GATEWAY_TEST_SECRET_OF_THE_GATEWAY", "GATEWAY_TEST_PASSED_ON", "OWN")
    ]
    assert seen == ["nothing", "welcome", "set"]


async def test_a_server_that_dies_costs_its_call_and_is_started_again(session: Session, configured: Any) -> None:
    configured(local=local())
    died = await called(session, "die", {})
    # It is not marked as idempotent, and nobody knows how far it came.
    assert (died.status, died.content.endswith(UNKNOWN_EFFECT)) == ("unknown", True)
    assert (await called(session, "add", {"a": 1, "b": 1})).content == "2"


async def test_a_server_that_is_not_there_has_no_tools(session: Session, configured: Any) -> None:
    configured(local={"command": [sys.executable, "-c", "raise SystemExit(1)"]})
    await builtin.prepare(["mcp:local"])
    assert await run(registry.tool_specs, session.stream_id, ["mcp:local"]) == ()
    assert (await called(session, "add", {"a": 1, "b": 1})).status == "error"


async def test_the_operator_can_ask_for_approval_of_a_servers_tools(session: Session, configured: Any) -> None:
    configured(local=local(approval="always"))
    call_id = await run(session.planned, "mcp__local__add", {"a": 1, "b": 1})
    assert await session.execute(call_id, builtins=("mcp:local",), approvals={"*": "never"}) is None
    assert (await run(session.call, call_id)).state == CallState.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("tool", "args", "repeated"), [("add", {"a": 1, "b": 1}, True), ("environment", {"name": "A"}, False)]
)
async def test_only_a_tool_that_says_it_may_is_called_again_after_a_crash(
    session: Session, configured: Any, tool: str, args: dict[str, Any], repeated: bool
) -> None:
    configured(local=local())
    call_id = await run(session.planned, f"mcp__local__{tool}", args)
    context = session.context(builtins=("mcp:local",))
    await builtin.prepare(context.builtins)
    await run(calls._begin, call_id, session.fence, context, session.settled.append)
    await run(session.taken_over)
    result = await session.execute(call_id, builtins=("mcp:local",))
    assert result is not None
    assert result.status == ("ok" if repeated else "unknown")


@pytest.fixture
def address() -> Iterator[str]:
    """The same server over HTTP, in a process of its own."""
    with listening(COMMAND) as port:
        yield f"http://127.0.0.1:{port}/mcp"


async def test_a_server_over_http_is_called(session: Session, configured: Any, address: str) -> None:
    configured(local={"url": address})
    assert (await called(session, "add", {"a": 20, "b": 22})).content == "42"


class SilentServer:
    """A server that takes connections and says nothing."""

    def __init__(self) -> None:
        self.connections = 0
        self.connected = asyncio.Event()
        self.url = ""
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/mcp"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        self.connected.set()


@pytest_asyncio.fixture
async def silent() -> AsyncIterator[Callable[[], Awaitable[SilentServer]]]:
    made: list[SilentServer] = []

    async def start() -> SilentServer:
        made.append(SilentServer())
        await made[-1].start()
        return made[-1]

    yield start
    for each in made:
        await each.stop()


async def connected(*servers: SilentServer) -> None:
    async with asyncio.timeout(60):
        for each in servers:
            await each.connected.wait()


async def test_a_silent_server_holds_no_thread_of_the_database_and_no_other_session(
    silent: Any, configured: Any, settings: Any, api: Client
) -> None:
    """It held a thread for each leg that began, up to all of them."""
    server = await silent()
    configured(silent={"url": server.url})
    database.shutdown()
    settings.GATEWAY_DB_THREADS = 1
    waiting = await api.session(model="demo:echo", tools=["mcp:silent"])
    await api.prompt(waiting, "hello")
    await connected(server)
    run = await api.run(await api.session(), "hello")
    assert run["status"] == "completed"
    assert (await api.post(f"/v1/sessions/{waiting}/abort", {})).status == 202


async def test_servers_are_opened_at_once_and_everybody_waits_for_the_same_attempt(
    silent: Any, configured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await silent(), await silent()
    configured(first={"url": first.url}, second={"url": second.url})
    opening = [asyncio.ensure_future(builtin.prepare(["mcp:first", "mcp:second"])) for _ in range(5)]
    await connected(first, second)
    assert not any(task.done() for task in opening)
    assert (first.connections, second.connections) == (1, 1)
    for task in opening:
        task.cancel()
    await asyncio.gather(*opening, return_exceptions=True)


async def test_a_server_that_failed_is_left_alone_for_a_pause_that_grows(
    silent: Any, configured: Any, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await silent()
    configured(local={"url": server.url})
    monkeypatch.setattr("tools_app.executors.mcp_connection.CONNECT_SECONDS", 0.2)
    attempts: list[str] = []
    open_connection = Connection.open

    async def count(self: Connection) -> None:
        attempts.append("opened")
        await open_connection(self)

    monkeypatch.setattr(Connection, "open", count)
    moment = 1000.0
    monkeypatch.setattr(mcp_server, "time", SimpleNamespace(monotonic=lambda: moment))
    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=lambda: moment))
    for pause in (30.0, 60.0, 120.0):
        before = len(attempts)
        await builtin.prepare(["mcp:local"])
        assert len(attempts) > before
        before = len(attempts)
        moment += pause - 1.0
        await builtin.prepare(["mcp:local"])
        assert (await called(session, "add", {"a": 1, "b": 1})).status == "error"
        assert len(attempts) == before
        moment += 1.0


async def test_a_silent_server_costs_the_calls_of_others_nothing(
    silent: Any, configured: Any, session: Session
) -> None:
    server = await silent()
    configured(local=local(), silent={"url": server.url})
    opening = asyncio.ensure_future(builtin.prepare(["mcp:silent"]))
    await connected(server)
    assert (await called(session, "add", {"a": 1, "b": 1})).content == "2"
    assert not opening.done()
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)


@pytest.mark.parametrize("servers", [{}, {"local": local()}], ids=["none", "one"])
async def test_the_library_is_loaded_ahead_where_servers_are_configured_and_only_there(
    configured: Any, monkeypatch: pytest.MonkeyPatch, servers: dict[str, Any]
) -> None:
    loads: list[str] = []
    monkeypatch.setattr(mcp, "preload_library", lambda: loads.append("loaded"))
    configured(**servers)
    await mcp.preload()
    assert len(loads) == len(servers)


@pytest.mark.parametrize(("waits_from", "turns"), [(0.0, [0, 1, 2, 3, 4]), (1000.0, [])], ids=["long", "short"])
async def test_legs_that_have_waited_long_for_the_same_attempt_go_on_one_after_the_other(
    configured: Any, monkeypatch: pytest.MonkeyPatch, waits_from: float, turns: list[int]
) -> None:
    """They would go on at once, and other tenants' requests would wait for all of them."""
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(pool, "pause", note)
    monkeypatch.setattr(pool, "LONG_WAIT_SECONDS", waits_from)
    # Whatever the time between two of them on a busy machine.
    monkeypatch.setattr(mcp_server, "SPACING_SECONDS", 1000.0)
    monkeypatch.setattr(mcp_server, "LONGEST_SPREAD_SECONDS", 10_000.0)
    configured(broken={"command": [sys.executable, "-c", "raise SystemExit(1)"]})
    await asyncio.gather(*(mcp.open_servers(["mcp:broken"]) for _ in range(5)))
    assert [round(seconds / 1000) for seconds in sorted(pauses)] == turns


def test_a_leg_is_kept_back_for_a_bounded_time_and_not_at_all_when_nobody_has_waited_with_it() -> None:
    spread = mcp_server.LONGEST_SPREAD_SECONDS
    server = mcp_server.Server(ServerDefinition(ServerKey(None, "any"), Endpoint()))
    many = 2 * round(spread / mcp_server.SPACING_SECONDS)
    assert max(server.leave_at(1000.0) for _ in range(many)) == 1000.0 + spread
    assert server.leave_at(2000.0) == 2000.0
