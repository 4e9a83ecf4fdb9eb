"""What a call's name stands for in its session, and whether a human is asked first.

A registered tool, a built-in or a tool of an MCP server; looked up anew at every step, because a tool can be
replaced or removed while a call of it waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core_app import jsontext
from tools_app import operator_rules, schema
from tools_app.executors import ask_user, builtin
from tools_app.executors.base import Builtin
from tools_app.models import SessionTool, ToolCall
from tools_app.states import CallKind


@dataclass(frozen=True, slots=True)
class Target:
    """`registered` is set for callback and client tools, `builtin` for the gateway's own."""

    kind: CallKind
    name: str
    parameters: str
    registered: SessionTool | None = None
    builtin: Builtin | None = None

    @property
    def hint(self) -> str | None:
        """What an approver is told beside the arguments."""
        return self.registered.hint if self.registered else self.builtin.hint if self.builtin else None

    @property
    def idempotent(self) -> bool:
        """Whether the call may be made again after a crash in its middle."""
        return self.registered.idempotent if self.registered else bool(self.builtin and self.builtin.idempotent)

    @property
    def is_question(self) -> bool:
        """Whether the call is a question to the user."""
        return self.builtin is ask_user.TOOL

    def violation(self, args: object) -> str | None:
        """Why the arguments do not fit; a built-in's schema is trusted."""
        return schema.violation(self.parameters, args, trusted=self.builtin is not None)


def target_of(call: ToolCall, builtins: Sequence[str] | None = None) -> Target | None:
    """The target of `call`; None when its session has no such tool. `builtins` None: whatever the gateway has."""
    tool = SessionTool.objects.filter(stream_id=call.stream_id, name=call.tool_name).first()
    if tool is not None:
        kind = CallKind.CALLBACK if tool.callback_url else CallKind.CLIENT
        return Target(kind, tool.name, tool.parameters, registered=tool)
    found = builtin.find(call.tool_name, builtins)
    if found is None:
        return None
    kind = CallKind.MCP if found.name.startswith(builtin.MCP_PREFIX) else CallKind.BUILTIN
    return Target(kind, found.name, jsontext.encode_text(found.parameters), builtin=found)


def needs_approval(target: Target, policy: Mapping[str, str]) -> bool:
    """The operator's rule; then what the tool itself says, which the client's policy raises, and lowers only for
    what the client registered. A question is not asked for by `*`: it already is a human's."""
    if (rule := operator_rules.approval_rule(target.name)) is not None:
        return rule == "always"
    wish = policy.get(target.name) or (None if target.is_question else policy.get("*"))
    if wish == "always":
        return True
    if target.registered is None:
        return bool(target.builtin and target.builtin.requires_approval)
    lowered = wish == "never" and target.registered.origin == "client"
    return target.registered.requires_approval and not lowered


def known_names(stream_id: int, builtins: Sequence[str]) -> list[str]:
    """The names that a model could have meant, for telling it so."""
    registered = SessionTool.objects.filter(stream_id=stream_id).order_by("name").values_list("name", flat=True)
    return [*(spec.name for spec in builtin.specs(builtins)), *registered]
