"""Converter of the Responses API's tools to chat's functions.

Flat functions are nested, namespaces flattened, and free-form tools get one string parameter. Hosted tools are dropped
and their names collected.
"""

from __future__ import annotations

from typing import Any

from inference_app.conversion.tool_names import Origin, ToolNames
from inference_app.conversion.validation import (
    Json,
    field_error,
    iter_objects,
    pick_fields,
    require_nonempty,
    require_object,
    require_string,
)

_EMPTY_SCHEMA: Json = {"type": "object", "properties": {}}


class ChatTools:
    """The tools of one request. `dropped` has the names of tools that no function can replace."""

    def __init__(self, names: ToolNames) -> None:
        self._names = names
        self.tools: list[Json] = []
        self.dropped: list[str] = []

    def add(self, tools: Any, field: str) -> None:
        """Adds an array of tools."""
        for path, tool in iter_objects(tools, field):
            if tool.get("type") == "namespace":
                self._add_namespace(path, tool)
            else:
                self._add_tool(path, tool)

    def choice(self, wanted: Any) -> Json:
        """Returns `tool_choice`, or nothing if chat cannot express it. `allowed_tools` also reduces `tools`."""
        if wanted is None or isinstance(wanted, str):
            return {} if wanted is None else {"tool_choice": wanted}
        kind = require_object(wanted, "tool_choice").get("type")
        if kind in ("function", "custom"):
            name = self._names.wire_name(
                require_nonempty(wanted.get("name"), "tool_choice.name"), wanted.get("namespace")
            )
            return {"tool_choice": {"type": "function", "function": {"name": name}}}
        if kind == "allowed_tools":
            return self._allow_only(wanted)
        # A hosted tool, which has been dropped.
        return {}

    def _allow_only(self, wanted: Json) -> Json:
        """Removes the tools that are not allowed, because few providers support `allowed_tools`."""
        names = {
            self._names.wire_name(tool["name"], tool.get("namespace"))
            for _, tool in iter_objects(wanted.get("tools"), "tool_choice.tools")
            if isinstance(tool.get("name"), str)
        }
        kept = [tool for tool in self.tools if tool["function"]["name"] in names]
        if not kept and not self.dropped:
            raise field_error("tool_choice.tools", "allows none of the tools.")
        self.tools = kept
        return {"tool_choice": wanted.get("mode") or "auto"}

    def _add_namespace(self, path: str, namespace: Json) -> None:
        name = require_nonempty(namespace.get("name"), f"{path}.name")
        # Only the first tool gets the namespace's description, because a namespace may have a hundred tools.
        about = _description(path, namespace)
        for inner, tool in iter_objects(namespace.get("tools"), f"{path}.tools"):
            before = len(self.tools)
            self._add_tool(inner, tool, name)
            if about and len(self.tools) > before:
                function = self.tools[-1]["function"]
                function["description"] = "\n\n".join(filter(None, (about, function.get("description"))))
                about = ""

    def _add_tool(self, path: str, tool: Json, namespace: str | None = None) -> None:
        kind = tool.get("type")
        if kind in ("function", "custom"):
            if isinstance(nested := tool.get("function"), dict):
                tool = {**nested, "type": kind}
            origin = Origin(require_nonempty(tool.get("name"), f"{path}.name"), namespace, custom=kind == "custom")
            self.tools.append(_function(self._names.add(origin), tool, path))
        elif isinstance(kind, str) and kind:
            self.dropped.append(_hosted_name(kind, tool))
        else:
            raise field_error(f"{path}.type", "must be a string.")


def _description(path: str, tool: Json) -> str:
    return require_string(tool.get("description") or "", f"{path}.description")


def _function(name: str, tool: Json, path: str) -> Json:
    about = _description(path, tool)
    if tool["type"] == "custom":
        return {"type": "function", "function": _free_form_function(name, tool, about)}
    function: Json = {"name": name, **({"description": about} if about else {})}
    parameters = tool.get("parameters")
    function["parameters"] = _EMPTY_SCHEMA if parameters is None else require_object(parameters, f"{path}.parameters")
    return {"type": "function", "function": {**function, **pick_fields(tool, ("strict",))}}


def _free_form_function(name: str, tool: Json, description: str) -> Json:
    about = [description, "The input is free text, not JSON."]
    form = tool.get("format")
    if isinstance(form, dict) and form.get("definition"):
        about.append(f"It must follow this {form.get('syntax')} grammar:\n{form['definition']}")
    schema = {
        "type": "object",
        "properties": {"input": {"type": "string", "description": "The whole input of the tool."}},
        "required": ["input"],
        "additionalProperties": False,
    }
    return {"name": name, "description": "\n\n".join(filter(None, about)), "parameters": schema}


def _hosted_name(kind: str, tool: Json) -> str:
    """Returns the type (`web_search`), or `mcp:<server_label>`."""
    label = tool.get("server_label")
    return f"{kind}:{label}" if isinstance(label, str) and label else kind
