"""The target of a call: the registered tool, built-in or MCP tool that its name stands for, and its approval rule.

Looked up again at every step, because a tool can be replaced or removed while a call of it waits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.conf import settings

from core_app import jsontext
from tools_app import operator_rules, schema
from tools_app.executors import ask_user, builtin, read_result
from tools_app.executors.base import Builtin
from tools_app.models import SessionTool, ToolCall
from tools_app.states import CallKind, CallState

_ANY_OBJECT = "{}"


@dataclass(frozen=True, slots=True)
class Target:
    """`registered` is set for callback and client tools, `builtin` for the gateway's own, neither for a call that an
    external agent addressed to the client, or makes itself. `asked_hint` is set when the agent wants a decision about
    the call."""

    kind: CallKind
    name: str
    parameters: str
    registered: SessionTool | None = None
    builtin: Builtin | None = None
    asked_hint: str | None = None

    @property
    def hint(self) -> str | None:
        """The note that an approver reads beside the arguments."""
        own = self.registered.hint if self.registered else self.builtin.hint if self.builtin else None
        return own or self.asked_hint

    @property
    def client_seconds(self) -> float:
        """Time that the connected client has for its result."""
        return self.registered.timeout_ms / 1000 if self.registered else float(settings.GATEWAY_CLIENT_TOOL_SECONDS)

    @property
    def idempotent(self) -> bool:
        """True if the call may be repeated after a crash."""
        return self.registered.idempotent if self.registered else bool(self.builtin and self.builtin.idempotent)

    @property
    def is_question(self) -> bool:
        """True if the call is a question to the user."""
        return self.builtin is ask_user.TOOL

    @property
    def is_internal(self) -> bool:
        """True if the call shows the model only what its session already has."""
        return self.builtin is read_result.TOOL

    def violation(self, args: object) -> str | None:
        """A sentence that says why the arguments do not fit, or None; a built-in's own schema is trusted."""
        if self.builtin is None:
            return schema.violation(self.parameters, args)
        parameters = self.parameters if self.builtin.is_checked else _ANY_OBJECT
        return schema.violation(parameters, args, trusted=self.builtin.trusted)


def target_of(call: ToolCall, builtins: Sequence[str] | None = None) -> Target | None:
    """The target of `call`; None when its session has no such tool. `builtins` None allows every built-in."""
    asked_hint = call.approval_hint if call.state == CallState.PLANNED else None
    if call.for_agent:
        # A tool of the session that happens to have this name is not what the agent means.
        return Target(CallKind.BUILTIN, call.tool_name, "{}", asked_hint=asked_hint)
    tool = SessionTool.objects.filter(stream_id=call.stream_id, name=call.tool_name).first()
    if tool is not None:
        kind = CallKind.CALLBACK if tool.callback_url else CallKind.CLIENT
        return Target(kind, tool.name, tool.parameters, registered=tool, asked_hint=asked_hint)
    if call.for_client:
        return Target(CallKind.CLIENT, call.tool_name, "{}", asked_hint=asked_hint)
    found = builtin.find(call.tool_name, builtins, call.tenant_id)
    if found is None:
        return None
    kind = CallKind.MCP if found.name.startswith(builtin.MCP_PREFIX) else CallKind.BUILTIN
    return Target(kind, found.name, jsontext.encode_text(found.parameters), builtin=found)


def needs_approval(target: Target, policy: Mapping[str, str]) -> bool:
    """Applies the operator's rule first, then the tool's own flag, the agent's wish and the client's policy.

    The client's policy may raise the flag, and may lower it only for tools that the client registered. `*` does not
    apply to questions, because a person answers them anyway, and to `read_result`.
    """
    if (rule := operator_rules.approval_rule(target.name)) is not None:
        return rule == "always"
    wish = policy.get(target.name) or (None if target.is_question or target.is_internal else policy.get("*"))
    if wish == "always":
        return True
    if target.registered is None:
        return target.asked_hint is not None or bool(target.builtin and target.builtin.requires_approval)
    lowered = wish == "never" and target.registered.origin == "client"
    return (target.registered.requires_approval or target.asked_hint is not None) and not lowered


def known_names(stream_id: int, builtins: Sequence[str], tenant_id: int | None = None) -> list[str]:
    """Names of the session's tools, for the message to a model that asked for an unknown one."""
    registered = SessionTool.objects.filter(stream_id=stream_id).order_by("name").values_list("name", flat=True)
    return [*(spec.name for spec in builtin.specs(builtins, tenant_id)), *registered]
