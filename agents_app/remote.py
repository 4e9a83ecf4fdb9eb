"""The `remote` engine: an agent runtime over HTTP, which answers in server-sent events or one JSON object.

The runtime keeps the conversation under the session's id. Outside the tenant `default` the id is prefixed by the
tenant's slug, so that one runtime can serve all tenants. A `tool_call` ends the leg as a call of the connected client,
and the next message is its result (docs/agents.md, "Agent runtimes").
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from django.conf import settings
from pydantic import BaseModel, Field

from agents_app.agent_http import agent_error, open_answer
from agents_app.agent_settings import agent_settings
from agents_app.conversation import parse_args
from agents_app.engine import Leg, LegOutcome, ToolRequest
from agents_app.exchange import AgentError, Answer, Ask, Exchange, Message, Output, ToolOutput, UserText, joined_text
from core_app.ids import new_id
from tenants_app.internal_keys import internal_key_for
from tenants_app.principal import DEFAULT_TENANT

PATH = "/agent/message/stream"


class RemoteFields(BaseModel):
    """The fields of an agent of type `remote`. Without `endpoint` it is the runtime of `GATEWAY_AGENT_URL`."""

    endpoint: str = Field(default="", max_length=2000)
    timeout: float | None = Field(default=None, ge=0)


class RemoteEngine:
    """Runs legs on agent runtimes."""

    name = "remote"
    builtin_tools: tuple[str, ...] = ()

    async def run_leg(self, leg: Leg) -> LegOutcome:
        """Executes one leg to its end."""
        return await Exchange(leg, self.name, _ask(leg)).run()


def _ask(leg: Leg) -> Ask:
    async def ask(messages: tuple[Message, ...], state: Mapping[str, Any], output: Output) -> Answer:
        agent = await agent_settings(leg, RemoteFields)
        shared = settings.GATEWAY_AGENT_URL if agent.trusted else ""
        endpoint = (agent.fields.endpoint or shared).rstrip("/")
        if not endpoint:
            raise agent_error(leg, "has no endpoint, and GATEWAY_AGENT_URL is not set.", code="unprocessable")
        # The key opens the gateway's own doors, so a tenant's runtime does not get it.
        key = internal_key_for(leg.session.tenant_slug) if agent.trusted else None
        headers = {"X-Internal-Auth": key} if key else {}
        async with open_answer(
            leg,
            endpoint + PATH,
            _body(leg, messages),
            headers=headers,
            allow_private=agent.allow_private,
            first_byte_seconds=agent.fields.timeout,
        ) as chunks:
            return await _read_answer(leg, chunks, output)

    return ask


def runtime_session_id(tenant_slug: str, session_id: str) -> str:
    """Returns the id under which a runtime knows a session."""
    return session_id if tenant_slug == DEFAULT_TENANT else f"{tenant_slug}.{session_id}"


def _body(leg: Leg, messages: tuple[Message, ...]) -> dict[str, Any]:
    """Builds the body for both generations of runtimes: the client's object, and its fields at the top."""
    session_id = runtime_session_id(leg.session.tenant_slug, leg.session.session_id)
    first = messages[0]
    if isinstance(first, ToolOutput):
        # A leg has one call at most: the first ends the answer.
        outcome = {"error": first.content} if first.failed else {"result": first.content}
        result = {"type": "tool_result", "call_id": first.agent_call_id, **outcome}
        return {"session_id": session_id, "message": result, "content": "", **result}
    texts = [message for message in messages if isinstance(message, UserText)]
    content = joined_text(messages)
    said = {"type": "user_message", "content": content, "role": "user", "message_id": texts[-1].message_id}
    return {"session_id": session_id, "message": said, "type": "user_message", "content": content}


async def _read_answer(leg: Leg, chunks: AsyncIterator[dict[str, Any]], output: Output) -> Answer:
    empty = True
    async for chunk in chunks:
        empty = False
        kind = chunk.get("type", "assistant_message")
        if kind == "assistant_message":
            await output.add_text(_token(chunk))
            if chunk.get("is_final") is True:
                return Answer()
        elif kind == "tool_call":
            return Answer((_request(leg, chunk),))
        elif kind == "error":
            raise _reported(leg, chunk)
        else:
            await output.add_event(str(kind), {name: value for name, value in chunk.items() if name != "type"})
    if empty:
        raise agent_error(leg, "ended without an answer.")
    return Answer()


def _token(chunk: Mapping[str, Any]) -> str:
    token = next((chunk[name] for name in ("token", "content") if isinstance(chunk.get(name), str)), "")
    return str(token)


def _request(leg: Leg, chunk: Mapping[str, Any]) -> ToolRequest:
    name = chunk.get("tool_name")
    if not isinstance(name, str) or not name:
        raise agent_error(leg, "asked for a tool without a tool_name.")
    arguments = chunk.get("arguments")
    hint = f"The agent {leg.session.agent or leg.session.model} asks for a decision."
    return ToolRequest(
        name,
        parse_args(arguments if isinstance(arguments, str | dict) else None),
        str(chunk.get("call_id") or new_id("call")),
        for_client=True,
        approval_hint=hint if chunk.get("requires_approval") is True else None,
    )


def _reported(leg: Leg, chunk: Mapping[str, Any]) -> AgentError:
    return agent_error(leg, "reported an error.", logged=str(chunk.get("content") or chunk.get("error") or ""))


ENGINE = RemoteEngine()
