"""The agent that a connected editor sees: sessions of its tenant, with replay, prompts, approvals and cancellation.

A prompt is answered by following its run. Approvals are asked of the editor while the run waits; whoever decides first,
here or through another face, decides. A run goes on when its editor leaves, and is read again with `session/load`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import wraps
from typing import Annotated, Any, Literal, ParamSpec, TypeVar

from acp import PROTOCOL_VERSION, RequestError, schema
from acp.agent.connection import AgentSideConnection
from django.conf import settings
from pydantic import Field

from core_app import database, jsontext
from core_app.errors import BadRequest, Conflict, GatewayError, Gone, RateLimited
from core_app.shares import Claim
from edge_app.http.query import stream_position
from events_app.batches import StoredEvent
from events_app.follower import FollowEnded, Follower
from events_app.positions import StreamPosition
from faces.acp.errors import request_error
from faces.acp.prompts import prompt_of
from faces.acp.updates import text_block, update_of
from sessions_app.events import TERMINAL_TYPES, AgentAbort, AgentEnd, ErrorEvent
from sessions_app.models import AgentSession
from sessions_app.selectors import session_get, session_position
from sessions_app.services.conversation import session_ensure
from sessions_app.services.decisions import approval_decide
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.run_control import run_abort
from tenants_app.authentication import KeyWatch
from tenants_app.limits import RATE_LIMITS
from tenants_app.principal import SESSIONS, Principal
from tools_app.events import ApprovalRequired, ApprovalResolved

ALLOW, ALLOW_ALWAYS, REJECT = "allow", "allow_always", "reject"
OPTIONS = [
    schema.PermissionOption(option_id=ALLOW, name="Allow", kind="allow_once"),
    schema.PermissionOption(option_id=ALLOW_ALWAYS, name="Always allow in this session", kind="allow_always"),
    schema.PermissionOption(option_id=REJECT, name="Reject", kind="reject_once"),
]
STOP_REASONS: Mapping[str, Literal["cancelled", "max_turn_requests"]] = {
    "aborted": "cancelled",
    "deleted": "cancelled",
    "max_turns": "max_turn_requests",
}
"""Reasons of `agent_abort` that are no errors."""

MAX_PROMPTS = 32
"""Prompts of one connection that are under way."""

MAX_BACKLOG = 1000
"""Messages that wait for a client that does not read them."""

P = ParamSpec("P")
R = TypeVar("R")


class LoadedSession(schema.LoadSessionResponse):
    """The answer to `session/load`. The library opens a session's stream when an answer names the session."""

    session_id: Annotated[str, Field(alias="sessionId")]


def answer_errors(method: Callable[P, Awaitable[R]]) -> Callable[P, Awaitable[R]]:
    """Turns what a method raises into the protocol's errors: the boundary of this wire."""

    @wraps(method)
    async def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await method(*args, **kwargs)
        except Exception as error:
            raise request_error(error) from None

    return call


