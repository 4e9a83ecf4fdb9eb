"""Callback tools: a signed POST to the tool's address (contract: native, "Tools", "Callback").

Connection failures and 5xx are tried again twice within the tool's time-out, with the same id and body; what is
signed anew is only the time. Whatever the other side does, the call ends as an outcome that the model is told of.
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
from tools_app.executors.work import CallWork
from tools_app.result_body import outcome_of
from tools_app.signing import result_token, signature_headers, tenant_secrets
from tools_app.types import Later, Outcome

ATTEMPTS = 3
PAUSES = (0.2, 1.0)
"""Seconds before the second and the third attempt."""

MAX_ANSWER_BYTES = 1024 * 1024
SMALL_BYTES = 16 * 1024

PER_TENANT = 64
"""Callbacks of one tenant at a time in this process; the others wait within their time-outs."""

RESULT_PATH = "/v1/callbacks/"
"""Where late results are posted; the token is the last part."""


_slots: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()


async def call(work: CallWork) -> Outcome | Later:
    """The outcome of the call, or Later when the other side answered 202."""
    tool = work.target.registered
    assert tool is not None
    assert tool.callback_url is not None
    seconds = tool.timeout_ms / 1000
    using = [unseal(tool.sealed_secret)] if tool.sealed_secret else tenant_secrets(work.tenant)
    body = body_of(work)
    try:
        async with asyncio.timeout(seconds), _slots.setdefault(work.tenant.pk, asyncio.Semaphore(PER_TENANT)):
            answer = await _deliver(work, tool.callback_url, using, body, seconds)
    except (TimeoutError, TimedOut):
        return Outcome("timeout", f"The tool did not answer within {tool.timeout_ms} ms.")
    except CallFailed as error:
        return Outcome("error", f"The tool {error.reason}")
    # A megabyte of brackets takes a fifth of a second to be read: not on the loop.
    return _read(answer) if len(answer.body) < SMALL_BYTES else await asyncio.to_thread(_read, answer)


def body_of(work: CallWork) -> str:
    """The body of the contract; the same at every attempt."""
    return jsontext.encode_text(
        {
            "callId": work.call_id,
            "toolName": work.target.name,
            "args": work.args,
            "sessionId": work.context.session_id,
            "requestId": work.context.request_id,
            "resultUrl": work.context.base_url.rstrip("/") + RESULT_PATH + result_token(work.call_id, work.token_hash),
        }
    )


async def _deliver(work: CallWork, url: str, using: Sequence[str], body: str, seconds: float) -> GuardedResponse:
    for pause in (*PAUSES, None):
        try:
            answer = await CLIENT.request(
                "POST",
                url,
                headers=_headers(work.call_id, using, body),
                body=body.encode(),
                timeout=seconds,
                max_bytes=MAX_ANSWER_BYTES,
                allow_private=work.tenant.allow_private,
                owner=work.tenant.pk,
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
        status, content = outcome_of(body)
    except BadRequest:
        return Outcome("error", 'The tool answered with something other than {"result": …} or {"error": "…"}.')
    return Outcome(status, content)
