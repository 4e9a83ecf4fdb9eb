"""`fetch_url`: the text of a page, through the guarded client.

The guarded client follows no redirect; here at most MAX_REDIRECTS are, each as a request of its own whose
address is checked like the first. HTML is reduced to its text by the standard library's parser, which cannot
be driven into backtracking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from html.parser import HTMLParser
from typing import Any

from yarl import URL

from core_app import guarded_client, jsontext
from core_app.guarded_client import CLIENT, Answer, CallFailed
from tools_app.executors.base import Builtin
from tools_app.values import CallContext, Outcome

MAX_PAGE_BYTES = 1024 * 1024
MAX_TEXT_BYTES = 200 * 1024
MAX_REDIRECTS = 5
TIMEOUT_SECONDS = 30.0

_TEXT_TYPES = ("text/", "application/json", "application/xml", "application/xhtml+xml", "application/javascript")
_SILENT = frozenset({"script", "style", "noscript", "template", "svg", "head"})
_BLOCKS = frozenset(
    {"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "section", "article", "pre", "td"}
)


async def _run(args: Mapping[str, Any], context: CallContext) -> Outcome:
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            answer = await _follow(args["url"], context.allow_private)
    except TimeoutError:
        return Outcome("timeout", f"The page did not answer within {TIMEOUT_SECONDS:.0f} seconds.")
    except CallFailed as error:
        return Outcome("timeout" if isinstance(error, guarded_client.TimedOut) else "error", f"The page {error.reason}")
    if answer.status >= 300:
        return Outcome("error", f"The page answered with status {answer.status}.")
    if not answer.content_type.startswith(_TEXT_TYPES):
        return Outcome("error", f"The page is not text but {answer.content_type[:100] or 'of an unnamed type'}.")
    text = await asyncio.to_thread(_text_of, answer)
    return Outcome("ok", text or "The page has no text.")


async def _follow(url: str, allow_private: bool) -> Answer:
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
            allow_private=allow_private,
        )
        location = answer.headers.get("location")
        if answer.status not in (301, 302, 303, 307, 308) or not location:
            return answer
        try:
            url = str(URL(url).join(URL(location)))
        except ValueError:
            raise guarded_client.AddressRefused("redirects to something that is not an address.") from None
    raise guarded_client.ConnectionFailed(f"redirects more than {MAX_REDIRECTS} times.")


def _text_of(answer: Answer) -> str:
    text = answer.body.decode(_charset(answer), "replace")
    if "html" in answer.content_type:
        reader = _Reader()
        reader.feed(text)
        text = reader.text()
    return jsontext.clean_text(text).encode()[:MAX_TEXT_BYTES].decode(errors="ignore").strip()


def _charset(answer: Answer) -> str:
    try:
        "".encode(answer.charset)
    except LookupError:
        return "utf-8"
    return answer.charset


class _Reader(HTMLParser):
    """Collects what a reader of the page would see, a line per block."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._parts: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent += 1
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _SILENT:
            self._silent = max(0, self._silent - 1)
        elif tag in _BLOCKS:
            self._parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self._parts.append(data)

    def text(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self._parts).splitlines())
        return "\n".join(line for line in lines if line)


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
