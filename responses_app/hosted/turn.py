"""One turn of the model in a composed response: its events with the indexes of the whole, and its calls of hosted
tools as the items that they are to clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app.errors import GatewayError, UpstreamError
from core_app.ids import new_id
from responses_app.events import LAST_TYPES
from responses_app.hosted.output import Call, Output
from responses_app.hosted.servers import HostedTool

Json = dict[str, Any]

_OWN_EVENTS = frozenset({"response.created", "response.in_progress", "response.queued"})


class StreamBroken(UpstreamError):
    """The provider's stream ended before its end. `error` is what it broke off with, if it said so."""

    def __init__(self, error: GatewayError | None = None) -> None:
        super().__init__("The provider broke its answer off." if error is None else error.message)
        self.error = error


class Turn:
    """The reader of one turn. `calls` are those of hosted tools, in order; `response` is the provider's last object."""

    def __init__(self, tools: Mapping[str, HostedTool], output: Output) -> None:
        self._tools = tools
        self._output = output
        self._indexes: dict[int, int] = {}
        self._calls: dict[int, Call] = {}
        self.response: Json | None = None
        self.asks_client = False
        """True if the model called a tool that the client runs."""

    @property
    def calls(self) -> list[Call]:
        """The calls of hosted tools."""
        return [self._calls[index] for index in sorted(self._calls)]

    def read(self, event: Json) -> list[Json]:
        """Returns the events for the client. Raises StreamBroken."""
        kind = event.get("type")
        if kind in _OWN_EVENTS:
            return []
        if kind == "error":
            raise StreamBroken
        if kind in LAST_TYPES:
            self.response = event.get("response")
            return []
        if not isinstance(index := event.get("output_index"), int):
            return [event]
        if kind == "response.output_item.added":
            return self._add(index, event)
        if index in self._calls:
            return self._read_call(self._calls[index], event)
        if index not in self._indexes:
            return []
        mapped = {**event, "output_index": self._indexes[index]}
        if kind == "response.output_item.done" and isinstance(item := event.get("item"), dict):
            self._output.put(mapped["output_index"], item)
        return [mapped]

    def _add(self, index: int, event: Json) -> list[Json]:
        item = event.get("item")
        item = item if isinstance(item, dict) else {}
        is_call = item.get("type") == "function_call"
        tool = self._tools.get(str(item.get("name"))) if is_call and not item.get("namespace") else None
        if tool is not None:
            call = self._calls[index] = Call(tool, new_id("mcp"))
            # Whether a person has to approve it is shown once it is whole.
            return [] if tool.needs_approval else call.open(self._output)
        self.asks_client = self.asks_client or item.get("type") in ("function_call", "custom_tool_call")
        self._indexes[index] = self._output.reserve()
        return [{**event, "output_index": self._indexes[index]}]

    def _read_call(self, call: Call, event: Json) -> list[Json]:
        kind = event["type"]
        if kind == "response.function_call_arguments.delta" and call.index is not None:
            return [call.arguments_event("delta", str(event.get("delta") or ""))]
        if kind == "response.output_item.done":
            item = event.get("item")
            call.arguments = str((item if isinstance(item, dict) else {}).get("arguments") or "{}")
            if call.tool.needs_approval:
                return call.request(self._output)
            return [call.arguments_event("done", call.arguments)]
        return []
