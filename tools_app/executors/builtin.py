"""The tools that the gateway brings: found by name, told to the model, executed.

`mcp:<server>` in a session's list stands for all tools of that server (`tools_app.executors.mcp`).
"""

from __future__ import annotations

from collections.abc import Sequence

from tools_app.executors import ask_user, current_time, demo_approval, fetch_url, mcp
from tools_app.executors.base import Builtin
from tools_app.operator_rules import OFFERED, rules
from tools_app.types import ToolSpec

BUILTINS: dict[str, Builtin] = {
    module.TOOL.name: module.TOOL for module in (ask_user, current_time, fetch_url, demo_approval)
}
NAMES = frozenset(BUILTINS)
MCP_PREFIX = mcp.PREFIX
"""Tools of MCP servers are called `mcp__<server>__<tool>`; no registered tool may begin so."""


def specs(names: Sequence[str]) -> tuple[ToolSpec, ...]:
    """The built-ins among `names` as the model sees them, in that order; MCP servers' tools last.

    A server that is not connected yet is connected to: call it from a thread, outside of transactions."""
    found = [*(BUILTINS[name] for name in names if _offered(name)), *mcp.tools_of(names)]
    return tuple(ToolSpec(tool.name, tool.description, tool.parameters) for tool in found)


def find(name: str, names: Sequence[str] | None) -> Builtin | None:
    """The built-in of that name, when it is among `names` (None: whatever the gateway has)."""
    if name.startswith(MCP_PREFIX):
        return mcp.find(name, names)
    return BUILTINS[name] if _offered(name) and (names is None or name in names) else None


def _offered(name: str) -> bool:
    """An operator who takes a built-in away takes it from the sessions that have it, too."""
    return name in BUILTINS and (name not in OFFERED or name in rules().builtins)
