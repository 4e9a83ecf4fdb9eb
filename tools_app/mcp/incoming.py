"""Messages of a server, cleaned before the library reads them.

The library validates an answer as a whole, so that one malformed tool would cost the whole list, and one unknown kind
of content the whole result. It also compiles output schemas with an engine whose patterns may take for ever, in the
process that serves everybody. So tools and content are checked one by one here, and output schemas never arrive.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import ContentBlock, JSONRPCResponse
from pydantic import TypeAdapter, ValidationError

from core_app import jsontext
from core_app.errors import BadRequest
from tools_app.mcp.tool_list import usable_tools

_TEXTS = ("title", "description")
_MAX_REASON = 200
_CONTENT: TypeAdapter[Any] = TypeAdapter(ContentBlock)

NoteBadTool = Callable[[str, str], None]
"""Told the name of a tool that cannot be used, and why."""

ToolFault = Callable[[dict[str, Any]], str | None]
"""Says why the library will not take a tool, None if it will."""


class IncomingMessages:
    """The library's read stream, with cleaned messages. `ended` is called when the server has closed it."""

    def __init__(self, inner: Any, *, fault: ToolFault, note_bad_tool: NoteBadTool, ended: Callable[[], None]) -> None:
        self._inner = inner
        self._fault = fault
        self._note_bad_tool = note_bad_tool
        self._ended = ended

    @property
    def last_context(self) -> Any:
        """The context of the sender of the last message, which the library asks for."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> Any:
        """Returns the next message."""
        try:
            return self._clean(await self._inner.receive())
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ended()
            raise

    async def aclose(self) -> None:
        await self._inner.aclose()

    def __aiter__(self) -> IncomingMessages:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> IncomingMessages:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _clean(self, item: Any) -> Any:
        if isinstance(item, SessionMessage) and isinstance(item.message, JSONRPCResponse):
            result = item.message.result
            if isinstance(result.get("tools"), list):
                result["tools"] = self._clean_tools(result["tools"])
            elif "content" in result or "structuredContent" in result or "isError" in result:
                _clean_result(result)
        return item

    def _clean_tools(self, entries: list[Any]) -> list[dict[str, Any]]:
        kept = []
        for entry, reason in usable_tools(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            tool = _bare_tool(entry) if reason is None else {}
            fault = reason or self._fault(tool)
            if fault is None:
                kept.append(tool)
            else:
                self._note_bad_tool(name if isinstance(name, str) else "(without a name)", fault)
        return kept


def _bare_tool(entry: dict[str, Any]) -> dict[str, Any]:
    """Returns what the gateway uses of a tool: a malformed icon must not cost it."""
    tool: dict[str, Any] = {"name": entry["name"], "inputSchema": {"type": "object", **entry["inputSchema"]}}
    tool.update({key: entry[key] for key in _TEXTS if isinstance(entry.get(key), str)})
    hints = entry.get("annotations")
    if isinstance(hints, dict):
        flags = {key: hints[key] for key in ("readOnlyHint", "idempotentHint") if isinstance(hints.get(key), bool)}
        title = {"title": hints["title"]} if isinstance(hints.get("title"), str) else {}
        tool["annotations"] = {**flags, **title}
    return tool


def _clean_result(result: dict[str, Any]) -> None:
    """Turns what is no content block, and structured content that older versions cannot have, into text."""
    given = result.get("content")
    blocks = given if isinstance(given, list) else [] if given is None else [given]
    result["content"] = [_clean_block(block) for block in blocks]
    if "structuredContent" in result and not isinstance(result["structuredContent"], dict):
        value = result.pop("structuredContent")
        if value is not None:
            result["content"].append(_text_block(value))
    if "isError" in result:
        result["isError"] = bool(result["isError"])


def _clean_block(block: Any) -> Any:
    if isinstance(block, dict):
        for key in ("annotations", "_meta", "icons"):
            block.pop(key, None)
    try:
        _CONTENT.validate_python(block, by_name=False)
    except ValidationError:
        return _text_block(block)
    return block


def _text_block(value: Any) -> dict[str, str]:
    try:
        text = value if isinstance(value, str) else jsontext.encode_text(value)
    except BadRequest:
        text = "[content that is nested too deep]"
    return {"type": "text", "text": text}


def short_reason(error: ValidationError) -> str:
    """Returns the first fault that a validation found."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"It is malformed at {place}: {first['msg']}."[:_MAX_REASON]
