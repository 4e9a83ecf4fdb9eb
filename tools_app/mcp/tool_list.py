"""The tools that a server lists, checked one by one: a bad tool is left out with a reason and costs no other.

Left out are tools whose schema cannot be compiled (with the pattern engine of `tools_app.schema`, which takes linear
time and knows no look-around), refers outside itself or is malformed, because providers refuse every request that
carries one; and what is beyond the bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from tools_app.mcp.names import model_name
from tools_app.schema import server_schema_check

MAX_TOOLS = 256
"""Tools of one server. Every model request carries all of them."""

MAX_LIST_BYTES = 512 * 1024
"""Bytes of the names, descriptions and schemas of one server."""

MAX_NAME_CHARACTERS = 1_000
MAX_DESCRIPTION_CHARACTERS = 8_000
MAX_LEFT_OUT = 64
"""Reasons that are kept; the tools beyond are counted in the last."""

_SHOWN_CHARACTERS = 100


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool of a server. `name` is the model's, `original` the server's. Without `is_checked` the server alone checks
    the arguments: the cost of checking them against this schema has no bound."""

    name: str
    original: str
    description: str
    parameters: Mapping[str, Any]
    is_checked: bool
    idempotent: bool
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A tool that the model is not told of. `reason` is a sentence."""

    tool: str
    reason: str


@dataclass(frozen=True, slots=True)
class ToolList:
    """The usable tools of a server, and the others with the reasons."""

    tools: tuple[McpTool, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


class ToolListBuilder:
    """Checks tools as they are listed. `trusted`: the server is the operator's, whose schemas may be recursive."""

    def __init__(self, server: str, *, trusted: bool) -> None:
        self._server = server
        self._trusted = trusted
        self._tools: dict[str, McpTool] = {}
        self._left_out: list[LeftOut] = []
        self._more = 0
        self._bytes = 0

    def add(self, tool: Any) -> None:
        """Checks a tool in the library's form."""
        try:
            made = self._checked(tool)
        except BadRequest as error:
            self.leave_out(tool.name, error.message)
            return
        size = len(jsontext.encode(made.parameters)) + len(made.description) + len(made.original)
        if len(self._tools) >= MAX_TOOLS:
            self.leave_out(tool.name, f"A server has at most {MAX_TOOLS} tools.")
        elif self._bytes + size > MAX_LIST_BYTES:
            self.leave_out(tool.name, f"The tools of a server have at most {MAX_LIST_BYTES // 1024} KiB together.")
        elif made.name in self._tools:
            self.leave_out(tool.name, "The server has another tool of this name.")
        else:
            self._tools[made.name] = made
            self._bytes += size

    def leave_out(self, tool: str, reason: str) -> None:
        """Notes a tool that cannot be used."""
        if len(self._left_out) >= MAX_LEFT_OUT:
            self._more += 1
        else:
            self._left_out.append(LeftOut(_shown(tool), reason))

    def build(self) -> ToolList:
        """Returns what was found."""
        more = [LeftOut("…", f"{self._more} more tools are left out.")] if self._more else []
        return ToolList(tuple(self._tools.values()), (*self._left_out, *more))

    def _checked(self, tool: Any) -> McpTool:
        if not tool.name or len(tool.name) > MAX_NAME_CHARACTERS:
            raise BadRequest(f"Its name must have 1 to {MAX_NAME_CHARACTERS} characters.")
        schema = server_schema_check(tool.input_schema, trusted=self._trusted)
        hints = tool.annotations
        described = tool.description or tool.title or (hints.title if hints else None) or ""
        return McpTool(
            name=model_name(self._server, tool.name),
            original=tool.name,
            description=jsontext.clean_text(described)[:MAX_DESCRIPTION_CHARACTERS],
            parameters=jsontext.decode(schema.text),
            is_checked=schema.is_bounded,
            idempotent=bool(hints and (hints.read_only_hint or hints.idempotent_hint)),
            read_only=bool(hints and hints.read_only_hint),
        )


def usable_tools(entries: Sequence[Any]) -> Iterator[tuple[Any, str | None]]:
    """Yields the raw entries of a list, with the reason against those that are no tools at all."""
    for entry in entries:
        if not isinstance(entry, dict):
            yield entry, "It is not a JSON object."
        elif not isinstance(entry.get("name"), str):
            yield entry, "It has no name."
        elif not isinstance(entry.get("inputSchema"), dict):
            yield entry, "Its inputSchema is not a JSON object."
        else:
            yield entry, None


def _shown(tool: str) -> str:
    text = jsontext.clean_text(tool)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
