"""Answers of agents over HTTP: server-sent events or one JSON document, as a series of JSON objects.

Addresses of the operator may be private, those of tenants as far as their settings allow it. An answer is limited in
size and in the time between its bytes, and whatever is wrong with it is an AgentError with a sentence of the gateway's
own.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

from django.conf import settings

from agents_app.engine import Failed, Leg
from agents_app.exchange import AgentError
from core_app import jsontext
from core_app.errors import BadRequest
from core_app.guarded_client import CLIENT, CallFailed, StreamedResponse, TimedOut
from inference_app.conversion.sse import DONE, EventParser, EventTooLarge

EVENT_STREAM = "text/event-stream"
DONE_TYPE = b"done"
"""The type of an event that ends an answer, whatever its data."""


@contextlib.asynccontextmanager
async def open_answer(
    leg: Leg,
    url: str,
    message: Mapping[str, Any],
    *,
    headers: Mapping[str, str],
    allow_private: bool,
    first_byte_seconds: float | None = None,
) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Posts a message and yields the objects of the answer as they come. Raises AgentError, here and in the block."""
    body = jsontext.encode(message)
    try:
        async with CLIENT.stream(
            "POST",
            url,
            headers={"Accept": EVENT_STREAM, "Content-Type": "application/json", **headers},
            body=body,
            first_byte_seconds=first_byte_seconds or settings.GATEWAY_REQUEST_TIMEOUT,
            idle_seconds=settings.GATEWAY_AGENT_STREAM_TIMEOUT,
            allow_private=allow_private,
            owner=leg.session.tenant_id,
        ) as response:
            if response.status != 200:
                raise agent_error(leg, f"answered with status {response.status}.")
            yield _read_objects(leg, response)
    except CallFailed as error:
        raise agent_error(leg, error.reason, code="timeout" if isinstance(error, TimedOut) else None) from None


def agent_error(leg: Leg, reason: str, *, code: str | None = None, logged: str = "") -> AgentError:
    """Builds the failure of the leg's agent; `reason` completes a sentence that begins with the agent."""
    name = leg.session.agent or leg.session.model
    return AgentError(Failed(code or "upstream_error", f"The agent {name} {reason}", retryable=True), logged)


async def _read_objects(leg: Leg, response: StreamedResponse) -> AsyncIterator[dict[str, Any]]:
    chunks = _limited(leg, response)
    if response.content_type != EVENT_STREAM:
        whole = b"".join([chunk async for chunk in chunks])
        yield parse_object(leg, whole)
        return
    parser = EventParser(end_type=DONE_TYPE, max_bytes=settings.GATEWAY_AGENT_LINE_BYTES)
    try:
        async for chunk in chunks:
            for data in parser.feed(chunk):
                if data == DONE:
                    return
                yield parse_object(leg, data)
        for data in _without_done(parser.end()):
            yield parse_object(leg, data)
    except EventTooLarge:
        limit = settings.GATEWAY_AGENT_LINE_BYTES
        raise agent_error(leg, f"sent an event of more than {limit} bytes (GATEWAY_AGENT_LINE_BYTES).") from None


def _without_done(events: Iterable[bytes]) -> Iterable[bytes]:
    return (data for data in events if data != DONE)


async def _limited(leg: Leg, response: StreamedResponse) -> AsyncIterator[bytes]:
    limit, size = settings.GATEWAY_AGENT_OUTPUT_BYTES, 0
    async for chunk in response.chunks():
        yield chunk[: limit - size]
        size += len(chunk)
        if size > limit:
            raise agent_error(leg, f"answered with more than {limit} bytes (GATEWAY_AGENT_OUTPUT_BYTES).")


def parse_object(leg: Leg, data: bytes) -> dict[str, Any]:
    """Returns the JSON object in `data`. Raises AgentError when it is something else."""
    try:
        value = jsontext.decode_untrusted(data)
    except BadRequest:
        value = None
    if not isinstance(value, dict):
        raise agent_error(leg, "answered with something that is no JSON object.", logged=repr(data[:200]))
    return value