class GatewayAgent:
    """The agent of one connection."""

    def __init__(
        self, principal: Principal, connection: AgentSideConnection, backlog: Callable[[], int], *, counted: bool
    ) -> None:
        self._counted = counted
        self._running = 0
        self._watch = KeyWatch(principal, SESSIONS)
        self._connection = connection
        self._backlog = backlog

    @answer_errors
    async def initialize(self, protocol_version: int, **kwargs: Any) -> schema.InitializeResponse:
        """Tells what this agent can."""
        prompts = schema.PromptCapabilities(image=True, audio=True, embedded_context=True)
        return schema.InitializeResponse(
            protocol_version=min(protocol_version, PROTOCOL_VERSION) or PROTOCOL_VERSION,
            agent_capabilities=schema.AgentCapabilities(load_session=True, prompt_capabilities=prompts),
            agent_info=schema.Implementation(name="agent-gateway", version=settings.GATEWAY_VERSION),
            auth_methods=[],
        )

    @answer_errors
    async def authenticate(self, method_id: str, **kwargs: Any) -> schema.AuthenticateResponse:
        """Does nothing: the connection has a key."""
        return schema.AuthenticateResponse()

    @answer_errors
    async def new_session(self, cwd: str, **kwargs: Any) -> schema.NewSessionResponse:
        """Creates a session; `_meta` may have `agent`, `model` and `sessionId`. Directories and servers of the editor's
        machine are out of the gateway's reach."""
        given = {name: _text(kwargs, name) for name in ("agent", "model", "sessionId")}
        principal = await self._admit()
        session = await database.run_action(Claim(principal.tenant_id, None), _create, principal, given)
        return schema.NewSessionResponse(session_id=session.public_id)

    @answer_errors
    async def load_session(self, cwd: str, session_id: str, **kwargs: Any) -> LoadedSession:
        """Shows what was said in a session, from its beginning, or after the offset `_meta.since`."""
        principal = await self._admit()
        since = kwargs.get("since", 0)
        stream_id, here, after = await database.run_action(
            Claim(principal.tenant_id, session_id), _place, principal, session_id, since
        )
        if after < here.head:
            async for event in self._events(stream_id, after, here):
                await self._show(session_id, event, prompts=True)
                if event.offset >= here.head:
                    break
        return LoadedSession(session_id=session_id, field_meta={"offset": here.newest.wire})

    @answer_errors
    async def prompt(self, prompt: list[Any], session_id: str, **kwargs: Any) -> schema.PromptResponse:
        """Sends a prompt, and answers when its run has ended."""
        principal = await self._admit()
        if self._running >= MAX_PROMPTS:
            raise RateLimited(f"The connection has {MAX_PROMPTS} prompts under way.", retry_after=5)
        given = prompt_of(prompt)
        claim = Claim(principal.tenant_id, session_id)
        run_id, stream_id, here = await database.run_action(claim, _accept, principal, session_id, given)
        questions: dict[str, asyncio.Task[None]] = {}
        failure: dict[str, Any] = {}
        self._running += 1
        try:
            async for event in self._events(stream_id, here.head, here):
                if event.run_id != run_id:
                    continue
                await self._show(session_id, event, prompts=False)
                if event.type == ErrorEvent.type:
                    failure = jsontext.decode(event.data)
                self._track_approval(session_id, event, questions)
                if event.type in TERMINAL_TYPES:
                    return _response(event, failure)
        finally:
            self._running -= 1
            for question in questions.values():
                question.cancel()
        raise RequestError.internal_error()

    async def cancel(self, session_id: str, **kwargs: Any) -> None:
        """Aborts what runs in a session; the prompt is then answered as cancelled."""
        try:
            principal = await self._watch.check()
            await database.run_action(Claim(principal.tenant_id, session_id), _abort, principal, session_id)
        except GatewayError:
            return  # nothing runs, or there is no such session: a notification has no answer

    async def _admit(self) -> Principal:
        """Takes a request from the key's rate limit where the gate has not. Raises RateLimited, Unauthorized."""
        principal = await self._watch.check()
        if self._counted and (limit := await RATE_LIMITS.take(principal)) is not None:
            limit.enforce()
        return principal

    async def _events(self, stream_id: int, after: int, here: StreamPosition) -> AsyncIterator[StoredEvent]:
        """Yields the events of a stream, while the key is good and the client reads. Raises Gone when the stream cannot
        be followed any further: `session/load` reads on."""
        async with Follower(stream_id, after=here.at(after), generations=here.generations) as follower:
            while True:
                try:
                    events = await follower.next()
                except FollowEnded:
                    raise Gone("The stream was interrupted; load the session to read on.") from None
                await self._watch.check()
                for event in events:
                    yield event

    async def _show(self, session_id: str, event: StoredEvent, *, prompts: bool) -> None:
        update = update_of(event, prompts=prompts)
        if update is None:
            return
        if self._backlog() > MAX_BACKLOG:
            await self._await_reader()
        await self._connection.session_update(session_id, update, offset=event.position.wire)

    async def _await_reader(self) -> None:
        """Waits until the client has read; raises Gone when it does not."""
        until = asyncio.get_running_loop().time() + settings.GATEWAY_SLOW_FOLLOWER_SECONDS
        while self._backlog() > MAX_BACKLOG:
            if asyncio.get_running_loop().time() > until:
                raise Gone("The client does not read; load the session to read on.")
            await asyncio.sleep(0.05)

    def _track_approval(self, session_id: str, event: StoredEvent, questions: dict[str, asyncio.Task[None]]) -> None:
        if event.type == ApprovalRequired.type:
            data = jsontext.decode(event.data)
            questions[data["approvalId"]] = asyncio.create_task(self._ask(session_id, data), name="acp-permission")
        elif event.type == ApprovalResolved.type:
            data = jsontext.decode(event.data)
            if (question := questions.pop(data["approvalId"], None)) is not None:
                question.cancel()

    async def _ask(self, session_id: str, data: Mapping[str, Any]) -> None:
        """Asks the editor for a decision. One that is cancelled there leaves the approval open for others."""
        call = schema.ToolCallUpdate(
            tool_call_id=data["callId"], title=data["toolName"], raw_input=data["args"], status="pending"
        )
        if data["hint"]:
            block = schema.ContentToolCallContent(type="content", content=text_block(data["hint"]))
            call.content = [block]
        try:
            answer = await self._connection.request_permission(session_id, call, OPTIONS)
            if not isinstance(answer.outcome, schema.AllowedOutcome):
                return
            choice = answer.outcome.option_id
            principal = await self._watch.check()
            claim = Claim(principal.tenant_id, session_id)
            await database.run_action(claim, _decide, principal, session_id, data["approvalId"], choice)
        except (Conflict, Gone, ConnectionError):
            return  # somebody else has decided, or the editor has gone
        except Exception as error:  # contains: a decision that cannot be made leaves the approval open
            request_error(error)


