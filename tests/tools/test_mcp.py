"""Tools of the operator's MCP servers, as real processes over stdio and HTTP."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core_app.database import run
from tests.tools.conftest import Session
from tools_app import calls, registry
from tools_app.executors.mcp import SERVERS
from tools_app.states import CallState
from tools_app.types import CallResult

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
    assert (await called(session, "die", {})).status == "error"
    assert (await called(session, "add", {"a": 1, "b": 1})).content == "2"


async def test_a_server_that_is_not_there_has_no_tools(session: Session, configured: Any) -> None:
    configured(local={"command": [sys.executable, "-c", "raise SystemExit(1)"]})
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
    await run(calls._begin, call_id, session.fence, context, session.settled.append)
    await run(session.taken_over)
    result = await session.execute(call_id, builtins=("mcp:local",))
    assert result is not None
    assert result.status == ("ok" if repeated else "error")


@pytest.fixture
def address() -> Iterator[str]:
    """The same server over HTTP, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*COMMAND, str(port)], cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until, "the server did not start"
                assert process.poll() is None, "the server ended"
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.kill()
        process.wait(60)


async def test_a_server_over_http_is_called(session: Session, configured: Any, address: str) -> None:
    configured(local={"url": address})
    assert (await called(session, "add", {"a": 20, "b": 22})).content == "42"
