"""The output of a composed response while it is written: its items by their indexes, and the events of hosted items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core_app.ids import new_id
from responses_app.hosted.servers import HostedServer, HostedTool

Json = dict[str, Any]


class Output:
    """The items so far. `first` is the index of the first one."""

    def __init__(self, first: int = 0) -> None:
        self._first = first
        self._items: list[Json | None] = []

    @property
    def items(self) -> list[Json]:
        """The items that are whole, in their order."""
        return [item for item in self._items if item is not None]

    def reserve(self) -> int:
        """Returns the index of a new item."""
        self._items.append(None)
        return self._first + len(self._items) - 1

    def put(self, index: int, item: Json) -> Json:
        """Notes a whole item and returns the event that ends it."""
        self._items[index - self._first] = item
        return {"type": "response.output_item.done", "output_index": index, "item": item}

    def add_whole(self, item: Json) -> list[Json]:
        """Returns the events of an item that comes at once."""
        index = self.reserve()
        return [{"type": "response.output_item.added", "output_index": index, "item": item}, self.put(index, item)]


@dataclass(slots=True)
class Call:
    """A call of a hosted tool. `index` is None while it has no item."""

    tool: HostedTool
    item_id: str
    arguments: str = ""
    approval_request_id: str | None = None
    index: int | None = None

    def item(self, status: str, *, output: str | None = None, error: Json | None = None) -> Json:
        """Returns the item of the call."""
        return {
            "type": "mcp_call",
            "id": self.item_id,
            "approval_request_id": self.approval_request_id,
            "server_label": self.tool.label,
            "name": self.tool.tool.original,
            "arguments": self.arguments,
            "output": output,
            "error": error,
            "status": status,
        }

    def open(self, output: Output) -> list[Json]:
        """Returns the events that begin its item."""
        self.index = output.reserve()
        added = {"type": "response.output_item.added", "output_index": self.index, "item": self.item("in_progress")}
        return [added, self.event("in_progress")]

    def event(self, state: str) -> Json:
        """Returns the event that says that the call is in a state."""
        return {"type": f"response.mcp_call.{state}", "item_id": self.item_id, "output_index": self.index}

    def arguments_event(self, kind: str, text: str) -> Json:
        """Returns the event of its arguments, `delta` or `done`."""
        name = "delta" if kind == "delta" else "arguments"
        about = {"item_id": self.item_id, "output_index": self.index}
        return {"type": f"response.mcp_call_arguments.{kind}", **about, name: text}

    def request(self, output: Output) -> list[Json]:
        """Returns the events of the request for a person's approval, in place of the call."""
        item: Json = {"type": "mcp_approval_request", "id": new_id("mcpr"), "server_label": self.tool.label}
        return output.add_whole({**item, "name": self.tool.tool.original, "arguments": self.arguments})


def listing_events(server: HostedServer, tools: Sequence[HostedTool], output: Output) -> list[Json]:
    """Returns the events of the list of a server's tools."""
    index, fault = output.reserve(), server.fault
    empty: Json = {"type": "mcp_list_tools", "id": new_id("mcpl"), "server_label": server.label, "tools": []}
    about = {"item_id": empty["id"], "output_index": index}
    listed = [
        {
            "name": tool.tool.original,
            "description": tool.tool.description,
            "input_schema": dict(tool.tool.parameters),
            "annotations": {"read_only": tool.tool.read_only},
        }
        for tool in tools
    ]
    return [
        {"type": "response.output_item.added", "output_index": index, "item": empty},
        {"type": "response.mcp_list_tools.in_progress", **about},
        {"type": f"response.mcp_list_tools.{'completed' if fault is None else 'failed'}", **about},
        output.put(index, {**empty, "tools": listed, "error": fault}),
    ]