def _text(given: Mapping[str, Any], name: str) -> str | None:
    value = given.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"_meta.{name} is text.", field=name)
    return value


def _create(principal: Principal, given: Mapping[str, str | None]) -> AgentSession:
    return session_ensure(principal=principal, public_id=given["sessionId"], model=given["model"], agent=given["agent"])


def _place(principal: Principal, session_id: str, since: Any) -> tuple[int, StreamPosition, int]:
    session = session_get(principal, session_id)
    here = session_position(session)
    return session.stream_id, here, here.resume(stream_position(str(since), "since")).after


def _accept(principal: Principal, session_id: str, prompt: Prompt) -> tuple[str, int, StreamPosition]:
    session = session_get(principal, session_id)
    # The position first, so that nothing of the run is missed.
    here = session_position(session)
    receipt = prompt_accept(principal=principal, public_id=session_id, prompt=prompt)
    return receipt.run_pk, session.stream_id, here


def _abort(principal: Principal, session_id: str) -> None:
    run_abort(principal=principal, public_id=session_id, reason="Cancelled by the editor.")


def _decide(principal: Principal, session_id: str, approval_id: str, choice: str) -> None:
    approval_decide(
        principal=principal,
        public_id=session_id,
        approval_id=approval_id,
        approve=choice in (ALLOW, ALLOW_ALWAYS),
        remember=choice == ALLOW_ALWAYS,
    )


def _response(event: StoredEvent, failure: Mapping[str, Any]) -> schema.PromptResponse:
    """Returns the end of a prompt. Raises RequestError for a run that failed."""
    data = jsontext.decode(event.data)
    if event.type == AgentEnd.type:
        tokens = data["tokenUsage"]
        usage = schema.Usage(
            total_tokens=tokens["totalTokens"],
            input_tokens=tokens["promptTokens"],
            output_tokens=tokens["completionTokens"],
        )
        return schema.PromptResponse(stop_reason="end_turn", usage=usage, field_meta={"offset": event.position.wire})
    assert event.type == AgentAbort.type
    if (reason := STOP_REASONS.get(data["reason"])) is not None:
        return schema.PromptResponse(stop_reason=reason, field_meta={"offset": event.position.wire})
    error = {"error": failure.get("code", data["reason"]), "offset": event.position.wire}
    raise RequestError(-32603, failure.get("reason") or data["message"], error)
