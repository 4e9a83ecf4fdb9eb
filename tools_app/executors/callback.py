"""Callback tools: a signed POST to the tool's address (docs/protocol-native.md, "Tools, approvals, questions").

Connection failures and 5xx responses are retried twice within the tool's time-out, with the same id and body and a new
signature time. A tool that is not idempotent is asked again only if it is certain that nothing was sent; otherwise its
call ends as `unknown`, unless the receiver refuses it (3xx, 4xx) or gives a result. Whatever happens, the call ends
with an outcome for the model.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from weakref import WeakValueDictionary

from django.conf import settings

from core_app import jsontext
from core_app.content_threads import CONTENT, Deadline
from core_app.errors import BadRequest
from core_app.guarded_client import CLIENT, CallFailed, ConnectionFailed, GuardedResponse, TimedOut
from core_app.sealing import unseal
from tools_app.executors.base import Execution
from tools_app.models import SessionTool
from tools_app.result_body import parse_result_body
from tools_app.signing import result_token, signature_headers, tenant_secrets
from tools_app.types import Later, Outcome, unknown_outcome

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
    seconds = tool.timeout_ms / 1000
    deadline = Deadline(seconds)
    try:
        async with _slot(execution.tenant.pk, deadline):
            answer = await _deliver(execution, tool, deadline)
        return await _outcome(answer, execution.tenant.pk)
    except _NoResult as error:
        refused = 300 <= answer.status < 500
        return Outcome("error", str(error)) if tool.idempotent or refused else unknown_outcome(str(error))
    except TimedOut as error:
        reason = f"The tool did not answer within {tool.timeout_ms} ms."
        return Outcome("timeout", reason) if tool.idempotent or not error.sent else unknown_outcome(reason)
    except CallFailed as error:
        reason = f"The tool {error.reason}"
        return Outcome("error", reason) if tool.idempotent or not error.sent else unknown_outcome(reason)


@contextlib.asynccontextmanager
async def _slot(tenant_id: int, deadline: Deadline) -> AsyncIterator[None]:
    slot = _slots.setdefault(tenant_id, asyncio.Semaphore(PER_TENANT))
    try:
        async with asyncio.timeout(deadline.remaining()):
            await slot.acquire()
    except TimeoutError:
        raise TimedOut("could not be called in time.", sent=False) from None
    try:
        yield
    finally:
        slot.release()


async def _outcome(answer: GuardedResponse, tenant_id: int) -> Outcome | Later:
    # Parsing a megabyte of brackets takes 0.2 s, too long for the event loop.
    if len(answer.body) < SMALL_BYTES:
        return _read(answer)
    try:
        seconds = settings.GATEWAY_CONTENT_SECONDS
        return await CONTENT.run(lambda _: _read(answer), owner=tenant_id, seconds=seconds)
    except TimeoutError:
        raise _NoResult(
            f"The tool's answer could not be read within {seconds:g} s (GATEWAY_CONTENT_SECONDS)."
        ) from None


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


async def _deliver(execution: Execution, tool: SessionTool, deadline: Deadline) -> GuardedResponse:
    assert tool.callback_url is not None
    using = [unseal(tool.sealed_secret)] if tool.sealed_secret else tenant_secrets(execution.tenant)
    body = body_of(execution)
    for pause in (*PAUSES, None):
        try:
            answer = await CLIENT.request(
                "POST",
                tool.callback_url,
                headers=_headers(execution.call_id, using, body),
                body=body.encode(),
                timeout=deadline.remaining() or 0.0,
                max_bytes=MAX_ANSWER_BYTES,
                allow_private=execution.tenant.allow_private,
                owner=execution.tenant.pk,
            )
        except ConnectionFailed as error:
            if pause is None or (error.sent and not tool.idempotent):
                raise
        else:
            if answer.status < 500 or pause is None or not tool.idempotent:
                return answer
        await asyncio.sleep(min(pause, deadline.remaining() or 0.0))
    raise AssertionError("the last attempt returns or raises")


def _headers(call_id: str, using: Sequence[str], body: str) -> dict[str, str]:
    fixed = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "agent-gateway"}
    return fixed | signature_headers(using=using, message_id=call_id, body=body)


class _NoResult(Exception):
    """The response has no result. The text is a sentence for the model."""


def _read(answer: GuardedResponse) -> Outcome | Later:
    if answer.status == 202:
        return Later()
    if not 200 <= answer.status < 300:
        raise _NoResult(f"The tool answered with status {answer.status}.")
    try:
        body: Any = jsontext.decode_untrusted(answer.body)
        status, content = parse_result_body(body)
    except BadRequest:
        reason = 'The tool answered with something other than {"result": …} or {"error": "…"}.'
        raise _NoResult(reason) from None
    return Outcome(status, content)
