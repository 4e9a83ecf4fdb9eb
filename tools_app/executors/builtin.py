"""The built-in tools: their specifications for the model, and the look-up by name.

`mcp:<server>` in a session's list stands for all tools of that server (`tools_app.executors.mcp`).
"""

from __future__ import annotations

from collections.abc import Sequence

from tools_app.executors import ask_user, current_time, demo_approval, fetch_url, mcp, read_result
from tools_app.executors.base import Builtin
from tools_app.operator_rules import OFFERED, rules
from tools_app.types import ToolSpec

BUILTINS: dict[str, Builtin] = {
    module.TOOL.name: module.TOOL for module in (ask_user, current_time, fetch_url, demo_approval)
}
NAMES = frozenset({*BUILTINS, read_result.NAME})
MCP_PREFIX = mcp.PREFIX
"""Tools of MCP servers are named `mcp__<server>__<tool>`; no registered tool may start with this prefix."""


async def prepare(names: Sequence[str], tenant_id: int | None = None) -> None:
    """Connects to the MCP servers among `names`, before `specs` and `find` are called in a thread. Servers that the
    tenant registered count too."""
    await mcp.open_servers(names, tenant_id)


def specs(names: Sequence[str], tenant_id: int | None = None) -> tuple[ToolSpec, ...]:
    """The built-ins among `names` as the model sees them, in that order; tools of MCP servers come last.

    MCP servers have tools once `prepare` has connected to them."""
    found = [*(BUILTINS[name] for name in names if _is_offered(name)), *mcp.tools_of(names, tenant_id)]
    return tuple(ToolSpec(tool.name, tool.description, tool.parameters) for tool in found)


def find(name: str, names: Sequence[str] | None, tenant_id: int | None = None) -> Builtin | None:
    """The built-in called `name`, if `names` has it; `names` None allows every built-in. `read_result` needs no name
    there."""
    if name == read_result.NAME:
        return read_result.TOOL
    if name.startswith(MCP_PREFIX):
        return mcp.find(name, names, tenant_id)
    return BUILTINS[name] if _is_offered(name) and (names is None or name in names) else None


def _is_offered(name: str) -> bool:
    """True unless the operator has removed the built-in, which also removes it from existing sessions."""
    return name in BUILTINS and (name not in OFFERED or name in rules().builtins)
