"""Calls executed: unknown tools, bad arguments, policies, callbacks, and processes that die in the middle."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook

from core_app import jsontext
from core_app.database import run, run_leg
from core_app.errors import Conflict, Gone, NotFound
from core_app.guarded_client import CLIENT
from events_app.lease import LeaseLost
from tests.tools.conftest import CallbackServer, Session
from tools_app import calls
from tools_app.executors.builtin import BUILTINS
from tools_app.signing import tenant_secrets
from tools_app.states import CallState
from tools_app.types import CallResult

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("private_allowed", "guarded"),
]

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0"


async def test_an_unknown_tool_is_an_error_that_names_the_known_ones(session: Session) -> None:
    await run(session.attach, "lookup")
    result = await session.execute(await run(session.planned, "look_up", {}))
    assert result is not None
    assert result.status == "error"
    assert "lookup" in result.content
    assert "ask_user" in result.content
    assert await run(session.types) == ["tool_attached", "tool_call_unknown", "tool_execution_end"]


@pytest.mark.parametrize("args", ["{not json", {"n": "text"}, {}, {"n": 1, "more": 2}])
async def test_arguments_that_do_not_fit_go_back_to_the_model_and_not_to_the_callback(
    session: Session, server: CallbackServer, args: Any
) -> None:
    schema = {"properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    await run(session.attach, callbackUrl=server.url, parameters=schema)
    result = await session.execute(await run(session.planned, "lookup", args))
    assert result is not None
    assert result.status == "error"
    assert server.received == []


async def test_a_callback_gets_the_contracts_body_signed(session: Session, server: CallbackServer) -> None:
    server.replies = [(200, b'{"result":{"answer":[1,2]}}')]
    await run(session.attach, callbackUrl=server.url, secret=SECRET)
    call_id = await run(session.planned, "lookup", {"q": "ü"})
    assert await session.execute(call_id) == CallResult(call_id, "ok", '{"answer":[1,2]}')
    (received,) = server.received
    body = Webhook(SECRET).verify(received.body, dict(received.headers))
    assert received.headers["webhook-id"] == call_id
    assert body.pop("resultUrl").startswith("https://gateway.test/v1/callbacks/")
    assert body == {
        "callId": call_id,
        "toolName": "lookup",
        "args": {"q": "ü"},
        "sessionId": "s-1",
        "requestId": "run_1",
    }
    assert await run(session.types) == ["tool_attached", "tool_execution_start", "tool_execution_end"]
    assert [settled.content for settled in session.settled] == ['{"answer":[1,2]}']


async def test_a_tool_without_a_secret_is_signed_with_its_tenants(session: Session, server: CallbackServer) -> None:
    await run(session.attach, callbackUrl=server.url)
    await session.execute(await run(session.planned, "lookup", {}))
    Webhook(tenant_secrets(session.tenant)[0]).verify(server.received[0].body, dict(server.received[0].headers))


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        ((200, b'{"error":"no such city"}'), "no such city"),
        ((200, b"plain"), "something other"),
        ((200, b"[1]"), "something other"),
        ((200, b'{"result":1,"error":"x"}'), "something other"),
        ((200, b'{"result":NaN}'), "something other"),
        ((404, b"{}"), "404"),
        ((302, b""), "302"),
        ((200, b'{"result":"' + b"x" * 1_100_000 + b'"}'), "more than"),
    ],
)
async def test_any_other_answer_is_an_error_told_to_the_model(
    session: Session, server: CallbackServer, reply: tuple[int, bytes], told: str
) -> None:
    server.replies = [reply]
    await run(session.attach, callbackUrl=server.url)
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert result.status == "error"
    assert told in result.content
    assert len(server.received) == 1
    assert (await run(session.event, "tool_execution_end"))["status"] == "error"


async def test_failures_of_the_server_are_tried_twice_again_with_the_same_id(
    session: Session, server: CallbackServer
) -> None:
    server.replies = [(503, b""), hang_up, (200, b'{"result":"third"}')]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    assert await session.execute(call_id) == CallResult(call_id, "ok", "third")
    assert {received.headers["webhook-id"] for received in server.received} == {call_id}
    assert len({received.body for received in server.received}) == 1
    assert len(server.received) == 3


async def test_a_callback_that_was_answered_in_a_form_nobody_can_read_is_not_made_again(
    session: Session, server: CallbackServer
) -> None:
    def packed(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Encoding", "gzip")
        handler.send_header("Content-Length", "3")
        handler.end_headers()
        handler.wfile.write(b"zip")

    server.replies = [packed]
    await run(session.attach, callbackUrl=server.url)
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert (result.status, "compressed" in result.content) == ("error", True)
    assert len(server.received) == 1


async def test_a_server_that_keeps_failing_is_an_error_after_the_third_time(
    session: Session, server: CallbackServer
) -> None:
    server.replies = [(500, b"")]
    await run(session.attach, callbackUrl=server.url)
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert result.status == "error"
    assert len(server.received) == 3


async def test_a_callback_that_does_not_answer_in_time_is_a_timeout(session: Session, server: CallbackServer) -> None:
    released = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(60)

    server.replies = [hang]
    await run(session.attach, callbackUrl=server.url, timeoutMs=100)
    result = await session.execute(await run(session.planned, "lookup", {}))
    released.set()
    assert result is not None
    assert result.status == "timeout"


async def test_a_refused_address_is_an_error_of_the_call(
    session: Session, server: CallbackServer, settings: Any
) -> None:
    await run(session.attach, callbackUrl=server.url)
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert result.status == "error"
    assert server.received == []


async def test_a_tenant_may_be_allowed_private_addresses(
    session: Session, server: CallbackServer, settings: Any
) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = False
    session.tenant.settings = {"allow_private": True}
    await run(session.tenant.save)
    await run(session.attach, callbackUrl=server.url)
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert result.status == "ok"


async def test_a_long_result_is_cut_for_the_event_and_for_the_model(session: Session, server: CallbackServer) -> None:
    server.replies = [(200, b'{"result":"' + "é".encode() * 200_000 + b'"}')]
    await run(session.attach, callbackUrl=server.url)
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert len(result.content.encode()) < 257 * 1024
    assert "[cut" in result.content
    end = await run(session.event, "tool_execution_end")
    assert end["truncated"] is True
    assert len(end["result"].encode()) <= 64 * 1024


async def test_a_huge_answer_is_not_read_on_the_loop(
    session: Session, server: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[threading.Thread] = []
    decode = jsontext.decode_untrusted

    def recorded(data: bytes) -> Any:
        readers.append(threading.current_thread())
        return decode(data)

    monkeypatch.setattr(jsontext, "decode_untrusted", recorded)
    server.replies = [(200, b'{"result":[' + b'"a word of an answer",' * 40_000 + b"1]}")]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    result = await session.execute(call_id)
    assert len(readers) == 1
    assert readers[0] is not threading.current_thread()
    assert result is not None
    assert result.status == "ok"


async def test_a_secret_of_another_key_is_an_error_that_says_so(
    session: Session, server: CallbackServer, settings: Any
) -> None:
    await run(session.attach, callbackUrl=server.url, secret=SECRET)
    settings.SECRET_KEY = "another"
    result = await session.execute(await run(session.planned, "lookup", {}))
    assert result is not None
    assert "GATEWAY_SECRET_KEY" in result.content
    assert server.received == []


async def test_surrogates_and_nul_everywhere_are_replaced(session: Session, server: CallbackServer) -> None:
    server.replies = [(200, b'{"result":"\\ud800 \\u0000 \\udc00"}')]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {"a\ud800": "\x00\udfff"})
    result = await session.execute(call_id)
    assert result is not None
    assert result.content == "\ufffd \ufffd \ufffd"
    odd = await session.execute(await run(session.planned, "\ud800\x00", {}))
    assert odd is not None
    assert odd.status == "error"


# --- Late results ------------------------------------------------------------------------------------


async def accepted(session: Session, server: CallbackServer) -> tuple[str, str]:
    """A call whose callback answered 202: its id and the token of its address."""
    server.replies = [(202, b"")]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    assert await session.execute(call_id) is None
    return call_id, server.received[0].json["resultUrl"].rpartition("/")[2]


def post(session: Session, token: str, body: Any) -> Any:
    return calls.callback_result(token=token, body=body, on_settled=session.settled.append)


async def test_a_202_waits_for_the_result_at_the_single_use_address(session: Session, server: CallbackServer) -> None:
    call_id, token = await accepted(session, server)
    assert await run(calls.waiting_kind, session.run_id) == "waiting_tool"
    assert await session.execute(call_id) is None
    placed = await run(post, session, token, {"result": "late"})
    assert (placed.stream_id, placed.run_id) == (session.stream_id, session.run_id)
    assert await session.execute(call_id) == CallResult(call_id, "ok", "late")
    assert await run(post, session, token, {"result": "late"}) == placed
    with pytest.raises(Conflict):
        await run(post, session, token, {"result": "other"})
    with pytest.raises(NotFound):
        await run(post, session, "guessed", {"result": "late"})
    assert len(session.settled) == len(server.received) == 1


async def test_a_late_result_can_come_too_late(session: Session, server: CallbackServer) -> None:
    call_id, token = await accepted(session, server)
    await run(session.make_late, call_id)
    with pytest.raises(Gone):
        await run(post, session, token, {"result": "late"})
    await run(calls.calls_expire, limit=10, on_settled=session.settled.append)
    with pytest.raises(Gone):
        await run(post, session, token, {"result": "late"})
    assert (await run(session.event, "tool_execution_end"))["status"] == "timeout"


async def test_a_result_that_comes_before_the_202_is_kept(session: Session, server: CallbackServer) -> None:
    def answer_first(handler: BaseHTTPRequestHandler) -> None:
        token = server.received[-1].json["resultUrl"].rpartition("/")[2]
        asyncio.run_coroutine_threadsafe(run(post, session, token, {"result": "early"}), loop).result(60)
        handler.send_response(202)
        handler.end_headers()

    loop = asyncio.get_running_loop()
    server.replies = [answer_first]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    assert await session.execute(call_id) == CallResult(call_id, "ok", "early")
    assert (await run(session.types)).count("tool_execution_end") == 1


# --- Policies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("required", "policy", "asks"),
    [
        (False, {}, False),
        (True, {}, True),
        (True, {"lookup": "never"}, False),
        (True, {"*": "never"}, False),
        (False, {"*": "always"}, True),
        (False, {"lookup": "never", "*": "always"}, False),
    ],
)
async def test_a_clients_policy_raises_and_lowers_what_it_registered(
    session: Session, required: bool, policy: dict[str, str], asks: bool
) -> None:
    await run(session.attach, requiresApproval=required)
    call_id = await run(session.planned, "lookup", {})
    assert await session.execute(call_id, approvals=policy) is None
    state = (await run(session.call, call_id)).state
    assert state == (CallState.AWAITING_APPROVAL if asks else CallState.REQUESTED)


async def test_a_client_cannot_lower_the_operators_rule(session: Session, settings: Any, tmp_path: Any) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text("tools: {approvals: {current_time: always}}")
    call_id = await run(session.planned, "current_time", {})
    assert await session.execute(call_id, approvals={"current_time": "never", "*": "never"}) is None
    demo = await run(session.planned, "demo_approval", {})
    assert await session.execute(demo, approvals={"demo_approval": "never"}, builtins=("demo_approval",)) is None
    assert await run(calls.waiting_kind, session.run_id) == "waiting_approval"


async def test_an_approved_builtin_is_executed_by_the_next_leg(session: Session) -> None:
    call_id = await run(session.planned, "demo_approval", {"action": "launch"})
    assert await session.execute(call_id, builtins=("demo_approval",)) is None
    approval_id = (await run(session.event, "approval_required"))["approvalId"]
    await run(
        calls.approval_decide,
        stream_id=session.stream_id,
        approval_id=approval_id,
        approve=True,
        by="ada",
        on_settled=session.settled.append,
    )
    result = await session.execute(call_id, builtins=("demo_approval",))
    assert result is not None
    assert "launch" in result.content
    assert await run(session.types) == [
        "approval_required",
        "approval_resolved",
        "tool_execution_start",
        "tool_execution_end",
    ]


async def test_a_question_is_not_subject_to_the_star(session: Session) -> None:
    call_id = await run(session.planned, "ask_user", {"question": "?"})
    await session.execute(call_id, approvals={"*": "always"})
    assert (await run(session.call, call_id)).state == CallState.AWAITING_ANSWER


async def test_a_builtin_that_the_session_has_not_is_unknown(session: Session) -> None:
    result = await session.execute(await run(session.planned, "current_time", {}), builtins=())
    assert result is not None
    assert result.status == "error"


async def test_the_time_is_told_in_a_named_zone(session: Session) -> None:
    told = await session.execute(await run(session.planned, "current_time", {"timezone": "Europe/Berlin"}))
    assert told is not None
    assert told.content.endswith("(Europe/Berlin)")
    for zone in ("Nowhere/Else", "../../etc/passwd", "/etc/passwd"):
        refused = await session.execute(await run(session.planned, "current_time", {"timezone": zone}))
        assert refused is not None
        assert refused.status == "error"


async def test_a_builtins_bug_costs_its_call_and_shows_nothing(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(args: Any, context: Any) -> Any:
        raise ZeroDivisionError("hunter2")

    monkeypatch.setitem(BUILTINS, "current_time", replaced("current_time", broken))
    result = await session.execute(await run(session.planned, "current_time", {}))
    assert result is not None
    assert result.status == "error"
    assert "hunter2" not in result.content


# --- Processes that die ------------------------------------------------------------------------------


class Died(BaseException):
    """The end of a process in these tests: nothing may catch it."""


def die_at(monkeypatch: pytest.MonkeyPatch, crossing: int, *, after: bool) -> Callable[[], None]:
    """The process dies at its n-th crossing into the database, before or after the transaction's commit."""
    seen = 0

    async def dying(tenant_id: int, function: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen == crossing and not after:
            raise Died
        result = await run_leg(tenant_id, function, *args, **kwargs)
        if seen == crossing:
            raise Died
        return result

    monkeypatch.setattr(calls, "run_leg", dying)
    return lambda: monkeypatch.setattr(calls, "run_leg", run_leg)


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize(
    ("crossing", "after", "state"),
    [
        (1, False, CallState.PLANNED),
        (1, True, CallState.RUNNING),
        (2, False, CallState.RUNNING),
        (2, True, CallState.SETTLED),
    ],
)
async def test_wherever_a_process_dies_the_call_ends_once_and_only_a_repeatable_one_is_repeated(
    session: Session,
    server: CallbackServer,
    monkeypatch: pytest.MonkeyPatch,
    idempotent: bool,
    crossing: int,
    after: bool,
    state: CallState,
) -> None:
    await run(session.attach, callbackUrl=server.url, idempotent=idempotent)
    call_id = await run(session.planned, "lookup", {})
    revive = die_at(monkeypatch, crossing, after=after)
    with pytest.raises(Died):
        await session.execute(call_id)
    revive()
    assert (await run(session.call, call_id)).state == state
    made = len(server.received)
    await run(session.taken_over)
    result = await session.execute(call_id)
    assert result is not None
    interrupted = state == CallState.RUNNING and not idempotent
    assert result.status == ("unknown" if interrupted else "ok")
    assert len(server.received) == made + (0 if state == CallState.SETTLED or interrupted else 1)
    assert {received.headers["webhook-id"] for received in server.received} <= {call_id}
    assert len({received.body for received in server.received}) <= 1
    assert (await run(session.types)).count("tool_execution_start") == 1
    assert (await run(session.types)).count("tool_execution_end") == 1
    assert len(session.settled) == 1
    assert await session.execute(call_id) == result


async def test_a_process_that_dies_while_the_callback_answers_repeats_it_with_the_same_id(
    session: Session, server: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = CLIENT.request

    async def dying(*args: Any, **kwargs: Any) -> Any:
        await real(*args, **kwargs)
        raise Died

    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    monkeypatch.setattr(CLIENT, "request", dying)
    with pytest.raises(Died):
        await session.execute(call_id)
    monkeypatch.undo()
    await run(session.taken_over)
    result = await session.execute(call_id)
    assert result is not None
    assert result.status == "ok"
    assert [received.headers["webhook-id"] for received in server.received] == [call_id, call_id]


async def test_a_process_that_lost_its_lease_writes_nothing(session: Session, server: CallbackServer) -> None:
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    stale = session.fence
    await run(session.taken_over)
    session.fence, fresh = stale, session.fence
    with pytest.raises(LeaseLost):
        await session.execute(call_id)
    assert (await run(session.call, call_id)).state == CallState.PLANNED
    assert server.received == []
    session.fence = fresh
    assert await session.execute(call_id) is not None


async def test_a_lease_lost_while_the_callback_answers_keeps_the_result_out(
    session: Session, server: CallbackServer
) -> None:
    def lose(handler: BaseHTTPRequestHandler) -> None:
        asyncio.run_coroutine_threadsafe(run(session.taken_over), loop).result(60)
        server.replies = [(200, b'{"result":"second"}')]
        handler.send_response(200)
        handler.send_header("Content-Length", "18")
        handler.end_headers()
        handler.wfile.write(b'{"result":"first"}')

    loop = asyncio.get_running_loop()
    server.replies = [lose]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    with pytest.raises(LeaseLost):
        await session.execute(call_id)
    assert session.settled == []
    assert await session.execute(call_id) == CallResult(call_id, "ok", "second")


async def test_a_cancelled_execution_leaves_the_call_to_the_next_leg(session: Session, server: CallbackServer) -> None:
    arrived, released = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hang(handler: BaseHTTPRequestHandler) -> None:
        loop.call_soon_threadsafe(arrived.set)
        asyncio.run_coroutine_threadsafe(released.wait(), loop).result(60)

    server.replies = [hang, (200, b'{"result":"again"}')]
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    task = asyncio.create_task(session.execute(call_id))
    async with asyncio.timeout(60):
        await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    released.set()
    assert await session.execute(call_id) == CallResult(call_id, "ok", "again")


async def test_the_same_call_executed_twice_at_once_is_made_once(session: Session, server: CallbackServer) -> None:
    await run(session.attach, callbackUrl=server.url)
    call_id = await run(session.planned, "lookup", {})
    first, second = await asyncio.gather(session.execute(call_id), session.execute(call_id))
    assert first == second
    assert len(server.received) == 1


async def test_many_calls_at_once_are_settled_each_once(session: Session, server: CallbackServer) -> None:
    await run(session.attach, callbackUrl=server.url)
    ids = await run(session.plan, *[("lookup", {"n": number}) for number in range(40)])
    results = await asyncio.gather(*[session.execute(call_id) for call_id in ids])
    assert [result.call_id for result in results if result and result.status == "ok"] == ids
    assert len(server.received) == len(session.settled) == 40


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Resets the connection instead of answering."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def replaced(name: str, run_: Any) -> Any:

    return replace(BUILTINS[name], run=run_)
