"""Callback tools: a signed POST to the tool's address (docs/protocol-native.md, "Tools, approvals, questions").

Connection failures and 5xx responses are retried twice within the tool's time-out, with the same id and body and a new
signature time. Whatever the receiver does, the call ends with an outcome for the model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from weakref import WeakValueDictionary

from core_app import jsontext
from core_app.errors import BadRequest
from core_app.guarded_client import CLIENT, CallFailed, ConnectionFailed, GuardedResponse, TimedOut
from core_app.sealing import unseal
from tools_app.executors.base import Execution
from tools_app.result_body import parse_result_body
from tools_app.signing import result_token, signature_headers, tenant_secrets
from tools_app.types import Later, Outcome

ATTEMPTS = 3
PAUSES = (0.2, 1.0)
"""Seconds before the second and the third attempt."""

MAX_ANSWER_BYTES = 1024 * 1024
SMALL_BYTES = 16 * 1024

PER_TENANT = 64
"""Concurrent callbacks of one tenant in this process; further ones wait within their time-outs."""

RESULT_PATH = "/v1/callbacks/"
"""Path prefix for late results; the last segment is the token."""


_slots: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()


async def call(execution: Execution) -> Outcome | Later:
    """Makes the call; returns its outcome, or Later after a 202."""
    tool = execution.target.registered
    assert tool is not None
    assert tool.callback_url is not None
    seconds = tool.timeout_ms / 1000
    using = [unseal(tool.sealed_secret)] if tool.sealed_secret else tenant_secrets(execution.tenant)
    body = body_of(execution)
    try:
        async with asyncio.timeout(seconds), _slots.setdefault(execution.tenant.pk, asyncio.Semaphore(PER_TENANT)):
            answer = await _deliver(execution, tool.callback_url, using, body, seconds)
    except (TimeoutError, TimedOut):
        return Outcome("timeout", f"The tool did not answer within {tool.timeout_ms} ms.")
    except CallFailed as error:
        return Outcome("error", f"The tool {error.reason}")
    # Parsing a megabyte of brackets takes 0.2 s, too long for the event loop.
    return _read(answer) if len(answer.body) < SMALL_BYTES else await asyncio.to_thread(_read, answer)


def body_of(execution: Execution) -> str:
    """The request body, identical at every attempt (docs/protocol-native.md, "Tools, approvals, questions")."""
    return jsontext.encode_text(
        {
            "callId": execution.call_id,
            "toolName": execution.target.name,
            "args": execution.args,
            "sessionId": execution.context.session_id,
            "requestId": execution.context.request_id,
            "resultUrl": execution.context.base_url.rstrip("/")
            + RESULT_PATH
            + result_token(execution.call_id, execution.token_hash),
        }
    )


async def _deliver(execution: Execution, url: str, using: Sequence[str], body: str, seconds: float) -> GuardedResponse:
    for pause in (*PAUSES, None):
        try:
            answer = await CLIENT.request(
                "POST",
                url,
                headers=_headers(execution.call_id, using, body),
                body=body.encode(),
                timeout=seconds,
                max_bytes=MAX_ANSWER_BYTES,
                allow_private=execution.tenant.allow_private,
                owner=execution.tenant.pk,
            )
        except ConnectionFailed:
            if pause is None:
                raise
        else:
            if answer.status < 500 or pause is None:
                return answer
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def _headers(call_id: str, using: Sequence[str], body: str) -> dict[str, str]:
    fixed = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "agent-gateway"}
    return fixed | signature_headers(using=using, message_id=call_id, body=body)


def _read(answer: GuardedResponse) -> Outcome | Later:
    if answer.status == 202:
        return Later()
    if not 200 <= answer.status < 300:
        return Outcome("error", f"The tool answered with status {answer.status}.")
    try:
        body: Any = jsontext.decode_untrusted(answer.body)
        status, content = parse_result_body(body)
    except BadRequest:
        return Outcome("error", 'The tool answered with something other than {"result": …} or {"error": "…"}.')
    return Outcome(status, content)
