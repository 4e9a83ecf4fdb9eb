"""Names of a chat client's tools on a wire that takes 64 plain characters: some chat providers take dots and more."""

from __future__ import annotations

from typing import Any

from inference_app.conversion.tool_names import Origin, ToolNames, has_plain_names
from inference_app.conversion.validation import Json

_KINDS = ("function", "custom")


def rename_tools(chat: Json, names: ToolNames) -> Json:
    """Returns the request with plain names in tools, calls and the choice; the same value if all are plain."""
    if has_plain_names(_known_names(chat)):
        return chat
    changed = False
    tools = chat.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        name = _name(tool)
        changed = changed or (name is not None and names.add(Origin(name)) != name)
    messages = chat.get("messages")
    for message in messages if isinstance(messages, list) else ():
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for call in calls if isinstance(calls, list) else ():
            name = _name(call)
            changed = changed or (name is not None and names.wire_name(name) != name)
    return _renamed(chat, names) if changed else chat


def _known_names(chat: Json) -> list[str]:
    """Returns the names of tools and calls."""
    tools, messages = chat.get("tools"), chat.get("messages")
    named = [*tools] if isinstance(tools, list) else []
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and "tool_calls" in message and isinstance(message["tool_calls"], list):
            named += message["tool_calls"]
    return [name for name in map(_name, named) if name is not None]


def _renamed(chat: Json, names: ToolNames) -> Json:
    result = {**chat, "messages": [_message(message, names) for message in chat["messages"]]}
    if isinstance(chat.get("tools"), list):
        result["tools"] = [_named(tool, names) for tool in chat["tools"]]
    choice = chat.get("tool_choice")
    if isinstance(choice, dict):
        result["tool_choice"] = _named(choice, names)
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, dict) and isinstance(allowed.get("tools"), list):
            tools = [_named(tool, names) for tool in allowed["tools"]]
            result["tool_choice"] = {**choice, "allowed_tools": {**allowed, "tools": tools}}
    return result


def _message(message: Any, names: ToolNames) -> Any:
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return {**message, "tool_calls": [_named(call, names) for call in calls]} if isinstance(calls, list) else message


def _named(value: Any, names: ToolNames) -> Any:
    if (name := _name(value)) is None:
        return value
    kind = next(kind for kind in _KINDS if isinstance(value.get(kind), dict))
    return {**value, kind: {**value[kind], "name": names.wire_name(name)}}


def _name(value: Any) -> str | None:
    """Returns the name in a tool, a call or a choice."""
    if not isinstance(value, dict):
        return None
    for kind in _KINDS:
        inner = value.get(kind)
        if isinstance(inner, dict) and isinstance(name := inner.get("name"), str) and name:
            return name
    return None
