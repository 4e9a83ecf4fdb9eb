"""A tool that must not be repeated is called once, and a call whose effect is not known says so."""

from __future__ import annotations

import asyncio
import socket
from http.server import BaseHTTPRequestHandler
from typing import Any

import aiohttp.connector
import pytest

from core_app.database import run
from tests.tools.conftest import CallbackServer, Session
from tests.tools.test_execution import hang_up
from tools_app import calls
from tools_app.executors.builtin import BUILTINS
from tools_app.states import CallState
from tools_app.types import UNKNOWN_EFFECT, CallResult

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("private_allowed", "guarded"),
]


def answer_garbage(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"no HTTP at all\r\n\r\n")


async def called(session: Session, **registration: Any) -> CallResult:
    await run(session.attach, idempotent=False, **registration)
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    return result


@pytest.mark.parametrize(
    "reply",
    [
        (500, b""),
        (502, b""),
        (503, b""),
        (504, b""),
        (200, b"no JSON"),
        (200, b'{"result":"' + b"x" * 1_100_000 + b'"}'),
        hang_up,
        answer_garbage,
    ],
)
async def test_a_tool_that_is_not_idempotent_is_called_once_and_its_effect_is_unknown(
    session: Session, server: CallbackServer, reply: Any
) -> None:
    server.replies = [reply]
    result = await called(session, callbackUrl=server.url)
    assert len(server.received) == 1
    assert (result.status, result.content.endswith(UNKNOWN_EFFECT)) == ("unknown", True)
    end = await run(session.event, "tool_execution_end")
    assert (end["status"], end["result"]) == ("unknown", result.content)
    assert [settled.status for settled in session.settled] == ["unknown"]


async def test_a_tool_that_is_not_idempotent_and_does_not_answer_in_time_has_an_unknown_effect(
    session: Session, server: CallbackServer
) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(60)

    server.replies = [hang]
    result = await called(session, callbackUrl=server.url, timeoutMs=500)
    released.set()
    assert (result.status, len(server.received)) == ("unknown", 1)


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ((200, b'{"result":"done"}'), "ok"),
        ((200, b'{"error":"no"}'), "error"),
        ((404, b""), "error"),
        ((302, b""), "error"),
    ],
)
async def test_a_tool_that_says_what_happened_has_no_unknown_effect(
    session: Session, server: CallbackServer, reply: Any, status: str
) -> None:
    server.replies = [reply]
    result = await called(session, callbackUrl=server.url)
    assert (result.status, len(server.received)) == (status, 1)


async def test_a_tool_that_is_not_idempotent_is_called_again_if_nothing_was_sent(
    session: Session, server: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The port refuses the first connection and takes the second."""
    refusals = [ConnectionRefusedError(111, "refused")]
    connector: Any = vars(aiohttp.connector)["aiohappyeyeballs"]
    connect = connector.start_connection

    async def refuse_first(*args: Any, **more: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await connect(*args, **more)

    monkeypatch.setattr(connector, "start_connection", refuse_first)
    result = await called(session, callbackUrl=server.url)
    assert (result.status, result.content, refusals) == ("ok", "done", [])
    assert len(server.received) == 1


async def test_a_tool_that_nobody_listens_for_is_an_error_and_no_unknown_effect(session: Session) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        result = await called(session, callbackUrl=f"http://127.0.0.1:{closed.getsockname()[1]}/hook")
    assert (result.status, UNKNOWN_EFFECT in result.content) == ("error", False)


async def test_a_call_that_was_interrupted_is_not_made_again_and_its_effect_is_unknown(
    session: Session, server: CallbackServer
) -> None:
    await run(session.attach, callbackUrl=server.url, idempotent=False)
    call_id = await run(session.planned, "lookup", {})
    await run(calls._begin, call_id, session.fence, session.context(), session.settled.append)
    await run(session.taken_over)
    result = await session.execute(call_id)
    assert result is not None
    assert (result.status, result.content.endswith(UNKNOWN_EFFECT)) == ("unknown", True)
    assert server.received == []


async def test_a_bug_in_an_executor_leaves_the_effect_of_its_call_unknown(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from dataclasses import replace

    async def broken(args: Any, context: Any) -> Any:
        raise ZeroDivisionError

    for idempotent, status in ((True, "error"), (False, "unknown")):
        tool = replace(BUILTINS["current_time"], run=broken, idempotent=idempotent)
        monkeypatch.setitem(BUILTINS, "current_time", tool)
        result = await session.execute(await run(session.planned, "current_time", {}))
        assert result is not None
        assert result.status == status
    caplog.clear()


@pytest.mark.parametrize("idempotent", [True, False])
async def test_a_call_that_runs_when_its_run_ends_has_an_unknown_effect(
    session: Session, server: CallbackServer, idempotent: bool
) -> None:
    await run(session.attach, callbackUrl=server.url, idempotent=idempotent)
    running = await run(session.planned, "lookup", {})
    await run(calls._begin, running, session.fence, session.context(), session.settled.append)
    await run(session.planned, "lookup", {})
    await run(
        calls.calls_cancel,
        stream_id=session.stream_id,
        run_id=session.run_id,
        reason="The run has ended.",
        on_settled=session.settled.append,
    )
    begun, planned = session.settled
    assert (begun.status, begun.content) == ("unknown", f"The run has ended. {UNKNOWN_EFFECT}")
    assert (planned.status, planned.content) == ("rejected", "The run has ended.")
    statuses = [data["status"] for type_, data in await run(session.events) if type_ == "tool_execution_end"]
    assert statuses == ["unknown", "rejected"]


async def test_a_callback_that_has_answered_202_when_its_run_ends_has_an_unknown_effect(
    session: Session, server: CallbackServer
) -> None:
    server.replies = [(202, b"")]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    assert await session.execute(call_id) is None
    assert (await run(session.call, call_id)).state == CallState.ACCEPTED
    await run(
        calls.calls_cancel,
        stream_id=session.stream_id,
        run_id=session.run_id,
        reason="The run has ended.",
        on_settled=session.settled.append,
    )
    assert (await run(session.event, "tool_execution_end"))["status"] == "unknown"
