"""The client against a real gateway: sessions, streams, callbacks, tools and errors."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal
from uuid import uuid4

import msgspec
import pytest

from gateway_client import (
    AsyncGateway,
    Decision,
    EventStream,
    Gateway,
    GatewayError,
    RunAborted,
    Timeouts,
    WaitTimeout,
    errors,
    tool,
)
from gateway_client.events import AgentEnd, ApprovalRequired, AskUser, Event, ToolExecutionEnd
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess


async def all_events(gateway: AsyncGateway, session_id: str) -> list[Event]:
    """The session's log, read in pages and without the client's streams."""
    path, events, since = f"/v1/sessions/{session_id}/events", [], 0
    while since is not None:
        body = await gateway._transport.send("GET", path, query={"format": "json", "since": since, "limit": 1000})
        page = msgspec.json.decode(body)
        events += [Event(item["event"], item["data"], str(item["id"])) for item in page["events"]]
        since = page["nextCursor"]
    return events


@pytest.mark.parametrize("via", ["sse", "websocket"])
async def test_a_prompt_yields_the_log_of_its_run(gateway: AsyncGateway, via: Literal["sse", "websocket"]) -> None:
    session = await gateway.sessions.create("demo:tour")
    first = await session.prompt("hello", via=via).result()
    seen = [event async for event in session.prompt("long 20", via=via)]
    assert isinstance(seen[-1], AgentEnd)
    assert first.request_id != seen[-1].request_id
    log = await all_events(gateway, session.id)
    assert seen == [event for event in log if event.data["requestId"] == seen[-1].request_id]
    assert "hello" in first.text


@pytest.mark.parametrize("via", ["sse", "websocket"])
async def test_a_session_is_followed_from_its_first_event_to_its_close(
    gateway: AsyncGateway, via: Literal["sse", "websocket"]
) -> None:
    session = await gateway.sessions.create("demo:echo")
    await session.prompt("one").result()
    await session.delete()
    seen = [event async for event in session.events(via=via)]
    assert seen == await all_events(gateway, session.id)
    assert seen[-1].type == "session_closed"


async def test_a_run_is_resumed_after_a_position(gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:echo")
    receipt = await session.send("one")
    whole = [event async for event in session.resume(receipt.request_id)]
    rest = [event async for event in session.resume(receipt.request_id, since=whole[1].id)]
    assert rest == whole[2:]


async def test_approvals_are_decided_by_the_callback(gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")
    asked: list[ApprovalRequired] = []

    def approve(approval: ApprovalRequired) -> bool:
        asked.append(approval)
        return True

    async def refuse(approval: ApprovalRequired) -> Decision:
        return Decision(approve=False, reason="not today")

    ends = [
        event
        for callback in (approve, refuse)
        async for event in session.prompt("approve", on_approval=callback)
        if isinstance(event, ToolExecutionEnd)
    ]
    assert [end.status for end in ends] == ["ok", "rejected"]
    assert "not today" in ends[1].result
    assert asked[0].tool_name == "demo_approval"


async def test_questions_are_answered_by_the_callback(gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")

    def answer(question: AskUser) -> str:
        return question.options[0]["id"] if question.options else "blue"

    events = [event async for event in session.prompt("ask", on_question=answer)]
    assert [event.data["status"] for event in events if event.type == "question_resolved"] == ["answered"]


async def test_a_callback_that_fails_ends_the_stream_with_its_error(gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")

    def fail(approval: ApprovalRequired) -> bool:
        raise LookupError("nobody is there")

    with pytest.raises(LookupError, match="nobody"):
        await session.prompt("approve", on_approval=fail).result()
    (pending,) = (await session.status()).pending_approvals
    await session.reject(pending.approval_id)


async def test_tools_run_in_the_client_with_checked_arguments(gateway: AsyncGateway) -> None:
    called: list[tuple[int, str]] = []

    async def repeat(times: Annotated[int, msgspec.Meta(ge=1)], text: str = "x") -> list[str]:
        """Repeats a text.

        Details that the model does not need.
        """
        called.append((times, text))
        return [text] * times

    def collapse() -> None:
        raise ValueError("broken")

    session = await gateway.sessions.create("demo:tour", tools=[repeat])
    info = (await session.tools())[0]
    assert (info.description, info.parameters["required"]) == ("Repeats a text.", ["times"])
    prompts = ('use repeat {"times": 2}', "use collapse")
    ends = [
        event
        for prompt in prompts
        async for event in session.prompt(prompt, tools=[collapse])
        if isinstance(event, ToolExecutionEnd)
    ]
    assert called == [(2, "x")]
    assert [end.status for end in ends] == ["ok", "error"]
    assert "x" in ends[0].result
    assert "ValueError: broken" in ends[1].result


async def test_requests_that_are_settled_are_not_asked_again(gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")
    run = await session.prompt("approve", on_approval=lambda approval: True).result()

    def never(approval: ApprovalRequired) -> bool:
        raise AssertionError("asked again")

    replayed = [event async for event in session.resume(run.request_id, on_approval=never)]
    assert any(isinstance(event, ApprovalRequired) for event in replayed)


async def test_a_time_out_loses_no_event(gateway: AsyncGateway) -> None:
    session = await gateway.sessions.create("demo:tour")
    stream = session.prompt("approve", timeout=0.3)
    seen: list[Event] = []
    while (event := await next_event(stream)) is not None or not seen or seen[-1].type != "approval_required":
        seen += [event] if event else []
    (pending,) = (await session.status()).pending_approvals
    await session.approve(pending.approval_id, args_hash=pending.args_hash)
    while not seen[-1].is_terminal:
        event = await next_event(stream)
        seen += [event] if event else []
    assert seen == await all_events(gateway, session.id)


async def next_event(stream: EventStream) -> Event | None:
    """The next event, or None when the time-out passes before."""
    try:
        return await anext(stream)
    except WaitTimeout:
        return None


async def test_everything_else_of_a_session(gateway: AsyncGateway) -> None:
    name = f"s-{uuid4().hex}"
    session = await gateway.sessions.create("demo:echo", session_id=name, group_id=f"g-{name}", user_data={"a": 1})
    run = await session.prompt("one").result()
    assert (await session.change(title="First")).title == "First"
    assert [info.session_id async for info in gateway.sessions.list(group_id=f"g-{name}")] == [name]
    messages = [message async for message in session.messages()]
    assert [message.content for message in messages] == ["one", run.text]
    assert [found.request_id async for found in session.runs()] == [run.request_id]
    assert (await session.run(run.request_id)).status == "completed"
    assert (await session.stats()).prompt_count == 1
    fork = await session.fork(messages[-1].id)
    assert fork.id != name
    await session.switch_model("demo:tour")
    assert (await (await gateway.sessions.get(name)).refresh()).model == "demo:tour"
    stream = gateway.group_events(f"g-{name}", since=0)
    async with asyncio.timeout(60), stream:
        assert (await anext(stream)).session_id == name
    assert sum(row.prompts for row in await gateway.usage(group_by="day")) >= 1


async def test_errors_are_typed_and_name_the_field(gateway: AsyncGateway, served: GatewayProcess) -> None:
    with pytest.raises(errors.SessionNotFound):
        await gateway.sessions.get("unknown")
    with pytest.raises(errors.BadRequest) as refused:
        await gateway.sessions.create("demo:echo", max_turns="many")
    assert refused.value.field == "maxTurns"
    session = await gateway.sessions.create("demo:tour")
    with pytest.raises(errors.Conflict):
        await session.abort()
    with pytest.raises(RunAborted) as aborted:
        await session.prompt("fail").result()
    assert aborted.value.reason == "error"
    with pytest.raises(errors.NotFound):
        await session.resume("run_unknown").result()
    async with AsyncGateway(served.url, "wrong") as stranger:
        with pytest.raises(errors.Unauthorized):
            await stranger.usage()


async def test_a_gateway_that_is_not_there_is_an_error_in_time() -> None:
    timeouts = Timeouts(retry=0.2, resume=0.2, first_pause=0.05)
    async with AsyncGateway("http://127.0.0.1:9", KEY, timeouts=timeouts) as gateway:
        with pytest.raises(errors.ConnectionFailed):
            await gateway.usage()
        with pytest.raises(errors.ConnectionFailed):
            await anext(gateway.group_events("g"))


def test_the_synchronous_client_does_the_same(served: GatewayProcess) -> None:
    def double(number: int) -> int:
        return 2 * number

    with Gateway(served.url, KEY) as gateway:
        session = gateway.sessions.create("demo:tour", tools=[tool(double, requires_approval=True)])
        with session.prompt('use double {"number": 21}', on_approval=lambda approval: True) as stream:
            ends = [event for event in stream if isinstance(event, ToolExecutionEnd)]
        assert [(end.status, end.result) for end in ends] == [("ok", "42")]
        assert [message.role for message in session.messages()][-1] == "assistant"
        assert session.id in [info.session_id for info in gateway.sessions.list()]
        with pytest.raises(errors.SessionNotFound):
            gateway.sessions.get("unknown")
    gateway.close()


def test_a_tool_without_annotations_is_refused() -> None:
    with pytest.raises(GatewayError, match="'number' needs an annotation"):
        tool(lambda number: number, name="double")
