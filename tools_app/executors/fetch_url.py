"""`fetch_url`: the text of a page, fetched through the guarded client.

The guarded client follows no redirect, so this module follows up to MAX_REDIRECTS, each as a new request whose address
is checked like the first. A page is decoded (`tools_app.executors.page_charset`), and HTML is reduced to its text
(`tools_app.executors.page_text`), in the threads for foreign content, within GATEWAY_CONTENT_SECONDS.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

from django.conf import settings
from yarl import URL

from core_app import guarded_client, jsontext
from core_app.content_threads import CONTENT, Deadline
from core_app.guarded_client import CLIENT, CallFailed, GuardedResponse
from tools_app.executors.base import Builtin
from tools_app.executors.page_charset import decode_page
from tools_app.executors.page_text import page_text
from tools_app.types import CallContext, Outcome

MAX_PAGE_BYTES = 1024 * 1024
MAX_TEXT_BYTES = 200 * 1024
MAX_REDIRECTS = 5
TIMEOUT_SECONDS = 30.0

_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/javascript")


async def _run(args: Mapping[str, Any], context: CallContext) -> Outcome:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await _follow(args["url"], context)
    except TimeoutError:
        return Outcome("timeout", f"The page did not answer within {TIMEOUT_SECONDS:.0f} seconds.")
    except CallFailed as error:
        return Outcome("timeout" if isinstance(error, guarded_client.TimedOut) else "error", f"The page {error.reason}")
    if answer.status >= 300:
        return Outcome("error", f"The page answered with status {answer.status}.")
    if not answer.content_type.startswith(_TEXT_TYPES):
        return Outcome("error", f"The page is not text but {answer.content_type[:100] or 'of an unnamed type'}.")
    seconds = settings.GATEWAY_CONTENT_SECONDS
    try:
        text = await CONTENT.run(partial(_text_of, answer), owner=context.tenant_id, seconds=seconds)
    except TimeoutError:
        return Outcome("error", f"The page could not be read within {seconds:g} seconds (GATEWAY_CONTENT_SECONDS).")
    return Outcome("ok", text or "The page has no text.")


async def _follow(url: str, context: CallContext) -> GuardedResponse:
    for _ in range(MAX_REDIRECTS + 1):
        answer = await CLIENT.request(
            "GET",
            url,
            headers={
                "Accept": "text/html, text/plain, application/json;q=0.9, */*;q=0.1",
                "User-Agent": "agent-gateway",
            },
            timeout=TIMEOUT_SECONDS,
            max_bytes=MAX_PAGE_BYTES,
            truncate=True,
            allow_private=context.allow_private,
            owner=context.tenant_id,
        )
        location = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or not location:
            return answer
        try:
            url = str(URL(url).join(URL(location)))
        except ValueError:
            raise guarded_client.AddressRefused("redirects to something that is not an address.") from None
    raise guarded_client.Unreadable(f"redirects more than {MAX_REDIRECTS} times.", sent=True)


def _text_of(answer: GuardedResponse, deadline: Deadline) -> str:
    text = decode_page(answer.body, answer.charset, deadline)
    if "html" in answer.content_type:
        text = page_text(text, deadline)
    return jsontext.clean_text(text).encode()[:MAX_TEXT_BYTES].decode(errors="ignore").strip()


TOOL = Builtin(
    name="fetch_url",
    description="Fetch a web page (https) and give its text.",
    parameters={
        "type": "object",
        "properties": {"url": {"type": "string", "minLength": 1, "maxLength": 4000}},
        "required": ["url"],
        "additionalProperties": False,
    },
    run=_run,
)
